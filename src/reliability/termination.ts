/**
 * 3PC: a participant's own end of steps whose coordinator is silent (DESIGN §3): abort from prepared, commit from
 * precommitted. It looks through the barrier's records, so it also ends what fellow workers that have died had answered.
 *
 * Invariants:
 *  E1 nothing is ended before this participant has taken in everything that its subjects held after the time had run
 *     out: what its coordinator did say in time counts, however late it is read;
 *  E2 who ends a step holds its record by compare-and-set; a command that begins first wins (barrier-table.ts);
 *  E3 the end stays marked as not reported until its report is stored.
 */
import { PhasorError } from '../errors/phasor-error.ts';
import { parsePosition, type Position } from '../kernel/position.ts';
import type { Subject } from '../kernel/subjects.ts';
import type { Clock, Timeout } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Logger } from '../ports/telemetry.ts';
import type { WorkProgress } from '../ports/work.ts';
import { decodeBody } from '../protocol/codec.ts';
import type { CommandEnvelope } from '../protocol/envelopes.ts';
import { parseCommand } from '../protocol/guards.ts';
import { barrierKey, type Standing } from './barrier.ts';
import type { KvBarrier } from './barrier-kv.ts';
import { endOf, type BarrierRecord } from './barrier-table.ts';

export interface TerminationOptions {
  readonly stream: string;
  readonly barrier: Pick<KvBarrier, 'keys' | 'look'>;
  readonly log: Pick<Log, 'get'>;
  readonly clock: Clock;
  /** Server time, never ahead of it. */
  readonly server: { nowMs(): number };
  readonly logger: Logger;
  /** How often it looks. */
  readonly scanMs: number;
  /** This participant's consumers of the pattern. */
  readonly consumers: readonly { readonly durable: string; readonly filters: readonly Subject[] }[];
  readonly progress: (options: {
    readonly stream: string;
    readonly durable: string;
    readonly filters: readonly Subject[];
  }) => Promise<WorkProgress>;
  /** Ends the step of this command, which it has answered, and reports that. Rejected: tried at the next look. */
  readonly end: (command: CommandEnvelope, phase: 'abort' | 'commit') => Promise<void>;
}

interface Due {
  readonly key: string;
  readonly standing: Standing;
}

const KEY_PREFIX = '3pc.';
/** Records read in one look; the next look goes on where this one stopped. */
const MAX_READS = 1_024;
/** Keys remembered as ended, so that a look reads only what may still stand. */
const MAX_SETTLED = 65_536;
const POLL_MS = 250;

export class Termination {
  readonly #options: TerminationOptions;
  readonly #settled = new Set<string>();
  #next = '';
  #timer: Timeout | undefined;
  #wake: (() => void) | undefined;
  #working: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: TerminationOptions) {
    this.#options = options;
  }

  start(): void {
    this.#later();
  }

  /** Resolves when what it was ending is ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#wake?.();
    await this.#working;
  }

  #later(): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.after(this.#options.scanMs, () => {
      this.#working = this.#look().catch((err: unknown) => {
        this.#options.logger.warn({ err }, 'could not look for steps without a coordinator');
      });
      void this.#working.then(() => this.#later());
    });
  }

  async #look(): Promise<void> {
    const due = await this.#due();
    if (due.length === 0 || !(await this.#caughtUp())) return;
    for (const { key, standing } of due) {
      if (this.#closed) return;
      const command = await this.#answered(key, standing.at);
      if (command !== undefined) await this.#options.end(command, endOf(standing));
    }
  }

  /** What stands for longer than it may wait, by an estimate: the barrier asks for the time before it acts. */
  async #due(): Promise<readonly Due[]> {
    const { barrier, server, logger } = this.#options;
    const keys = (await barrier.keys()).filter(
      (key) => key.startsWith(KEY_PREFIX) && !this.#settled.has(key),
    );
    const due: Due[] = [];
    for (const key of this.#turn(keys)) {
      if (this.#closed) break;
      try {
        const found = await barrier.look(key);
        const standing = found?.record.standing;
        if (found !== undefined && standing !== undefined) {
          const own = found.record.phases[endOf(standing)];
          const waitsMs = own?.status === 'started' ? own.leaseMs : standing.waitMs;
          const over = own?.status === 'answered' || server.nowMs() - found.writtenMs >= waitsMs;
          if (over) due.push({ key, standing });
        } else if (found !== undefined && isOver(found.record)) this.#settle(key);
      } catch (err) {
        if (!PhasorError.is(err, 'BARRIER_RECORD_INVALID')) throw err;
        this.#settle(key);
        logger.error({ err, key }, 'a step cannot be ended without its record');
      }
    }
    return due;
  }

  /** A bounded number of them; every key has its turn. */
  #turn(keys: string[]): readonly string[] {
    if (keys.length <= MAX_READS) return keys;
    keys.sort();
    const from = Math.max(
      0,
      keys.findIndex((key) => key >= this.#next),
    );
    const turn = [...keys.slice(from), ...keys.slice(0, from)].slice(0, MAX_READS);
    this.#next = keys[(from + MAX_READS) % keys.length] ?? '';
    return turn;
  }

  #settle(key: string): void {
    if (this.#settled.size >= MAX_SETTLED) this.#settled.clear();
    this.#settled.add(key);
  }

  /** E1. False: closed meanwhile. */
  async #caughtUp(): Promise<boolean> {
    const { consumers, stream, progress } = this.#options;
    for (const consumer of consumers) {
      let target: number | undefined;
      for (;;) {
        if (this.#closed) return false;
        const { lastSeq, ackFloor } = await progress({ stream, ...consumer });
        target ??= lastSeq;
        if (ackFloor >= target) break;
        await this.#pause();
      }
    }
    return true;
  }

  /** The command whose answer the record holds: it says what an end needs. */
  async #answered(key: string, at: Position): Promise<CommandEnvelope | undefined> {
    const { log, stream, logger } = this.#options;
    const { seq, index } = parsePosition(at);
    const message = await log.get(stream, seq);
    const body = message === undefined ? undefined : decodeBody(message.data);
    if (message !== undefined && body?.ok === true) {
      const parsed = parseCommand(body.envelopes[index], message.data.length);
      if (parsed.ok && keyOf(parsed.envelope) === key) return parsed.envelope;
    }
    this.#settle(key);
    logger.error({ key, at }, 'a step cannot be ended: the stream does not hold its command');
    return undefined;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.clock.after(POLL_MS, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}

const keyOf = ({ tx, run, step }: CommandEnvelope): string => barrierKey({ pattern: '3pc', tx, run, step });

/** Nothing will ever stand there again. */
function isOver({ phases }: BarrierRecord): boolean {
  const { prepare, abort, commit } = phases;
  if (abort !== undefined || commit !== undefined) return true;
  return prepare?.status === 'answered' && OVER.has(prepare.reply.answer);
}
const OVER: ReadonlySet<string> = new Set(['refused', 'read-only']);
