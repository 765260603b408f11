/** What a worker sends: reports, responses and dead letters. */
import { position } from '../kernel/position.ts';
import { subjects, type Subject } from '../kernel/subjects.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { World } from '../ports/world.ts';
import type { Delivery } from '../ports/work.ts';
import { joinBody } from '../protocol/codec.ts';
import type { CommandEnvelope } from '../protocol/envelopes.ts';
import { ENVELOPE_VERSION } from '../protocol/limits.ts';
import type { Reply } from '../reliability/barrier.ts';
import { Batcher } from './batcher.ts';
import { storeDeadLetter } from './dead-letters.ts';

const MAX_SHARDS = 1_024;
const DEAD_LETTER_TRIES = 3;
const DEAD_LETTER_PAUSE_MS = 500;

export class Reports {
  readonly #world: World;
  readonly #participant: string;
  readonly #batcher: Batcher;
  /** By shard. */
  readonly #subjects = new Map<Pattern, Subject[]>();

  constructor(world: World, participant: string) {
    this.#world = world;
    this.#participant = participant;
    const { log, clock, random, logger } = world;
    // Reports are idempotent inputs: no `Nats-*` header, sent again until stored (DESIGN §2).
    this.#batcher = new Batcher({ log, clock, random, logger, identified: false });
  }

  /** @param stored told once whether the report is durable. */
  send(
    command: { readonly pattern: Pattern; readonly command: CommandEnvelope },
    reply: Reply,
    stored: (ok: boolean) => void,
  ): void {
    const text = reportText(command.command, reply);
    const { pattern } = command;
    const { tx, phase, shard, meta } = command.command;
    try {
      this.#batcher.add(this.#subjectOf(pattern, shard), text, (result) => {
        stored('at' in result);
      });
    } catch (err) {
      this.#world.logger.error({ err, tx, phase }, 'a report could not be sent');
      stored(false);
      return;
    }
    if (command.command.reply !== true) return;
    try {
      const named = `${text.slice(0, -1)},"pattern":"${pattern}"`;
      const response = meta === undefined ? `${named}}` : `${named},"meta":${JSON.stringify(meta)}}`;
      this.#world.bus.publish(subjects.response(tx, this.#participant, phase), joinBody([response]));
    } catch (err) {
      // A courtesy, at most once: the report in the log is what counts.
      this.#world.logger.debug({ err, tx, phase }, 'a response could not be sent');
    }
  }

  /** Back-pressure: undefined, or resolved when more may be sent. */
  ready(): Promise<void> | undefined {
    return this.#batcher.ready();
  }

  /**
   * Resolves when the dead letter is stored, or when it is hopeless: the command itself stays in its stream, and one
   * that nobody can read must not stop those behind it.
   */
  async bury(
    delivery: Delivery,
    dead: {
      readonly pattern: Pattern;
      readonly index: number;
      readonly problem: string;
      readonly data: Uint8Array;
    },
  ): Promise<void> {
    const { seq, subject } = delivery;
    const { pattern, index, problem, data } = dead;
    const at = position(seq, index);
    for (let tries = 1; tries <= DEAD_LETTER_TRIES; tries += 1) {
      const letter = { pattern, participant: this.#participant, position: at, subject, problem, data };
      if (await storeDeadLetter(this.#world, letter)) return;
      if (tries < DEAD_LETTER_TRIES) await this.#pause(DEAD_LETTER_PAUSE_MS);
    }
  }

  close(timeoutMs: number): Promise<void> {
    return this.#batcher.close({ timeoutMs });
  }

  #subjectOf(pattern: Pattern, shard: number): Subject {
    const known = this.#subjects.get(pattern)?.[shard];
    if (known !== undefined) return known;
    const subject = subjects.input(pattern, this.#participant, 'report', shard);
    if (shard < MAX_SHARDS) {
      const ofPattern = this.#subjects.get(pattern) ?? [];
      ofPattern[shard] = subject;
      this.#subjects.set(pattern, ofPattern);
    }
    return subject;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#world.clock.after(ms, resolve);
    });
  }
}

/** As text, like the coordinator's envelopes: ids, positions, enums and numbers of a checked command go in raw. */
export function reportText(command: CommandEnvelope, reply: Reply): string {
  const { tx, run, step, phase, attempt, cause } = command;
  return (
    `{"v":${ENVELOPE_VERSION},"tx":"${tx}","run":"${run}","step":"${step}","phase":"${phase}","attempt":${attempt}` +
    `,"cause":{"at":"${cause.at}","time":${cause.time}},${JSON.stringify(reply).slice(1)}`
  );
}
