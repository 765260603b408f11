import type { PhasorError } from '../../errors/phasor-error.ts';

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: PhasorError) => void;
}

/** A bound on what is in flight, first come first served. */
export class Slots {
  #free: number;
  #waiting: Waiting[] = [];
  /** Index of the first that still waits: shifting a long array would cost its length. */
  #head = 0;
  #closed: PhasorError | undefined;

  constructor(slots: number) {
    this.#free = slots;
  }

  get free(): number {
    return this.#closed === undefined ? this.#free : 0;
  }

  /** Undefined: taken. Otherwise resolves once taken. */
  take(): Promise<void> | undefined {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    if (this.#free > 0) {
      this.#free -= 1;
      return undefined;
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  give(): void {
    const next = this.#waiting[this.#head];
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#head += 1;
    if (this.#head >= 1_024 && this.#head * 2 >= this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    next.resolve();
  }

  /** Rejects everyone who waits, and who comes later. */
  close(error: PhasorError): void {
    this.#closed = error;
    const waiting = this.#waiting.slice(this.#head);
    this.#waiting = [];
    this.#head = 0;
    for (const { reject } of waiting) reject(error);
  }
}
