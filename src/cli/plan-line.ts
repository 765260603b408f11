/** One line of `phasor run`: what to begin, or every field that is wrong. */
import { PATTERNS, type Pattern } from '../kernel/vocabulary.ts';
import type { PlanProblem } from '../protocol/compiled-plan.ts';
import { patternProblem } from '../protocol/pattern-names.ts';
import { planProblems } from '../protocol/plan.ts';
import { problemText } from '../protocol/schema-problems.ts';
import type { BeginRequest } from '../runtime/client/index.ts';

export type PlanLine =
  | { readonly ok: true; readonly request: BeginRequest }
  | { readonly ok: false; readonly problems: readonly string[] };

const FIELDS: ReadonlySet<string> = new Set([
  ...['pattern', 'plan', 'tx', 'labels', 'meta', 'allow', 'reply', 'startAt'],
]);
const known: ReadonlySet<unknown> = new Set(PATTERNS);

export function readPlanLine(text: string): PlanLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return refuse([{ field: '', problem: `is not JSON: ${(error as Error).message}` }]);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse([{ field: '', problem: 'must be an object with pattern and plan' }]);
  }
  const line = value as Readonly<Record<string, unknown>>;
  const problems = Object.keys(line)
    .filter((field) => !FIELDS.has(field))
    .map((field) => ({ field, problem: 'is not a known field' }));
  const { pattern, plan } = line;
  if (pattern === undefined) problems.push({ field: 'pattern', problem: 'is required' });
  else if (!known.has(pattern)) {
    problems.push({ field: 'pattern', problem: patternProblem(pattern) });
  }
  if (plan === undefined) problems.push({ field: 'plan', problem: 'is required' });
  else if (known.has(pattern)) problems.push(...planProblems(pattern as Pattern, plan).map(insidePlan));
  // Every other field is checked, with the same words, when the transaction is begun.
  return problems.length > 0 ? refuse(problems) : { ok: true, request: value as BeginRequest };
}

function insidePlan({ field, problem }: PlanProblem): PlanProblem {
  if (field === 'pattern') return { field, problem };
  if (field === '') return { field: 'plan', problem };
  return { field: field.startsWith('[') ? `plan${field}` : `plan.${field}`, problem };
}

const refuse = (problems: readonly PlanProblem[]): PlanLine => ({
  ok: false,
  problems: problems.map(problemText),
});
