import { PATTERNS } from '../kernel/vocabulary.ts';

/** What people call a pattern, or write differently, and how a plan says it. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['0.5ps', '0.5PS is pattern eventual'],
  ['1.5ps', '1.5PS is pattern 2ps with plan.eventual'],
  ['2ps-ov', '2PS-OV is pattern 2ps with plan.gate'],
  ...PATTERNS.map((pattern) => [pattern, `write ${pattern} in small letters`] as const),
]);

/** Of what is not the name of a pattern. */
export function patternProblem(name: unknown): string {
  const hint = typeof name === 'string' ? OTHER_NAMES.get(name.toLowerCase()) : undefined;
  return `must be one of ${PATTERNS.join(', ')}${hint === undefined ? '' : `: ${hint}`}`;
}
