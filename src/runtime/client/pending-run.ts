/**
 * One begin and whoever waits for its outcome.
 *
 * Invariants:
 *  P1 an outcome counts only for the run that this begin began, or (own ids) for the run that it repeats;
 *  P2 what is told before the begin's acknowledgement is kept until it can be judged;
 *  P3 the first outcome that counts is the one every waiter gets.
 */
import { comparePositions, parseRun, type Position } from '../../kernel/position.ts';
import { isOutcomeSubject } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { BusMessage } from '../../ports/bus.ts';
import type { OutcomeEnvelope } from '../../protocol/envelopes.ts';
import { ENVELOPE_VERSION } from '../../protocol/limits.ts';
import type { FoundRun } from '../../protocol/query.ts';
import type { Lease, ResponseListener } from '../../reliability/subscription-manager.ts';
import type { CheckedBegin } from './begin-request.ts';
import { readOutcomes } from './read-outcomes.ts';
import type { Swept } from './sweeper.ts';

interface Waiter {
  readonly resolve: (outcome: OutcomeEnvelope) => void;
  readonly reject: (error: PhasorError) => void;
  /** Monotonic milliseconds. */
  readonly giveUpAtMs: number;
}

/** What a pending run asks of its client. */
export interface PendingHost {
  /** Milliseconds since the epoch, as the server counts them. */
  serverNowMs(): number;
  wallMs(): number;
  /** The outcome is known: nothing need be heard or asked any more. */
  ended(pending: PendingRun): void;
  /** Its subscription expired while nobody waited. */
  lapsed(pending: PendingRun): void;
  /** A coordinator must be asked before it can be judged. */
  doubtful(pending: PendingRun): void;
}

/** Own ids: told outcomes kept before the acknowledgement. */
const MAX_EARLY = 16;
/** A dedup window that ends this soon may end before the begin was stored: nothing follows from it. */
const WINDOW_MARGIN_MS = 60_000;

export class PendingRun implements ResponseListener, Swept {
  askAtMs = Infinity;
  askEveryMs = 0;
  lease: Lease | undefined;
  /** Called once, when the position becomes known. */
  onStored: ((at: Position) => void) | undefined;
  /** Position of the begin; undefined until it is known to be stored. */
  at: Position | undefined;
  outcome: OutcomeEnvelope | undefined;
  /** Local wall clock. */
  ackedMs = 0;
  readonly sentMs: number;
  #early: OutcomeEnvelope[] = [];
  #toldAgain: OutcomeEnvelope | undefined;
  #waiters: Waiter[] = [];

  constructor(
    readonly host: PendingHost,
    readonly begin: {
      readonly pattern: Pattern;
      readonly tx: string;
      readonly shard: number;
      readonly checked: CheckedBegin;
    },
  ) {
    this.sentMs = host.wallMs();
  }

  get pattern(): Pattern {
    return this.begin.pattern;
  }
  get tx(): string {
    return this.begin.tx;
  }
  get shard(): number {
    return this.begin.shard;
  }
  get isAwaited(): boolean {
    return this.#waiters.length > 0;
  }
  /** When the first waiter gives up; Infinity: none does. */
  get giveUpAtMs(): number {
    return this.#waiters.reduce((first, { giveUpAtMs }) => Math.min(first, giveUpAtMs), Infinity);
  }

  /** The begin is stored at `at`. */
  stored(at: Position): void {
    if (this.at !== undefined) return;
    this.at = at;
    this.ackedMs = this.host.wallMs();
    this.onStored?.(at);
    const early = this.#early;
    this.#early = [];
    for (const outcome of early) this.#offer(outcome);
  }

  received(message: BusMessage): void {
    if (!isOutcomeSubject(message.subject)) return;
    for (const outcome of readOutcomes(message, this.tx)) this.#offer(outcome);
  }

  expired(): void {
    this.host.lapsed(this);
  }

