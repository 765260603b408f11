// Goal: every pattern keeps its promises under a few random worlds of faults, and a seed is one story. Method: the same
// driver and checkers as `phasor simulate`; long runs are that command's.
import { describe, expect, it } from 'vitest';

import {
  KINDS,
  shrink,
  simulateSeed,
  type SeedOptions,
  type SeedResult,
} from '../../src/simulation/driver/index.ts';

const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];

const problemsOf = ({ seed, violations }: SeedResult): readonly string[] =>
  violations.map(({ checker, what }) => `seed ${seed}: ${checker}: ${what}`);

describe.each(KINDS)('%s under faults', (kind) => {
  it('keeps its promises', async () => {
    const problems: string[] = [];
    let ended = 0;
    for (const seed of SEEDS) {
      const result = await simulateSeed({ seed, kind });
      problems.push(...problemsOf(result));
      for (const [branch, count] of result.branches) if (branch.startsWith('outcome:')) ended += count;
    }
    expect(problems).toEqual([]);
    // A world in which nothing ends keeps every promise, too.
    expect(ended).toBeGreaterThan(SEEDS.length * 5);
  });

  it('is one story a seed', async () => {
    const [first, second] = [await simulateSeed({ seed: 7, kind }), await simulateSeed({ seed: 7, kind })];
    expect(second.digest).toBe(first.digest);
    expect(second).toEqual(first);
    const other = await simulateSeed({ seed: 8, kind });
    expect(other.digest).not.toBe(first.digest);
  });
});

describe('a stream that is put back', () => {
  it('is noticed by every coordinator, and after a recovery new transactions keep every promise', async () => {
    const problems: string[] = [];
    let lost = 0;
    for (const kind of ['2pc', 'saga', '3ps'] as const)
      for (const seed of SEEDS.slice(0, 3)) {
        const result = await simulateSeed({ seed, kind, rollback: true });
        problems.push(...problemsOf(result));
        lost += result.lostInputs;
      }
    expect(problems).toEqual([]);
    expect(lost).toBeGreaterThan(0);
  });
});

describe('parts of a seed', () => {
  it('play the same transactions without the faults that are left out', async () => {
    const whole = await simulateSeed({ seed: 2, kind: '2pc' });
    const calm = await simulateSeed({ seed: 2, kind: '2pc', onlyFaults: [] });
    expect(whole.faults.length).toBeGreaterThan(0);
    expect(calm.faults).toEqual([]);
    expect([...calm.struck.values()].reduce((sum, count) => sum + count, 0)).toBe(0);
    expect(calm.items).toEqual(whole.items);
    const two = await simulateSeed({ seed: 2, kind: '2pc', onlyTransactions: [1, 4] });
    expect(two.items).toEqual([1, 4]);
  });

  it('shrink to what still breaks the same promise', async () => {
    const whole = await simulateSeed({ seed: 4, kind: '3pc' });
    expect(whole.faults).toContain('partition');
    const planted = [{ checker: 'agreement', what: 'planted' }];
    const other = [{ checker: 'liveness', what: 'planted' }];
    let plays = 0;
    const play = async ({ onlyFaults = [], onlyTransactions = [] }: SeedOptions): Promise<SeedResult> => {
      plays += 1;
      const fails =
        onlyFaults.includes('partition') && [2, 5].every((index) => onlyTransactions.includes(index));
      return { ...whole, violations: fails ? planted : other };
    };
    const smallest = await shrink({ ...whole, violations: planted }, { seed: 4, kind: '3pc' }, play);
    expect([smallest.faults, smallest.transactions]).toEqual([['partition'], [2, 5]]);
    expect(smallest.result.violations).toEqual(planted);
    expect(plays).toBeLessThan(60);
  });
});
