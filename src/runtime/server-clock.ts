import type { Clock } from '../ports/clock.ts';

/** Local monotonic clocks run at most this much faster than the server's. */
const MAX_DRIFT = 0.001;

/**
 * An estimate of the server's time that is never ahead of it: stream times of what was received, carried on by the
 * monotonic clock. Behind it by the shortest delivery delay seen, or by more while only old messages have come.
 */
export class ServerClock {
  readonly #clock: Clock;
  #anchorMs = 0;
  #seenAtMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#seenAtMs = clock.monotonicMs();
  }

  /** @param timeMs stream time of something that the server had stored before now. */
  observe(timeMs: number): void {
    const monotonicMs = this.#clock.monotonicMs();
    if (timeMs < this.#at(monotonicMs)) return;
    this.#anchorMs = timeMs;
    this.#seenAtMs = monotonicMs;
  }

  /** Milliseconds since the epoch; near 0 until something was observed. */
  nowMs(): number {
    return Math.floor(this.#at(this.#clock.monotonicMs()));
  }

  #at(monotonicMs: number): number {
    return this.#anchorMs + (monotonicMs - this.#seenAtMs) * (1 - MAX_DRIFT);
  }
}