  /** Resolves with the outcome; rejects at `giveUpAtMs` (monotonic). */
  wait(giveUpAtMs: number): Promise<OutcomeEnvelope> {
    if (this.outcome !== undefined) return Promise.resolve(this.outcome);
    this.lease?.renew();
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject, giveUpAtMs }));
  }

  fail(error: PhasorError): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { reject } of waiters) reject(error);
  }

  turn(nowMs: number): number {
    if (this.#waiters.length === 0) return Infinity;
    this.lease?.renew();
    const late = this.#waiters.filter(({ giveUpAtMs }) => giveUpAtMs <= nowMs);
    if (late.length > 0) {
      this.#waiters = this.#waiters.filter(({ giveUpAtMs }) => giveUpAtMs > nowMs);
      const error = new PhasorError('OUTCOME_TIMEOUT', `no outcome of ${this.tx} in time`, { tx: this.tx });
      for (const { reject } of late) reject(error);
    }
    return this.giveUpAtMs;
  }

  found(runs: readonly FoundRun[]): void {
    for (const run of runs) {
      if (this.outcome !== undefined || run.pattern !== this.pattern) continue;
      if (this.#isMine(run.run)) {
        if (run.outcome !== undefined) this.#accept(run.outcome);
      } else if (this.begin.checked.own && this.at !== undefined) this.#foundOther(run, this.at);
    }
  }

  #offer(outcome: OutcomeEnvelope): void {
    if (this.outcome !== undefined || outcome.pattern !== this.pattern) return;
    if (this.at === undefined) {
      // A fresh id is this begin's alone: its outcome proves it stored, also when the acknowledgement got lost.
      if (!this.begin.checked.own) this.stored(parseRun(outcome.run).at);
      else {
        if (this.#early.length < MAX_EARLY) this.#early.push(outcome);
        return;
      }
    }
    if (this.#isMine(outcome.run)) this.#accept(outcome);
    else if (this.begin.checked.own && outcome.duplicate === true) {
      // It may have been told for somebody else's begin of this id, with another plan than ours.
      this.#toldAgain = outcome;
      this.host.doubtful(this);
    }
  }

  #isMine(run: string): boolean {
    return this.at !== undefined && run.startsWith(`${this.at}.`);
  }

  /** An own id names another run: this begin repeats it, contradicts it, or came after its window. */
  #foundOther(run: FoundRun, at: Position): void {
    const told = this.#toldAgain?.run === run.run ? this.#toldAgain : undefined;
    // It began later. Had this begin been admitted all the same, it would have to have ended a window before that.
    if (comparePositions(parseRun(run.run).at, at) > 0 && !this.#withinWindow(run)) {
      if (told !== undefined && run.digest === this.begin.checked.digest()) this.#accept(told);
      return;
    }
    if (run.digest === undefined) {
      if (told !== undefined) this.#accept(told);
      return;
    }
    const same = run.digest === this.begin.checked.digest();
    if (same && told !== undefined) {
      this.#accept(told);
      return;
    }
    if (run.until !== undefined && run.until - WINDOW_MARGIN_MS < this.host.serverNowMs()) return;
    if (!same) this.#accept(this.#mismatch(run, at));
    else if (run.outcome !== undefined) this.#accept({ ...run.outcome, duplicate: true });
  }

  /** Whether the run, over by now, began before a run of this begin can have been over for a window. */
  #withinWindow({ run, outcome, until }: FoundRun): boolean {
    if (outcome === undefined || until === undefined) return false;
    const sentMs = this.host.serverNowMs() - (this.host.wallMs() - this.sentMs);
    const windowMs = until - outcome.time;
    return parseRun(run).timeMs < sentMs + windowMs - WINDOW_MARGIN_MS;
  }

  /** What the coordinator told, or will tell, of this begin. */
  #mismatch({ run }: FoundRun, at: Position): OutcomeEnvelope {
    return {
      v: ENVELOPE_VERSION,
      tx: this.tx,
      run,
      pattern: this.pattern,
      status: 'mismatch',
      scope: 'all',
      at,
      time: Math.floor(this.host.serverNowMs()),
      code: 'plan-differs',
      message: `this id names run ${run}, begun with another plan`,
    };
  }

  #accept(outcome: OutcomeEnvelope): void {
    this.outcome = outcome;
    this.#toldAgain = undefined;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { resolve } of waiters) resolve(outcome);
    this.host.ended(this);
  }
}
