/** The barrier in a KV bucket: compare-and-set around the handler. The effect itself is at least once. */
import { PhasorError } from '../errors/phasor-error.ts';
import { isOpenPhase } from '../kernel/vocabulary.ts';
import type { Clock } from '../ports/clock.ts';
import type { Passing } from '../ports/crash-points.ts';
import type { Entry, KeyValue, Written } from '../ports/key-value.ts';
import type { Logger } from '../ports/telemetry.ts';
import {
  barrierKey,
  type Barrier,
  type Execution,
  type GuardedCommand,
  type Reply,
  type Standing,
} from './barrier.ts';
import { decideEnd, endedReply, finishEnd, reported, withoutOutput } from './barrier-end.ts';
import { lost, unrecorded } from './barrier-late.ts';
import { decodeRecord, encodeRecord } from './barrier-record.ts';
import {
  decide,
  finish,
  holdsDeadClaim,
  isOurs,
  isOver,
  isPositive,
  outputOf,
  qualify,
  type BarrierRecord,
} from './barrier-table.ts';
import { beginsItsStep, KnownRecords } from './known-records.ts';
import { renewedWhile } from './claim-renewal.ts';
import { StandingIndex } from './standing-index.ts';

export interface KvBarrierOptions {
  readonly bucket: KeyValue;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly passing: Passing;
  /** Server time, never ahead of it; told of every time that the bucket shows. */
  readonly server: { nowMs(): number; observe(timeMs: number): void };
  /** Unique for this worker process: a new ULID. */
  readonly owner: string;
  /** Life of a record after its last write. */
  readonly keepMs: number;
  /** Life of a claim; renewed every third of it while its handler runs. */
  readonly leaseMs: number;
  /** Records of unfinished steps kept in memory, which spares a read in their next phase. Default: 4_096. */
  readonly maxKnown?: number;
}

interface Claim {
  readonly key: string;
  readonly by: string;
  readonly command: GuardedCommand;
  readonly record: BarrierRecord;
  /** The participant's own end (3PC). */
  readonly standing?: Standing;
  revision: number;
}

type Claimed =
  | { readonly type: 'answer'; readonly reply: Reply }
  | ({ readonly type: 'run'; readonly mayHaveRun: boolean; readonly output?: Reply['output'] } & Claim);

interface Seen {
  readonly record: BarrierRecord | undefined;
  /** Undefined: no live record. */
  readonly revision: number | undefined;
  readonly writtenMs: number;
  /** Remembered, not read: good enough to try a write with, not to answer from. */
  readonly guessed: boolean;
}

const CLAIM_TRIES = 5;
/** Records with large outputs are read again rather than kept in memory. */
const MAX_KNOWN_BYTES = 1_024;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;
/** How often a command looks whether the other execution of its phase has ended. */
const FIRST_LOOK_MS = 5;
const MAX_LOOK_MS = 250;
const QUESTION = new TextEncoder().encode('{"v":1}');
const QUESTION_KEEP_MS = 60_000;
const NOTHING: Seen = { record: undefined, revision: undefined, writtenMs: 0, guessed: true };

export class KvBarrier implements Barrier {
  readonly name = 'kv';
  readonly #standing: StandingIndex;
  readonly #options: KvBarrierOptions;
  readonly #known: KnownRecords;
  #executions = 0;
  #questions = 0;
  #closed = false;

  constructor(options: KvBarrierOptions) {
    this.#options = options;
    this.#known = new KnownRecords(options.maxKnown ?? 4_096);
    this.#standing = new StandingIndex(options.bucket, options.logger);
  }

  /** Final writes that did not get through are given up: the report goes without them, as `lateEffect`. */
  close(): void {
    this.#closed = true;
  }

