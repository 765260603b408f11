/** The smallest part of a failing seed that still fails. */
import type { Fault } from './faults.ts';
import { simulateSeed, type SeedOptions, type SeedResult } from './seed.ts';

export interface Shrunk {
  readonly faults: readonly Fault[];
  readonly transactions: readonly number[];
  readonly result: SeedResult;
}

/**
 * Greedy: leaves out one fault after the other, then ever smaller groups of transactions, and keeps what still breaks
 * the same checkers' rules.
 */
export async function shrink(
  failing: SeedResult,
  options: SeedOptions,
  play: (options: SeedOptions) => Promise<SeedResult> = simulateSeed,
): Promise<Shrunk> {
  const checkers = new Set(failing.violations.map(({ checker }) => checker));
  let best: Shrunk = { faults: failing.faults, transactions: failing.items, result: failing };
  const tryPart = async (part: Pick<Shrunk, 'faults' | 'transactions'>): Promise<boolean> => {
    const { seed, kind, rollback } = options;
    const result = await play({
      ...{ seed, kind, ...(rollback === undefined ? {} : { rollback }) },
      onlyFaults: part.faults,
      onlyTransactions: part.transactions,
    });
    if (!result.violations.some(({ checker }) => checkers.has(checker))) return false;
    best = { ...part, result };
    return true;
  };
  for (const fault of failing.faults) {
    const faults = best.faults.filter((other) => other !== fault);
    await tryPart({ faults, transactions: best.transactions });
  }
  for (let size = Math.ceil(best.transactions.length / 2); size >= 1; size = size === 1 ? 0 : size >> 1) {
    for (let from = 0; from < best.transactions.length;) {
      const transactions = best.transactions.filter((_, index) => index < from || index >= from + size);
      const fails = transactions.length > 0 && (await tryPart({ faults: best.faults, transactions }));
      if (!fails) from += size;
    }
  }
  return best;
}
