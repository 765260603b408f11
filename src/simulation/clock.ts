import type { Clock, Timeout } from '../ports/clock.ts';
import type { Actor, Scheduler, Task } from './scheduler.ts';

export interface NodeClockOptions {
  readonly scheduler: Scheduler;
  readonly actor: Actor;
  /** Wall clock at virtual time 0. */
  readonly epochMs: number;
  readonly skewMs: number;
}

/** One life of a node: its wall clock may be wrong and jump, its monotonic clock only stands still. */
export class NodeClock implements Clock {
  readonly #options: NodeClockOptions;
  readonly #bootMs: number;
  #skewMs: number;
  #pausedAtMs: number | undefined;
  /** Left out by the monotonic clock: pauses of the whole machine. */
  #stoodMs = 0;
  /** Left out by the connection's own timers: any pause. They count turns of the event loop, not time. */
  #inactiveMs = 0;

  constructor(options: NodeClockOptions) {
    this.#options = options;
    this.#bootMs = options.scheduler.nowMs;
    this.#skewMs = options.skewMs;
  }

  wallMs(): number {
    return this.#options.epochMs + this.#options.scheduler.nowMs + this.#skewMs;
  }

  monotonicMs(): number {
    return this.#options.scheduler.nowMs - this.#bootMs - this.#stoodMs;
  }

  after(delayMs: number, run: () => void): Timeout {
    return this.#timer(delayMs, run, () => this.monotonicMs());
  }

  /** As `after`, on the time in which this node's event loop ran. */
  afterActive(delayMs: number, run: () => void): Timeout {
    return this.#timer(delayMs, run, () => this.activeMs());
  }

  activeMs(): number {
    return this.#options.scheduler.nowMs - this.#bootMs - this.#inactiveMs;
  }

  /** Positive: forward. */
  jump(byMs: number): void {
    this.#skewMs += byMs;
  }

  pause(): void {
    this.#pausedAtMs = this.#options.scheduler.nowMs;
  }

  resume(clock: 'stands' | 'runs'): void {
    const pausedMs = this.#options.scheduler.nowMs - (this.#pausedAtMs ?? this.#options.scheduler.nowMs);
    this.#pausedAtMs = undefined;
    this.#inactiveMs += pausedMs;
    if (clock === 'stands') this.#stoodMs += pausedMs;
  }

  #timer(delayMs: number, run: () => void, now: () => number): Timeout {
    const { scheduler, actor } = this.#options;
    const due = now() + Math.max(MIN_TIMER_MS, delayMs);
    let task: Task;
    const wait = (leftMs: number): void => {
      task = scheduler.after(
        actor,
        leftMs,
        () => {
          const stillMs = due - now();
          if (stillMs > ROUNDING_MS) wait(stillMs);
          else run();
        },
        'timer',
      );
    };
    wait(due - now());
    return { cancel: () => scheduler.cancel(task) };
  }
}

/** As setTimeout has it. */
const MIN_TIMER_MS = 1;
/** Differences of doubles are not exact: a timer is not put off for less. */
const ROUNDING_MS = 1e-6;
