/** Plans of the 2PC and 3PC specs, compiled as a coordinator would. */
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { planSchema, type Plan, type PlanStep } from '../../src/protocol/envelopes.ts';
import { compilePlan } from '../../src/protocol/plan.ts';

/** Three attempts of 10 s; no wait between them unless the participant asks for one, at most 5 s. */
const RETRY = { maxAttempts: 3, initial: 0, factor: 2, max: 5_000, attempt: 10_000 };

type Steps = readonly (string | (Partial<PlanStep> & { readonly step: string }))[];

/** Prepare 30 s, commit and commit-one-phase 5 s: the pattern's defaults. */
export const plan2pc = (steps: Steps, more?: Partial<Plan>): CompiledPlan => planOf('2pc', steps, more);
/** Prepare 30 s, precommit and commit 5 s: the pattern's defaults. */
export const plan3pc = (steps: Steps, more?: Partial<Plan>): CompiledPlan => planOf('3pc', steps, more);

function planOf(pattern: '2pc' | '3pc', steps: Steps, more: Partial<Plan> = {}): CompiledPlan {
  const named = steps.map((step) => (typeof step === 'string' ? { step } : step));
  const plan = planSchema.parse({
    name: 'test',
    retry: RETRY,
    undoRetry: RETRY,
    ...more,
    steps: named.map((step) => ({ participant: step.step, action: 'book', ...step })),
  });
  const compiled = compilePlan(pattern, plan);
  if (!compiled.ok) throw new Error(`${compiled.problem.field}: ${compiled.problem.problem}`);
  return compiled.plan;
}