  async guard(command: GuardedCommand, execution: Execution): Promise<Reply> {
    this.#executions += 1;
    const by = `${this.#options.owner}.${this.#executions}`;
    let claimed: Claimed;
    try {
      claimed = await this.#claim(command, by, execution);
    } catch (err) {
      this.#options.logger.error({ err, tx: command.tx, step: command.step }, 'the barrier is out of reach');
      const unreadable = PhasorError.is(err, 'BARRIER_RECORD_INVALID');
      const code = unreadable ? 'barrier-unreadable' : 'barrier-unavailable';
      // Another copy of this command may stand in the record that could not be read.
      return { answer: 'retry', code, mayHaveRun: true };
    }
    if (claimed.type === 'answer') return claimed.reply;
    const { output, mayHaveRun } = claimed;
    const running = execution.run(output === undefined ? {} : { output });
    const raw = running instanceof Promise ? await this.#keepAlive(claimed, execution, running) : running;
    return this.#record(claimed, qualify(raw, mayHaveRun));
  }

  async recall(command: GuardedCommand): Promise<Reply | undefined> {
    const { bucket, keepMs, leaseMs, server, owner } = this.#options;
    const { record, writtenMs } = this.#see(await bucket.get(barrierKey(command)));
    if (record?.phases[command.phase]?.status !== 'answered') return undefined;
    const now = { serverMs: server.nowMs(), writtenMs, keepMs, by: owner, leaseMs };
    const decision = decide(record, command, now);
    return decision.type === 'answer' ? decision.reply : undefined;
  }

  /**
   * 3PC: the participant's own end of a step that has waited long enough for its coordinator, taken over by
   * compare-and-set: losing it means that a command or a fellow came first.
   *
   * @param command what the end does: `abort` or `commit` of the step.
   * @returns what to report, also when it was ended before; undefined: nothing, for now.
   * @throws {PhasorError} what reads and writes may meet: it is tried again later.
   */
  async end(command: GuardedCommand, execution: Execution): Promise<Reply | undefined> {
    const { bucket, keepMs, leaseMs } = this.#options;
    const key = barrierKey(command);
    this.#executions += 1;
    const by = `${this.#options.owner}.${this.#executions}`;
    // The bucket's own time: what ends here must not rest on an estimate.
    const serverMs = await this.serverTimeMs();
    const { record, revision, writtenMs } = this.#see(await bucket.get(key));
    if (record === undefined || revision === undefined) return undefined;
    const decision = decideEnd(record, { serverMs, writtenMs, keepMs, by, leaseMs });
    if (decision.type === 'ended') return withoutOutput(decision.reply);
    if (decision.type === 'none' || decision.phase !== command.phase) return undefined;
    const { output, standing } = decision;
    this.#known.delete(key);
    const written = await this.#write(key, encodeRecord(decision.record, command.phase), revision);
    if (!written.won) return undefined;
    const claim: Claim = { key, by, command, record: decision.record, standing, revision: written.revision };
    const running = execution.run(output === undefined ? {} : { output });
    const raw = running instanceof Promise ? await this.#keepAlive(claim, execution, running) : running;
    const reply = await this.#record(claim, raw);
    const isStored = isPositive(reply) && reply.lateEffect !== true;
    return isStored ? withoutOutput(endedReply(standing, reply)) : undefined;
  }

  /** Its own end was reported. Losing the write means that the record has moved on: nothing is left to say. */
  async ended(command: Pick<GuardedCommand, 'pattern' | 'tx' | 'run' | 'step' | 'phase'>): Promise<void> {
    const { bucket } = this.#options;
    const key = barrierKey(command);
    this.#executions += 1;
    const { record, revision } = this.#see(await bucket.get(key));
    if (record?.standing === undefined || record.phases[command.phase]?.status !== 'answered') return;
    const by = `${this.#options.owner}.${this.#executions}`;
    const written = await this.#write(key, encodeRecord(reported(record, by), command.phase), revision);
    if (written.won) await this.#standing.drop(key);
  }

  /**
   * The record as it stands now, for who looks for steps to end; one that can never stand again leaves their list.
   *
   * @throws {PhasorError} as a read may.
   */
  async look(
    key: string,
  ): Promise<{ readonly record: BarrierRecord; readonly writtenMs: number } | undefined> {
    const { record, writtenMs } = this.#see(await this.#options.bucket.get(key));
    if (record === undefined || isOver(record)) await this.#standing.drop(key);
    return record === undefined ? undefined : { record, writtenMs };
  }

  /** Keys of the records that may stand. @throws {PhasorError} as a read may. */
  standing(): Promise<readonly string[]> {
    return this.#standing.keys();
  }

