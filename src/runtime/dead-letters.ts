/** Whatever could not be processed goes to `dead.{pattern}.{participant}`, keyed by its position. */
import type { Position } from '../kernel/position.ts';
import { streamOf, subjects } from '../kernel/subjects.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { World } from '../ports/world.ts';
import { cutText } from '../protocol/bounded.ts';
import { MAX_MESSAGE_CHARS } from '../protocol/limits.ts';
import type { Burial } from '../protocol/machine.ts';
import type { Buried, RunRecord } from '../protocol/run.ts';
import { commandText } from './notes.ts';

export interface DeadLetter {
  readonly pattern: Pattern;
  /** Who could not process it: a participant, or `coordinator`. */
  readonly participant: string;
  readonly position: Position;
  /** Tells letters of one position apart, where one input buries several. Default: there is one. */
  readonly part?: string;
  /** Where it was published. */
  readonly subject: string;
  readonly problem: string;
  /** The envelope, or the whole body where no envelope could be told apart. */
  readonly data: Uint8Array;
}

/** Bytes of the original that a dead letter keeps. */
export const DEAD_LETTER_DATA_BYTES = 131_072;

/**
 * Stores one dead letter; resolves false when it could not be stored (logged). The same position is stored once
 * within the duplicate window; readers tell repeated ones by `position`.
 */
export async function storeDeadLetter(world: World, letter: DeadLetter): Promise<boolean> {
  const { pattern, participant, position, part, subject, problem, data } = letter;
  const body = {
    v: 1,
    position,
    subject,
    problem: cutText(problem, MAX_MESSAGE_CHARS),
    data: Buffer.from(data.subarray(0, DEAD_LETTER_DATA_BYTES)).toString('base64'),
    ...(data.byteLength > DEAD_LETTER_DATA_BYTES ? { truncated: true } : {}),
  };
  const msgId = `${streamOf(pattern)}.${position}${part === undefined ? '' : `.${part}`}`;
  const letterSubject = subjects.dead(pattern, participant);
  const told = { letter: letterSubject, position, subject, problem };
  try {
    const { duplicate } = await world.log.append(letterSubject, Buffer.from(JSON.stringify(body)), { msgId });
    // Replays find the old ones again: those are no news.
    if (!duplicate) world.logger.warn(told, 'dead letter');
    return true;
  } catch (err) {
    world.logger.error({ ...told, err }, 'a dead letter could not be stored');
    return false;
  }
}

/** The bytes of an envelope that was refused; the whole body where it has no JSON text (nested too deep). */
export function letterData(envelope: unknown, body: Uint8Array): Uint8Array {
  try {
    return Buffer.from(JSON.stringify(envelope));
  } catch {
    return body;
  }
}

interface Waiting {
  readonly letter: DeadLetter;
  readonly stored: (() => void) | undefined;
}

/**
 * Letters for steps that died at one input, one for each participant: keyed by that input, and holding the commands as
 * last sent, in one body that could be published again.
 */
export function lettersOf(run: RunRecord, { at, burials }: Buried, shard: number): readonly DeadLetter[] {
  const { pattern } = run.facts;
  const byParticipant = new Map<string, Burial[]>();
  for (const burial of burials) {
    const { participant } = burial.command;
    const known = byParticipant.get(participant);
    if (known === undefined) byParticipant.set(participant, [burial]);
    else known.push(burial);
  }
  return [...byParticipant].map(([participant, dead]) => {
    const [first] = dead;
    const { phase } = first?.command ?? { phase: 'execute' };
    const commands = dead.map(({ command }) => commandText(run, command, shard));
    return {
      ...{ pattern, participant, position: at, part: participant },
      subject: subjects.command(pattern, participant, phase),
      problem: dead.map(whyDead).join('; '),
      data: Buffer.from(`[${commands.join(',')}]`),
    };
  });
}

function whyDead({ command, code, message, mayHaveRun }: Burial): string {
  const why = message === undefined ? code : `${code}: ${message}`;
  return `step ${command.step} is dead (${why}); it ${mayHaveRun ? 'may have run' : 'has not run'}`;
}

const MAX_WAITING = 256;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 10_000;

/** Stores a coordinator's dead letters one after the other, each tried until it is stored. */
export class DeadLetterBox {
  readonly #world: World;
  readonly #waiting: Waiting[] = [];
  #busy = false;
  #closed = false;
  #room: { readonly promise: Promise<void>; readonly announce: () => void } | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** @param stored called once it is durable; never, if this box is closed before. */
  add(letter: DeadLetter, stored?: () => void): void {
    this.#waiting.push({ letter, stored });
    if (!this.#busy) void this.#work();
  }

  /** Back-pressure: a flood of garbage must not fill memory. */
  ready(): Promise<void> | undefined {
    if (this.#waiting.length < MAX_WAITING || this.#closed) return undefined;
    if (this.#room === undefined) {
      let announce = (): void => undefined;
      const promise = new Promise<void>((resolve) => (announce = resolve));
      this.#room = { promise, announce };
    }
    return this.#room.promise;
  }

  /** What is not stored yet is found again by the next replay. */
  close(): void {
    this.#closed = true;
    this.#room?.announce();
  }

  async #work(): Promise<void> {
    this.#busy = true;
    for (let failures = 0; !this.#closed;) {
      const [next] = this.#waiting;
      if (next === undefined) break;
      if (await storeDeadLetter(this.#world, next.letter)) {
        failures = 0;
        this.#waiting.shift();
        next.stored?.();
        this.#announceRoom();
      } else {
        const waitMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures, 10));
        failures += 1;
        await new Promise<void>((resolve) => this.#world.clock.after(waitMs, resolve));
      }
    }
    this.#busy = false;
  }

  #announceRoom(): void {
    if (this.#room === undefined || this.#waiting.length > MAX_WAITING / 2) return;
    this.#room.announce();
    this.#room = undefined;
  }
}
