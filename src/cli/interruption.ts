type Reason = 'SIGINT' | 'SIGTERM' | 'SIGHUP' | 'pipe';

const EXIT_CODES: Readonly<Record<Reason, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143, pipe: 0 };
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Why a command should end before its time. The first signal asks it to clean up and end; a second one ends the
 * process at once.
 */
export class Interruption {
  readonly #controller = new AbortController();
  #reason: Reason | undefined;
  #forgiven = false;

  constructor() {
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        if (this.#reason === undefined) this.interrupt(signal);
        else process.exit(EXIT_CODES[signal]);
      });
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get reason(): Reason | undefined {
    return this.#reason;
  }

  get exitCode(): number {
    return this.#reason === undefined || this.#forgiven ? 0 : EXIT_CODES[this.#reason];
  }

  /** The end it led to is a success. */
  forgive(): void {
    this.#forgiven = true;
  }

  interrupt(reason: Reason): void {
    this.#reason ??= reason;
    this.#controller.abort();
  }
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
