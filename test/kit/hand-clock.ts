import type { Clock, Random, Timeout } from '../../src/ports/clock.ts';

interface Waiting {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** A clock that moves only when the test says so. */
export class HandClock implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #waiting = new Set<Waiting>();

  constructor(readonly epochMs = 1_700_000_000_000) {}

  wallMs(): number {
    return this.epochMs + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timeout {
    const waiting: Waiting = { atMs: this.#nowMs + delayMs, order: this.#order++, run };
    this.#waiting.add(waiting);
    return { cancel: () => void this.#waiting.delete(waiting) };
  }

  get timers(): number {
    return this.#waiting.size;
  }

  /** Runs every timer due within `ms`, in order of its due time. */
  advance(ms: number): void {
    const until = this.#nowMs + ms;
    for (;;) {
      const [next] = [...this.#waiting]
        .filter((waiting) => waiting.atMs <= until)
        .sort((a, b) => a.atMs - b.atMs || a.order - b.order);
      if (next === undefined) break;
      this.#waiting.delete(next);
      this.#nowMs = next.atMs;
      next.run();
    }
    this.#nowMs = until;
  }
}

/** Counts instead of drawing: every ULID is another one, and every jitter the same. */
export class CountingRandom implements Random {
  #count = 0;

  next(): number {
    return 0.5;
  }

  ulid(timeMs: number): string {
    this.#count += 1;
    return base32(timeMs, 10) + base32(this.#count, 16);
  }
}

function base32(value: number, width: number): string {
  let text = '';
  for (let rest = value; text.length < width; rest = Math.floor(rest / 32))
    text = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'.charAt(rest % 32) + text;
  return text;
}

/** Lets everything run that waits for nothing but promises. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
