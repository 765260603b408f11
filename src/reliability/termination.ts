/**
 * 3PC: a participant's own end of steps whose coordinator is silent (DESIGN §3): abort from prepared, commit from
 * precommitted. It looks through the records that stand (standing-index.ts), so it also ends what fellow workers that have died had
 * answered.
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
import { endOf } from './barrier-end.ts';

export interface TerminationOptions {
  readonly stream: string;
  readonly barrier: Pick<KvBarrier, 'standing' | 'look'>;
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
  /** Where the command stands that it answered. */
  readonly at: Position;
}

interface Waiting {
  readonly at: Position;
  readonly targets: readonly number[];
}

/** Records read at a time. */
const BATCH = 256;
/** Keys remembered as impossible to end, so that each is logged once. */
const MAX_HOPELESS = 65_536;
const POLL_MS = 250;

export class Termination {
  readonly #options: TerminationOptions;
  readonly #hopeless = new Set<string>();
  /** Due, and not ended yet: each with what its participant must have taken in first, by consumer. */
  #waiting = new Map<string, Waiting>();
  /** Until then a key is not read again: what stands only ever waits for longer, or for a dead fellow's lease at most. */
  #notBefore = new Map<string, number>();
  #timer: Timeout | undefined;
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
    await this.#working;
  }

  /** `leftMs`: until it looks again; while steps wait for the ack floor it asks for that in between. */
  #later(leftMs = this.#options.scanMs): void {
    if (this.#closed) return;
    const waitMs = this.#waiting.size === 0 ? leftMs : Math.min(leftMs, POLL_MS);
    const isLook = waitMs === leftMs;
    this.#timer = this.#options.clock.after(waitMs, () => {
      this.#working = (isLook ? this.#look() : this.#endWaiting()).catch((err: unknown) => {
        this.#options.logger.warn({ err }, 'could not look for steps without a coordinator');
      });
      void this.#working.then(() => this.#later(isLook ? undefined : leftMs - waitMs));
    });
  }

  /** Costs what stands, whatever else the bucket holds. */
  async #look(): Promise<void> {
    const nowMs = this.#options.server.nowMs();
    const keys = await this.#options.barrier.standing();
    const notBefore = new Map<string, number>();
    const due: Due[] = [];
    const read = async (key: string): Promise<void> => {
      const found = await this.#read(key);
      if (found === undefined || this.#closed) return;
      if (found.dueMs <= nowMs) due.push({ key, at: found.standing.at });
      else notBefore.set(key, found.dueMs);
    };
    const open: string[] = [];
    for (const key of keys) {
      const dueMs = this.#notBefore.get(key);
      if (dueMs !== undefined && dueMs > nowMs) notBefore.set(key, dueMs);
      else if (!this.#hopeless.has(key)) open.push(key);
    }
    for (let from = 0; from < open.length && !this.#closed; from += BATCH)
      await Promise.all(open.slice(from, from + BATCH).map(read));
    this.#notBefore = notBefore;
    await this.#wait(due);
    await this.#endWaiting();
  }

  /** What stands there, and when it is due by an estimate: the barrier asks for the time before it acts. */
  async #read(key: string): Promise<{ readonly standing: Standing; readonly dueMs: number } | undefined> {
    try {
      const found = await this.#options.barrier.look(key);
      const standing = found?.record.standing;
      if (found === undefined || standing === undefined) return undefined;
      const own = found.record.phases[endOf(standing)];
      if (own?.status === 'answered') return { standing, dueMs: 0 };
      const waitsMs = own?.status === 'started' ? own.leaseMs : standing.waitMs;
      return { standing, dueMs: found.writtenMs + waitsMs };
    } catch (err) {
      if (!PhasorError.is(err, 'BARRIER_RECORD_INVALID')) throw err;
      this.#giveUp(key);
      this.#options.logger.error({ err, key }, 'a step cannot be ended without its record');
      return undefined;
    }
  }

  #giveUp(key: string): void {
    if (this.#hopeless.size >= MAX_HOPELESS) this.#hopeless.clear();
    this.#hopeless.add(key);
  }

  /** E1: what was found due only now waits for all that its subjects hold now; the others for what they held then. */
  async #wait(due: readonly Due[]): Promise<void> {
    const waiting = new Map<string, Waiting>();
    const isNew = ({ key, at }: Due): boolean => this.#waiting.get(key)?.at !== at;
    const targets = due.some(isNew) ? (await this.#progress()).map(({ lastSeq }) => lastSeq) : [];
    for (const each of due) {
      const known = isNew(each) ? undefined : this.#waiting.get(each.key);
      waiting.set(each.key, known ?? { at: each.at, targets });
    }
    this.#waiting = waiting;
  }

  #progress(): Promise<readonly WorkProgress[]> {
    const { consumers, stream, progress } = this.#options;
    return Promise.all(consumers.map((consumer) => progress({ stream, ...consumer })));
  }

  /** Ends what waits for nothing more; a floor that is stuck holds up only what became due behind it. */
  async #endWaiting(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const floors = (await this.#progress()).map(({ ackFloor }) => ackFloor);
    for (const [key, { at, targets }] of [...this.#waiting]) {
      if (this.#closed) return;
      if (!targets.every((target, index) => (floors[index] ?? 0) >= target)) continue;
      this.#waiting.delete(key);
      const found = await this.#read(key);
      // Something was heard while it waited: then it stands anew, or not at all.
      if (found?.standing.at !== at) continue;
      const command = await this.#answered(key, at);
      if (command !== undefined) await this.#options.end(command, endOf(found.standing));
    }
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
    this.#giveUp(key);
    logger.error({ key, at }, 'a step cannot be ended: the stream does not hold its command');
    return undefined;
  }
}

const keyOf = ({ tx, run, step }: CommandEnvelope): string => barrierKey({ pattern: '3pc', tx, run, step });
