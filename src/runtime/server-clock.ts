import type { Clock } from '../ports/clock.ts';

/** Local monotonic clocks run at most this much faster than the server's. */
const MAX_DRIFT = 0.001;
/** How long the server's own answer outweighs what messages tell. */
const CORRECTED_MS = 1_000;

/**
 * An estimate of the server's time that is never ahead of it: stream times of what was received, carried on by the
 * monotonic clock. Behind it by the shortest delivery delay seen, or by more while only old messages have come.
 *
 * A server's clock may be set back (NTP, a new leader). Messages cannot tell: one with an old time may have been long on
 * its way. So `observe` only raises the estimate, and it stays ahead until `correct` is told the server's own answer to
 * a question asked just now, which replaces it in either direction. Whoever concludes from it that something is *over*
 * and would do harm if it were not asks first.
 */
export class ServerClock {
  readonly #clock: Clock;
  #anchorMs = 0;
  #seenAtMs: number;
  #correctedAtMs = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#seenAtMs = clock.monotonicMs();
  }

  /** Whether the server's own answer came within the last second. */
  get isCorrected(): boolean {
    return this.#clock.monotonicMs() - this.#correctedAtMs < CORRECTED_MS;
  }

  /** @param timeMs stream time of something that the server had stored before now. */
  observe(timeMs: number): void {
    const monotonicMs = this.#clock.monotonicMs();
    // What is ahead of a fresh answer was stamped before the clock was set back.
    if (timeMs < this.#at(monotonicMs) || this.isCorrected) return;
    this.#anchorMs = timeMs;
    this.#seenAtMs = monotonicMs;
  }

  /** @param timeMs the time that the server told when asked just now. */
  correct(timeMs: number): void {
    this.#anchorMs = timeMs;
    this.#seenAtMs = this.#correctedAtMs = this.#clock.monotonicMs();
  }

  /** Milliseconds since the epoch; near 0 until something was observed. */
  nowMs(): number {
    return Math.floor(this.#at(this.#clock.monotonicMs()));
  }

  #at(monotonicMs: number): number {
    return this.#anchorMs + (monotonicMs - this.#seenAtMs) * (1 - MAX_DRIFT);
  }
}
