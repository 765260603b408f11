// Goal: every pattern keeps its promises under a few random worlds of faults, and a seed is one story. Method: the same
// driver and checkers as `phasor simulate`; long runs are that command's.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

import { keepSeeds, keptSeed, readKeptSeeds } from '../../src/cli/kept-seeds.ts';
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
    let lostReports = 0;
    for (const kind of ['2pc', 'saga', '3ps'] as const)
      for (const seed of SEEDS.slice(0, 3)) {
        const result = await simulateSeed({ seed, kind, rollback: true });
        problems.push(...problemsOf(result));
        lost += result.lostInputs;
        lostReports += result.lostReports;
      }
    expect(problems).toEqual([]);
    expect(lost).toBeGreaterThan(0);
    expect(lostReports).toBeGreaterThan(0);
  });
});

describe('seeds that failed once', () => {
  it('keep their promises now', async () => {
    const seeds = await readKeptSeeds(fileURLToPath(new URL('kept-seeds.jsonl', import.meta.url)));
    expect(seeds.length).toBeGreaterThan(0);
    const problems: string[] = [];
    for (const { pattern: kind, seed, rollback = false } of seeds)
      problems.push(...problemsOf(await simulateSeed({ kind, seed, rollback })));
    expect(problems).toEqual([]);
  });

  it('are kept once, with the smallest part that fails', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'phasor-kept-'));
    try {
      const file = join(directory, 'failed.jsonl');
      const calm = await simulateSeed({ seed: 4, kind: '3pc', onlyFaults: [], onlyTransactions: [1] });
      const result = { ...calm, violations: [{ checker: 'agreement', what: 'planted' }] };
      const smallest = { faults: ['crash'], transactions: [1], result } as const;
      await keepSeeds(file, [keptSeed(result, { smallest, rollback: false })]);
      await keepSeeds(file, [
        keptSeed(result, { smallest: undefined, rollback: false }),
        keptSeed(result, { smallest: undefined, rollback: true }),
      ]);
      const one = { pattern: '3pc', seed: 4, checkers: ['agreement'] };
      expect(await readKeptSeeds(file)).toEqual([
        { ...one, onlyFaults: ['crash'], transactions: [1], version: expect.any(String) as string },
        { ...one, rollback: true, version: expect.any(String) as string },
      ]);
      await writeFile(file, '{"pattern":"4pc"}');
      await expect(readKeptSeeds(file)).rejects.toMatchObject({ code: 'INPUT_UNREADABLE' });
    } finally {
      await rm(directory, { recursive: true });
    }
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
