// Goal: with two or three participants, no interleaving with one crash or duplicate, one attempt or deadline that runs
// out at the worst moment and a cancel at any time makes 2PC disagree, guess, leave locks behind or get stuck.
// Method: breadth-first search over every order of deliveries (test/kit/commit-search.ts).
import { describe, expect, it } from 'vitest';
import { twoPhaseCommit } from '../../src/protocol/two-phase-commit.ts';
import { search, type Budget } from '../kit/commit-search.ts';
import type * as worlds from '../kit/two-phase-commit-world.ts';

/** Participants are alike to the machine but for their place, so each mix is searched in one order. */
const TWO = ['yes yes', 'yes no', 'yes read-only', 'no no', 'no read-only', 'no slow', 'read-only read-only'];
const THREE = ['yes yes yes', 'yes yes no', 'yes yes read-only', 'yes no read-only'];
const CASES: readonly { readonly mixes: readonly string[]; readonly budget: Budget }[] = [
  { mixes: ['yes', 'no', 'read-only', 'slow'], budget: { faults: 2, disturbances: 2 } },
  { mixes: TWO, budget: { faults: 1, disturbances: 1 } },
  { mixes: [...THREE, 'yes no slow'], budget: { faults: 1, disturbances: 0 } },
  { mixes: THREE, budget: { faults: 0, disturbances: 1 } },
];

describe('2PC, every interleaving: all agree, end, leave no locks', () => {
  for (const { mixes, budget } of CASES) {
    const { faults, disturbances } = budget;
    const size = mixes[0]!.split(' ').length;
    const name = `${size} participants, ${faults} crashes or duplicates, ${disturbances} deadlines or cancels`;
    it(name, () => {
      let total = 0;
      const reached = new Set<string>();
      for (const mix of mixes) {
        const { states, ends } = search({
          machine: twoPhaseCommit,
          votes: mix.split(' ') as worlds.Inclination[],
          budget,
        });
        total += states;
        ends.forEach((end) => reached.add(end));
      }
      console.info(`2PC, ${name}: ${total} states, ends: ${[...reached].sort().join(', ')}`);
      expect(reached).toContain('committed');
      expect(reached).toContain('aborted');
    });
  }
});
