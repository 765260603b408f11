import { SingleBar } from 'cli-progress';

export interface Counts {
  readonly ended: number;
  readonly open: number;
  readonly bad: number;
}

/** On stderr, only when that is a terminal and outcomes do not scroll over the same one. */
export class Progress {
  readonly #bar: SingleBar | undefined;
  readonly #startedMs = performance.now();

  /** @param totalBytes of the input; undefined: unknown, a counter instead of a bar. */
  constructor(totalBytes: number | undefined) {
    if (!process.stderr.isTTY || process.stdout.isTTY) return;
    const gauge = totalBytes === undefined ? '' : '{bar} {percentage}%  ';
    this.#bar = new SingleBar({
      format: `${gauge}{ended} ended, {open} open, {bad} bad lines, {rate}/s`,
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
    });
    this.#bar.start(totalBytes ?? 1, 0, this.#payload({ ended: 0, open: 0, bad: 0 }));
  }

  update(bytesRead: number, counts: Counts): void {
    this.#bar?.update(bytesRead, this.#payload(counts));
  }

  stop(): void {
    this.#bar?.stop();
  }

  #payload(counts: Counts): object {
    const seconds = (performance.now() - this.#startedMs) / 1_000;
    return { ...counts, rate: Math.round(counts.ended / Math.max(seconds, 0.001)) };
  }
}
