export interface Timeout {
  cancel(): void;
}

/** Wall and monotonic time are separate: only the second may measure a wait. */
export interface Clock {
  /** Milliseconds since the epoch; may jump. */
  wallMs(): number;
  /** Milliseconds since some start; never steps back. */
  monotonicMs(): number;
  after(delayMs: number, run: () => void): Timeout;
}

export interface Random {
  /** In [0, 1). */
  next(): number;
  /** A new ULID whose time part is `timeMs`. */
  ulid(timeMs: number): string;
}
