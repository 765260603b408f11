import type { PlanProblem } from './compiled-plan.ts';

const MAX_DEPTH = 256;

/** The first place that keeps a value from having JSON, for a message; undefined when none is found. */
export function notJson(
  value: unknown,
  field = '',
  parents: readonly unknown[] = [],
): PlanProblem | undefined {
  if (typeof value === 'bigint')
    return { field, problem: 'is a BigInt, which JSON does not have: pass a number or a string' };
  if (typeof value !== 'object' || value === null) return undefined;
  if (parents.includes(value)) return { field, problem: 'contains itself' };
  if (parents.length >= MAX_DEPTH) return { field, problem: 'is nested too deep' };
  const within = [...parents, value];
  for (const [key, item] of Object.entries(value)) {
    const at = Array.isArray(value) ? `${field}[${key}]` : field === '' ? key : `${field}.${key}`;
    const problem = notJson(item, at, within);
    if (problem !== undefined) return problem;
  }
  return undefined;
}
