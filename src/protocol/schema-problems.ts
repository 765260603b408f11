/** Schema errors as field paths and sentences for people. */
import type { z } from 'zod';
import type { PlanProblem } from './compiled-plan.ts';

/** What `error` says about `value`, field by field; unknown keys are named each. */
export function schemaProblems(error: z.ZodError, value: unknown): readonly PlanProblem[] {
  return error.issues.flatMap((issue) =>
    issue.code !== 'custom' && isMissing(value, issue.path)
      ? [{ field: fieldOf(issue.path), problem: 'is required' }]
      : problemsOf(issue),
  );
}

function isMissing(value: unknown, path: readonly PropertyKey[]): boolean {
  let current = value;
  for (const key of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, key)) return true;
    current = (current as Readonly<Record<PropertyKey, unknown>>)[key];
  }
  return current === undefined;
}

/** `"steps[2].after[0] must be a string"`. */
export function problemText({ field, problem }: PlanProblem): string {
  return field === '' ? problem : `${field} ${problem}`;
}

function problemsOf(issue: z.core.$ZodIssue): readonly PlanProblem[] {
  const field = fieldOf(issue.path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        field: fieldOf([...issue.path, key]),
        problem: 'is not a known field',
      }));
    case 'invalid_type':
      return [{ field, problem: `must be ${ARTICLES[issue.expected] ?? issue.expected}` }];
    case 'invalid_value': {
      const values = issue.values.map(String).join(', ');
      return [
        { field, problem: issue.values.length === 1 ? `must be ${values}` : `must be one of ${values}` },
      ];
    }
    case 'invalid_format':
      return [
        { field, problem: issue.pattern === undefined ? issue.message : `must match ${issue.pattern}` },
      ];
    case 'too_small':
      return [
        { field, problem: `must ${amount(issue.origin)} at least ${issue.minimum}${unit(issue.origin)}` },
      ];
    case 'too_big':
      return [
        { field, problem: `must ${amount(issue.origin)} at most ${issue.maximum}${unit(issue.origin)}` },
      ];
    case 'invalid_key':
      return [{ field, problem: 'is not a known or allowed key' }];
    default:
      return [{ field, problem: issue.message }];
  }
}

const ARTICLES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'an integer',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
  record: 'an object',
};

const amount = (origin: string): string => (origin === 'string' || origin === 'array' ? 'have' : 'be');
function unit(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' ? ' items' : '';
}

function fieldOf(path: readonly PropertyKey[]): string {
  let field = '';
  for (const key of path) {
    if (typeof key === 'number') field += `[${key}]`;
    else field += field === '' ? String(key) : `.${String(key)}`;
  }
  return field;
}
