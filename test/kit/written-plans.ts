/** Plans as a client writes them, and what compiling says of them. */
import { expect } from 'vitest';
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Plan } from '../../src/protocol/envelopes.ts';
import { compilePlan, planProblems } from '../../src/protocol/plan.ts';

export type StepOf = Plan['steps'][number];
export const step = (participant: string, more: Partial<StepOf> = {}): StepOf => ({
  participant,
  action: 'do',
  ...more,
});
export const planOf = (steps: readonly StepOf[], more: Partial<Plan> = {}): Plan => ({
  name: 'test',
  steps: [...steps],
  ...more,
});

export function compiled(pattern: Pattern, plan: Plan): CompiledPlan {
  expect(planProblems(pattern, plan)).toEqual([]);
  const result = compilePlan(pattern, plan);
  if (!result.ok) throw new Error(`${result.problem.field} ${result.problem.problem}`);
  return result.plan;
}

export function problems(pattern: Pattern, plan: Plan): string[] {
  const all = planProblems(pattern, plan);
  const first = compilePlan(pattern, plan);
  expect(first).toEqual({ ok: false, problem: all[0] });
  return all.map(({ field, problem }) => `${field} ${problem}`);
}
