/** Plans of the 2PC specs, compiled as a coordinator would. */
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { planSchema, type Plan, type PlanStep } from '../../src/protocol/envelopes.ts';
import { compilePlan } from '../../src/protocol/plan.ts';

/** Three attempts of 10 s; no wait between them unless the participant asks for one, at most 5 s. */
const RETRY = { maxAttempts: 3, initial: 0, factor: 2, max: 5_000, attempt: 10_000 };

/** Prepare 30 s, commit and commit-one-phase 5 s: the pattern's defaults. */
export function plan2pc(
  steps: readonly (string | (Partial<PlanStep> & { readonly step: string }))[],
  more: Partial<Plan> = {},
): CompiledPlan {
  const named = steps.map((step) => (typeof step === 'string' ? { step } : step));
  const plan = planSchema.parse({
    name: 'test',
    retry: RETRY,
    undoRetry: RETRY,
    ...more,
    steps: named.map((step) => ({ participant: step.step, action: 'book', ...step })),
  });
  const compiled = compilePlan('2pc', plan);
  if (!compiled.ok) throw new Error(`${compiled.problem.field}: ${compiled.problem.problem}`);
  return compiled.plan;
}
