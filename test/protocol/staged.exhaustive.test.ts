// Goal: for two participants no order of events at all breaks the promise of 2PS, 2PS-OV or 3PS, with one fault anywhere.
// Method: walk every reachable state of the model world once (staged-search.ts).
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { compiled, RETRY } from '../kit/compiled.ts';
import { search, type Budget } from '../kit/staged-search.ts';

const plan = (pattern: '2ps' | '3ps', attempts: number, more: Partial<CompiledPlan> = {}): CompiledPlan => {
  const policy = { ...RETRY, maxAttempts: attempts };
  const steps = ['a', 'b'].map((step) => ({ step, retry: policy, undoRetry: policy }));
  return compiled(pattern, steps, more);
};

describe('2PS and 3PS, every interleaving of two participants', () => {
  const worlds: readonly (readonly [string, CompiledPlan, Budget])[] = [
    ['2ps', plan('2ps', 1), { faults: 1, cancels: 0, delay: 1 }],
    ['2ps, 2 faults', plan('2ps', 1), { faults: 2, cancels: 0, delay: 1 }],
    ['2ps, cancelled', plan('2ps', 1), { faults: 0, cancels: 1, delay: 1 }],
    ['2ps, 2 attempts', plan('2ps', 2), { faults: 1, cancels: 0, delay: 1 }],
    ['2ps-ov', plan('2ps', 1, { gate: { signal: 'ok' } }), { faults: 1, cancels: 0, delay: 1 }],
    ['2ps-ov with a delay', plan('2ps', 1, { gate: { delayMs: 9 } }), { faults: 1, cancels: 0, delay: 1 }],
    ['3ps', plan('3ps', 1), { faults: 1, cancels: 0, delay: 1 }],
    ['3ps, cancelled', plan('3ps', 1), { faults: 0, cancels: 1, delay: 1 }],
  ];

  it.each(worlds)('%s', (name, steps, budget) => {
    const { states, ends } = search(steps, budget);
    console.log(`${name}: ${states} states, ends ${JSON.stringify(ends)}`);
    expect(states).toBeGreaterThan(100);
    expect(ends['completed']).toBeGreaterThan(0);
    expect(ends['compensated']).toBeGreaterThan(0);
  });
});