  /**
   * The bucket's own time, not an estimate: a record of ours, stored after the call. Nothing is concluded from a record
   * that cannot be read back: 0.
   *
   * @throws {PhasorError} `TIMEOUT`, `CONNECTION_FAILED`, and what else a write may meet.
   */
  async serverTimeMs(): Promise<number> {
    const { bucket, owner } = this.#options;
    this.#questions += 1;
    const key = `worker.${owner}.${this.#questions}`;
    await bucket.create(key, QUESTION, { ttlMs: QUESTION_KEEP_MS });
    return (await bucket.get(key))?.timeMs ?? 0;
  }

  /** Writes `started`, or finds out why the handler must not run. Losing the write means: decide on what won. */
  async #claim(command: GuardedCommand, by: string, execution: Execution): Promise<Claimed> {
    const { clock, leaseMs } = this.#options;
    const key = barrierKey(command);
    const beganMs = clock.monotonicMs();
    let seen = this.#remembered(key, command);
    let failures = 0;
    for (let looks = 0; ; looks += 1) {
      try {
        const claimed = await this.#tryClaim({ key, by, command, seen });
        if (claimed.type !== 'wait') return claimed;
        if (this.#closed || execution.abandoned || clock.monotonicMs() - beganMs >= leaseMs)
          return { type: 'answer', reply: claimed.reply };
        await this.#pause(Math.min(FIRST_LOOK_MS * 2 ** Math.min(looks, 10), MAX_LOOK_MS));
      } catch (error) {
        failures += 1;
        if (!PhasorError.is(error) || !error.retryable || failures === CLAIM_TRIES || this.#closed)
          throw error;
        await this.#pause(FIRST_PAUSE_MS * 2 ** (failures - 1));
      }
      this.#known.delete(key);
      seen = undefined;
    }
  }

  async #tryClaim(options: {
    readonly key: string;
    readonly by: string;
    readonly command: GuardedCommand;
    readonly seen: Seen | undefined;
  }): Promise<Claimed | { readonly type: 'wait'; readonly reply: Reply }> {
    const { key, by, command } = options;
    const { bucket, keepMs, leaseMs, server, passing } = this.#options;
    let seen = options.seen ?? this.#see(await bucket.get(key));
    for (;;) {
      const { record, revision, writtenMs } = seen;
      // The answer to an earlier try got lost: the claim is ours already.
      if (record !== undefined && revision !== undefined && isOurs(record, command, by))
        return { ...claimedBefore(record, command), key, by, command, record, revision };
      let now = { serverMs: server.nowMs(), writtenMs, keepMs, by, leaseMs };
      // The estimate may be ahead since the server's clock was set back: a living claim must not look dead by it.
      if (!seen.guessed && holdsDeadClaim(record, now)) now = { ...now, serverMs: await this.serverTimeMs() };
      const decision = decide(record, command, now);
      if (decision.type === 'answer' || decision.type === 'wait') {
        if (!seen.guessed) return decision;
        seen = this.#see(await bucket.get(key));
        continue;
      }
      await this.#index(key, decision.record, record);
      const written = await this.#write(key, encodeRecord(decision.record, command.phase), revision);
      if (!written.won) {
        seen = this.#see(written.current);
        continue;
      }
      if (decision.type === 'run') return { ...decision, key, by, command, revision: written.revision };
      passing('p8');
      return { type: 'answer', reply: decision.reply };
    }
  }

  #keepAlive(claim: Claim, execution: Execution, running: Promise<Reply>): Promise<Reply> {
    const { clock, leaseMs, logger } = this.#options;
    const { key, command, by } = claim;
    const renew = async (): Promise<boolean> => {
      try {
        const written = await this.#write(key, encodeRecord(claim.record, command.phase), claim.revision);
        if (written.won) {
          claim.revision = written.revision;
          return true;
        }
        const current = this.#see(written.current);
        // Lost: somebody took the claim over. The final write will lose too, and say what that means.
        if (!isOurs(current.record, command, by)) return false;
        // An earlier renewal was stored and its answer lost.
        claim.revision = current.revision ?? claim.revision;
      } catch (err) {
        logger.warn({ err, key }, 'a barrier claim was not renewed');
      }
      return true;
    };
    return renewedWhile(running, { clock, everyMs: leaseMs / 3, execution, renew });
  }

  /** The final write. It belongs to whoever holds the claim; losing it means that the claim was taken over. */
  async #record(claim: Claim, reply: Reply): Promise<Reply> {
    const { command, key, by } = claim;
    let pauseMs = FIRST_PAUSE_MS;
    for (;;) {
      try {
        const { standing } = claim;
        const record =
          standing === undefined
            ? finish(claim.record, command, { reply, by })
            : finishEnd(claim.record, standing, { reply, by });
        const value = encodeRecord(record, command.phase);
        await this.#index(key, record, claim.record);
        const written = await this.#write(key, value, claim.revision);
        if (written.won) {
          this.#known.delete(key);
          if (command.standing !== undefined && isOver(record)) void this.#standing.drop(key);
          // Only acts have a next phase worth remembering for.
          if (isOpenPhase(command.phase) && value.length <= MAX_KNOWN_BYTES)
            this.#known.set(key, { record, revision: written.revision });
          return reply;
        }
        const current = this.#see(written.current);
        // The answer to an earlier try got lost: what stands there is this very write.
        if (current.record?.by === by && !isOurs(current.record, command, by)) return reply;
        if (!isOurs(current.record, command, by)) return await this.#overtaken(claim, current, reply);
        // A renewal whose answer got lost: the claim is still ours, at a later revision.
        claim.revision = current.revision ?? claim.revision;
        continue;
      } catch (err) {
        this.#options.logger.warn({ err, key }, 'the final write of the barrier failed');
        if (!PhasorError.is(err) || !err.retryable || this.#closed) return unrecorded(reply);
      }
      await this.#pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
    }
  }

  async #overtaken(claim: Claim, found: Seen, reply: Reply): Promise<Reply> {
    const { command, key, by } = claim;
    let seen = found;
    for (;;) {
      const outcome = lost(seen.record, command, { reply, by });
      if (outcome.record === undefined) return outcome.reply;
      const written = await this.#write(key, encodeRecord(outcome.record, command.phase), seen.revision);
      if (written.won) return outcome.reply;
      seen = this.#see(written.current);
      if (seen.record?.by === by) return outcome.reply;
    }
  }

  /** Before `record` is written over `before`: what is about to stand is listed first (N1). */
  async #index(key: string, record: BarrierRecord, before: BarrierRecord | undefined): Promise<void> {
    if (record.standing !== undefined && before?.standing === undefined) await this.#standing.add(key);
  }

  async #write(key: string, value: Uint8Array, revision: number | undefined): Promise<Written> {
    const { bucket, keepMs } = this.#options;
    return revision === undefined
      ? bucket.create(key, value, { ttlMs: keepMs })
      : bucket.update(key, value, { ttlMs: keepMs, revision });
  }

  #see(entry: Entry | undefined): Seen {
    if (entry === undefined) return { ...NOTHING, guessed: false };
    this.#options.server.observe(entry.timeMs);
    return {
      record: decodeRecord(entry.value),
      revision: entry.revision,
      writtenMs: entry.timeMs,
      guessed: false,
    };
  }

  /** What to try first without reading; undefined: read. */
  #remembered(key: string, command: GuardedCommand): Seen | undefined {
    const known = this.#known.get(key);
    if (known !== undefined) return { ...known, writtenMs: 0, guessed: true };
    return beginsItsStep(command) ? NOTHING : undefined;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.clock.after(ms, resolve);
    });
  }
}

/** The record of a claim of ours, whose acknowledgement got lost. */
function claimedBefore(
  record: BarrierRecord,
  command: GuardedCommand,
): Pick<Extract<Claimed, { readonly type: 'run' }>, 'type' | 'mayHaveRun' | 'output'> {
  const own = record.phases[command.phase];
  const dirty = own?.status === 'started' && own.dirty === true;
  const output = outputOf(record);
  return {
    type: 'run',
    mayHaveRun: dirty || command.redelivered,
    ...(output === undefined ? {} : { output }),
  };
}
