const PARTS = ['unit', 'property', 'exhaustive', 'simulation', 'contract', 'integration'];

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

interface Skip {
  readonly test: string;
  readonly reason: string | undefined;
}

const describeTally = (tally: Tally): string =>
  `${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`;

/** Counts test results by part and words the closing lines of a run. */
export class PartCounts {
  readonly #tallies = new Map<string, Tally>();
  readonly #failures: string[] = [];
  readonly #skips: string[] = [];

  passed(part: string): void {
    this.#tally(part).passed += 1;
  }

  failed(part: string, what: string): void {
    this.#tally(part).failed += 1;
    this.#failures.push(`failed: [${part}] ${what}`);
  }

  skipped(part: string, skip: Skip): void {
    this.#tally(part).skipped += 1;
    this.#skips.push(`skipped: [${part}] ${skip.test}: ${skip.reason ?? 'no reason given'}`);
  }

  /** Skips and failures first, then one line a part that ran, then the total alone on the last line. */
  lines(): string[] {
    const total: Tally = { passed: 0, failed: 0, skipped: 0 };
    const parts = [...this.#tallies].sort(([a], [b]) => rank(a) - rank(b));
    for (const [, tally] of parts) {
      total.passed += tally.passed;
      total.failed += tally.failed;
      total.skipped += tally.skipped;
    }
    const partLines = parts.map(([part, tally]) => `${part}: ${describeTally(tally)}`);
    return [...this.#skips, ...this.#failures, ...partLines, describeTally(total)];
  }

  #tally(part: string): Tally {
    const known = this.#tallies.get(part);
    if (known !== undefined) return known;
    const fresh: Tally = { passed: 0, failed: 0, skipped: 0 };
    this.#tallies.set(part, fresh);
    return fresh;
  }
}

function rank(part: string): number {
  const index = PARTS.indexOf(part);
  return index === -1 ? PARTS.length : index;
}
