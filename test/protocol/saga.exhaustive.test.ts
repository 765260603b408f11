// Goal: for small sagas no order of events at all breaks the promise, with one crash, loss or duplicate anywhere.
// Method: walk every reachable state of the model world once (staged-search.ts).
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import { search, type Budget } from '../kit/staged-search.ts';

const policy = (maxAttempts: number) => ({ ...RETRY, maxAttempts });
const plan = (attempts: number, steps: readonly StepSpec[]): CompiledPlan => {
  const pivot = steps.findIndex(({ kind }) => kind === 'pivot');
  const specs = steps.map((step) => ({ retry: policy(attempts), undoRetry: policy(attempts), ...step }));
  return compiled('saga', specs, pivot < 0 ? {} : { pivot });
};
const a: StepSpec = { step: 'a' };
const b = (...after: readonly string[]): StepSpec => ({ step: 'b', after });
const c = (...after: readonly string[]): StepSpec => ({ step: 'c', after });
const pivot = { kind: 'pivot' } as const;
const retriable = { kind: 'retriable' } as const;

describe('saga, every interleaving', () => {
  const worlds: readonly (readonly [string, CompiledPlan, Budget])[] = [
    ['2 in sequence', plan(1, [a, b('a')]), { faults: 1, cancels: 1, delay: 0 }],
    ['2 in sequence, 2 attempts', plan(2, [a, b('a')]), { faults: 2, cancels: 0, delay: 1 }],
    ['2 in sequence, 2 faults', plan(1, [a, b('a')]), { faults: 2, cancels: 0, delay: 1 }],
    ['2 in parallel', plan(1, [a, b()]), { faults: 1, cancels: 1, delay: 1 }],
    ['pivot last', plan(1, [a, { ...b('a'), ...pivot }]), { faults: 1, cancels: 1, delay: 0 }],
    ['pivot last, 2 attempts', plan(2, [a, { ...b('a'), ...pivot }]), { faults: 1, cancels: 1, delay: 1 }],
    [
      'pivot first',
      plan(2, [
        { ...a, ...pivot },
        { ...b('a'), ...retriable },
      ]),
      { faults: 1, cancels: 1, delay: 0 },
    ],
    ['3 in sequence', plan(1, [a, b('a'), c('b')]), { faults: 2, cancels: 1, delay: 1 }],
    ['3 in parallel', plan(1, [a, b(), c()]), { faults: 1, cancels: 0, delay: 1 }],
    ['fork', plan(1, [a, b('a'), c('a')]), { faults: 1, cancels: 0, delay: 1 }],
    ['join', plan(1, [a, b(), c('a', 'b')]), { faults: 1, cancels: 0, delay: 1 }],
    [
      'pivot in the middle',
      plan(1, [a, { ...b('a'), ...pivot }, { ...c('b'), ...retriable }]),
      { faults: 1, cancels: 1, delay: 0 },
    ],
    [
      'two before the pivot',
      plan(1, [a, b(), { ...c('a', 'b'), ...pivot }]),
      { faults: 1, cancels: 0, delay: 1 },
    ],
    [
      'two after the pivot',
      plan(1, [
        { ...a, ...pivot },
        { ...b('a'), ...retriable },
        { ...c('a'), ...retriable },
      ]),
      { faults: 1, cancels: 0, delay: 0 },
    ],
  ];

  it.each(worlds)('%s', (name, steps, budget) => {
    const { states, ends } = search(steps, budget);
    console.log(`saga ${name}: ${states} states, ends ${JSON.stringify(ends)}`);
    expect(states).toBeGreaterThan(100);
    expect(ends['completed']).toBeGreaterThan(0);
    expect(ends['compensated']).toBeGreaterThan(0);
  });
});
