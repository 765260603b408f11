/** Compiled plans by hand: what a spec does not mention has a plain default. */
import { STEP_KINDS, type Pattern } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan, CompiledStep, Policy } from '../../src/protocol/compiled-plan.ts';

/** Three attempts of at most 10 s, 100 ms and 200 ms apart (minus jitter). */
export const RETRY: Policy = { maxAttempts: 3, initialMs: 100, factor: 2, maxMs: 5_000, attemptMs: 10_000 };

export interface StepSpec extends Partial<Omit<CompiledStep, 'after' | 'index' | 'dependents'>> {
  readonly step: string;
  /** Names of the steps it depends on. */
  readonly after?: readonly string[];
}

/** `compiled('2pc', ['payment', { step: 'stock', input: { n: 1 } }])`. */
export function compiled(
  pattern: Pattern,
  specs: readonly (string | StepSpec)[],
  more: Partial<CompiledPlan> = {},
): CompiledPlan {
  const named = specs.map((spec): StepSpec => (typeof spec === 'string' ? { step: spec } : spec));
  const indexOf = new Map(named.map(({ step }, index) => [step, index]));
  const after = named.map((spec) =>
    (spec.after ?? []).map((name) => indexOf.get(name)!).sort((a, b) => a - b),
  );
  const steps = named.map((spec, index): CompiledStep => ({
    participant: spec.step,
    action: `do-${spec.step}`,
    pointed: false,
    kind: STEP_KINDS[0],
    retry: RETRY,
    undoRetry: RETRY,
    commitRetry: { ...RETRY, maxAttempts: Infinity },
    ...spec,
    index,
    after: after[index]!,
    dependents: named.flatMap((_, other) => (after[other]!.includes(index) ? [other] : [])),
  }));
  return { pattern, name: 'test', steps, indexOf, deadlines: {}, ...more };
}
