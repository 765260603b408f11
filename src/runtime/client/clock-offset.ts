import type { Clock } from '../../ports/clock.ts';

/**
 * How far the server's wall clock is ahead of the local one, for the time in fresh ids (Rule 7). It starts at 0 and is
 * only moved as far as what was seen contradicts it.
 */
export class ClockOffset {
  #offsetMs = 0;
  constructor(private readonly clock: Clock) {}

  /** The server's wall clock as far as known; milliseconds since the epoch. */
  nowMs(): number {
    return this.clock.wallMs() + this.#offsetMs;
  }

  /** The server had stored something at `timeMs` before now. */
  observe(timeMs: number): void {
    this.#offsetMs = Math.max(this.#offsetMs, timeMs - this.clock.wallMs());
  }

  /** A message sent at `sentMs` and acknowledged at `ackedMs` of the local wall clock was stored at `storedMs`. */
  learn(storedMs: number, sent: { readonly sentMs: number; readonly ackedMs: number }): void {
    const lowest = storedMs - sent.ackedMs;
    const highest = storedMs - sent.sentMs;
    // The local clock was set back meanwhile: nothing follows.
    if (highest < lowest) return;
    this.#offsetMs = Math.min(highest, Math.max(lowest, this.#offsetMs));
  }
}
