/**
 * Watches every timer of every open run and appends a `deadline` input when one is due. It decides nothing: the input
 * counts where it stands in the log (Rule 2).
 *
 * Invariants:
 *  T1 a run stands in at most one bucket, the one of its earliest timer; a bucket that opens looks at the run anew,
 *     so that a timer that was disarmed costs nothing;
 *  T2 a timer is fired again only after its deadline input has been read back and did not count (it was early), and
 *     then only when it is due on the monotonic clock, but never sooner than a back-off that doubles: while the stream's
 *     clock stands still (it was set back) an input due "now" stays early.
 */
import type { Position } from '../kernel/position.ts';
import type { Clock, Timeout } from '../ports/clock.ts';
import type { DeadlineEnvelope } from '../protocol/envelopes.ts';
import type { Mark, Timer } from '../protocol/machine.ts';
import { timersOf, type RunRecord } from '../protocol/run.ts';

/** Deadlines fire up to this much late. */
const BUCKET_MS = 16;
/** Bounds of the wait before a timer whose input was early is fired again. */
const AGAIN_MIN_MS = 250;
const AGAIN_MAX_MS = 5_000;
/** Further than this behind (a suspended process), walking bucket by bucket would cost more than a scan. */
const MAX_WALK = 10_000;

export interface PhaseMonitorOptions {
  readonly clock: Clock;
  /** Estimate of the stream's time; never ahead of it. */
  readonly nowMs: () => number;
  /** How long after its due time a timer is let pass. Default: not at all. */
  readonly extraMs?: (run: RunRecord, timer: Timer) => number;
  /** Appends the deadline input of this timer. */
  readonly fire: (run: RunRecord, timer: Timer) => void;
}

interface Fired {
  /** Least wait before the next time, should its input have been early. */
  againMs: number;
  /** Its input was read back early; it waits for the next time. */
  waiting: boolean;
}

export class PhaseMonitor {
  readonly #options: PhaseMonitorOptions;
  readonly #buckets = new Map<number, Set<RunRecord>>();
  /** Timers whose deadline input is on its way, or waits to be sent again; goes with its run. */
  readonly #fired = new WeakMap<RunRecord, Map<string, Fired>>();
  readonly #early = new Set<Timeout>();
  #opened = 0;
  #tick: Timeout | undefined;

  constructor(options: PhaseMonitorOptions) {
    this.#options = options;
  }

  /** Some timer of `run` is due at `dueMs` of stream time. */
  arm(run: RunRecord, dueMs: number): void {
    if (!Number.isFinite(dueMs)) return;
    if (this.#tick === undefined) {
      this.#opened = Math.max(this.#opened, this.#currentBucket() - 1);
      this.#schedule();
    }
    const bucket = Math.max(Math.ceil(dueMs / BUCKET_MS), this.#opened + 1);
    if (run.wakeBucket !== undefined) {
      if (run.wakeBucket <= bucket) return;
      this.#buckets.get(run.wakeBucket)?.delete(run);
    }
    run.wakeBucket = bucket;
    const runs = this.#buckets.get(bucket);
    if (runs === undefined) this.#buckets.set(bucket, new Set([run]));
    else runs.add(run);
  }

  /** Arms whatever timers the run has now. */
  look(run: RunRecord): void {
    for (const timer of timersOf(run)) this.arm(run, timer.dueMs);
  }

  /** The run ended. */
  forget(run: RunRecord): void {
    if (run.wakeBucket === undefined) return;
    const runs = this.#buckets.get(run.wakeBucket);
    runs?.delete(run);
    if (runs?.size === 0) this.#buckets.delete(run.wakeBucket);
    run.wakeBucket = undefined;
  }

  /** A deadline input of this run was read back at `mark`. */
  read(run: RunRecord, deadline: DeadlineEnvelope, mark: Mark): void {
    const key = keyOf(deadline);
    const fired = this.#fired.get(run);
    const one = fired?.get(key);
    if (fired === undefined || one === undefined) return;
    const early = timerOf(run, key);
    if (early === undefined) {
      fired.delete(key);
      return this.look(run);
    }
    // Another coordinator's input for the same timer.
    if (one.waiting) return;
    one.waiting = true;
    const timeout = this.#options.clock.after(Math.max(early.dueMs - mark.time, one.againMs), () => {
      this.#early.delete(timeout);
      one.waiting = false;
      const timer = timerOf(run, key);
      if (timer === undefined) fired.delete(key);
      else this.#options.fire(run, timer);
    });
    one.againMs = Math.min(AGAIN_MAX_MS, one.againMs * 2);
    this.#early.add(timeout);
  }

  close(): void {
    this.#tick?.cancel();
    for (const timeout of this.#early) timeout.cancel();
    this.#buckets.clear();
  }

  #currentBucket(): number {
    return Math.floor(this.#options.nowMs() / BUCKET_MS);
  }

  #schedule(): void {
    this.#tick = this.#options.clock.after(BUCKET_MS, () => {
      this.#tick = undefined;
      this.#open(this.#currentBucket());
      if (this.#buckets.size > 0) this.#schedule();
    });
  }

  #open(until: number): void {
    if (until - this.#opened > MAX_WALK) {
      for (const bucket of [...this.#buckets.keys()]) if (bucket <= until) this.#openBucket(bucket);
    } else {
      for (let bucket = this.#opened + 1; bucket <= until; bucket += 1) this.#openBucket(bucket);
    }
    this.#opened = Math.max(this.#opened, until);
  }

  #openBucket(bucket: number): void {
    const runs = this.#buckets.get(bucket);
    if (runs === undefined) return;
    this.#buckets.delete(bucket);
    this.#opened = Math.max(this.#opened, bucket);
    const nowMs = this.#options.nowMs();
    for (const run of runs) {
      run.wakeBucket = undefined;
      for (const timer of timersOf(run)) {
        const fireMs = timer.dueMs > nowMs ? timer.dueMs : timer.dueMs + this.#extraMs(run, timer);
        if (fireMs > nowMs) this.arm(run, fireMs);
        else this.#fire(run, timer);
      }
    }
  }

  #extraMs(run: RunRecord, timer: Timer): number {
    return this.#options.extraMs?.(run, timer) ?? 0;
  }

  #fire(run: RunRecord, timer: Timer): void {
    const key = keyOf(timer);
    const fired = this.#fired.get(run);
    if (fired?.has(key) === true) return;
    const one: Fired = { againMs: AGAIN_MIN_MS, waiting: false };
    if (fired === undefined) this.#fired.set(run, new Map([[key, one]]));
    else fired.set(key, one);
    this.#options.fire(run, timer);
  }
}

type Named = Pick<Timer, 'kind'> & {
  readonly step?: string;
  readonly phase?: string;
  readonly attempt?: number;
  readonly armed: Position;
};
const keyOf = (timer: Named): string =>
  [timer.kind, timer.step, timer.phase, timer.attempt, timer.armed].join('/');

const timerOf = (run: RunRecord, key: string): Timer | undefined =>
  timersOf(run).find((timer) => keyOf(timer) === key);
