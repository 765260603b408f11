// Goal: no interleaving with one crash or duplicate, one deadline or cancel and participants that end on their own makes
// 3PC disagree, leave locks behind or get stuck; where it can split, behind a paused coordinator, it says so.
// Method: breadth-first search over every order of deliveries (test/kit/commit-search.ts).
import { describe, expect, it } from 'vitest';
import { threePhaseCommit } from '../../src/protocol/three-phase-commit.ts';
import { search, type Searched } from '../kit/commit-search.ts';
import type * as worlds from '../kit/two-phase-commit-world.ts';

interface Case extends Pick<Searched, 'budget' | 'termination'> {
  readonly name: string;
  readonly mixes: readonly string[];
  readonly ends: readonly string[];
}

const TWO = ['yes yes', 'yes no', 'yes read-only', 'no slow', 'read-only read-only'];
const CASES: readonly Case[] = [
  {
    name: '1 participant, 1 crash or duplicate, 1 deadline or cancel, 1 own end',
    mixes: ['yes', 'no', 'read-only', 'slow'],
    budget: { faults: 1, disturbances: 1, terminations: 1 },
    termination: 'told',
    ends: ['aborted', 'cancelled', 'committed'],
  },
  {
    name: '2 participants, 1 crash or duplicate, 1 deadline or cancel',
    mixes: TWO,
    budget: { faults: 1, disturbances: 1 },
    ends: ['aborted', 'cancelled', 'committed'],
  },
  {
    name: '2 participants, 1 crash or duplicate, 2 own ends, told at once',
    mixes: ['yes yes', 'yes no', 'yes slow'],
    budget: { faults: 1, disturbances: 0, terminations: 2 },
    termination: 'told',
    ends: ['aborted', 'committed'],
  },
  {
    name: '2 participants, 1 deadline or cancel, 2 own ends, told at once',
    mixes: ['yes yes', 'yes no', 'yes read-only'],
    budget: { faults: 0, disturbances: 1, terminations: 2 },
    termination: 'told',
    ends: ['aborted', 'cancelled', 'committed'],
  },
  {
    name: '2 participants, 1 crash or duplicate, 2 own ends, told late',
    mixes: ['yes yes', 'yes no', 'yes read-only'],
    budget: { faults: 1, disturbances: 0, terminations: 2 },
    termination: 'late',
    ends: ['aborted', 'committed', 'mixed'],
  },
  {
    name: '2 participants, 1 deadline or cancel, 2 own ends, told late',
    mixes: ['yes yes'],
    budget: { faults: 0, disturbances: 1, terminations: 2 },
    termination: 'late',
    ends: ['aborted', 'cancelled', 'committed', 'mixed'],
  },
];

describe('3PC, every interleaving: all agree or the split is told, end, leave no locks', () => {
  for (const { name, mixes, ends, ...searched } of CASES) {
    it(name, () => {
      let total = 0;
      const reached = new Set<string>();
      for (const mix of mixes) {
        const votes = mix.split(' ') as worlds.Inclination[];
        const found = search({ machine: threePhaseCommit, votes, ...searched });
        total += found.states;
        found.ends.forEach((end) => reached.add(end));
      }
      console.info(`3PC, ${name}: ${total} states, ends: ${[...reached].sort().join(', ')}`);
      expect([...reached].sort()).toStrictEqual(ends);
    });
  }
});
