/** What `phasor simulate` prints. */
import { CRASH_POINTS } from '../ports/crash-points.ts';
import { BRANCHES, FAULTS, type SeedResult, type Shrunk } from '../simulation/driver/index.ts';
import type { TraceEvent } from '../simulation/index.ts';
import { printable } from './output.ts';

const MAX_TEXT = 160;

/** One event: virtual seconds, what, where, and what it carried. */
export function traceLine({ atMs, type, where, number, detail, data }: TraceEvent): string {
  const body = data === undefined ? '' : new TextDecoder().decode(data);
  const text = body.length > MAX_TEXT ? `${body.slice(0, MAX_TEXT)}…` : body;
  const time = (atMs / 1_000).toFixed(4).padStart(9);
  const rest = [number === 0 ? '' : String(number), detail ?? '', text].filter((part) => part !== '');
  return printable(`${time}  ${type.padEnd(13)} ${where} ${rest.join(' ')}`.trimEnd());
}

/** The broken promises of a seed, and the command that shows them. */
export function violationLines(result: SeedResult, smallest?: Shrunk, rollback = false): readonly string[] {
  if (result.violations.length === 0) return [];
  const { seed, kind } = result;
  const part =
    smallest === undefined
      ? ''
      : ` --only-faults ${smallest.faults.length === 0 ? '""' : smallest.faults.join(',')}` +
        ` --transactions ${smallest.transactions.join(',')}`;
  const command = `phasor simulate --pattern ${kind} --seed ${seed}${part}${rollback ? ' --rollback' : ''}`;
  return [
    `seed ${seed} of ${kind} broke ${counted(result.violations.length, 'promise')}; again with:  ${command}`,
    ...result.violations.map(({ checker, what }) => printable(`  ${checker}: ${what}`)),
  ];
}

interface Summary {
  readonly seeds: number;
  readonly violations: number;
  readonly expectedSplits: number;
  readonly transactions: number;
  readonly virtualHours: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly coverage: Readonly<Record<string, number>>;
  readonly splits: readonly { readonly seed: number; readonly runs: readonly string[] }[];
  readonly failing: readonly { readonly seed: number; readonly pattern: string }[];
}

export function summaryJson(results: readonly SeedResult[]): Summary {
  const faults = new Map<string, number>(FAULTS.map((fault) => [fault, 0]));
  const coverage = new Map<string, number>([
    ...Object.keys(CRASH_POINTS).map((point) => [`crash:${point}`, 0] as const),
    ...BRANCHES.map((branch) => [branch, 0] as const),
  ]);
  const add = (to: Map<string, number>, key: string, count: number): void =>
    void to.set(key, (to.get(key) ?? 0) + count);
  for (const { struck, crashedAt, branches } of results) {
    for (const [fault, count] of struck) add(faults, fault, count);
    for (const [point, count] of crashedAt) add(coverage, `crash:${point}`, count);
    for (const [branch, count] of branches) add(coverage, branch, count);
  }
  const sum = (of: (result: SeedResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  return {
    seeds: results.length,
    violations: sum(({ violations }) => violations.length),
    expectedSplits: sum(({ expectedSplits }) => expectedSplits.length),
    transactions: sum(({ items }) => items.length),
    virtualHours: Math.round(sum(({ virtualMs }) => virtualMs) / 36_000) / 100,
    faults: Object.fromEntries(faults),
    coverage: Object.fromEntries(coverage),
    splits: results
      .filter(({ expectedSplits }) => expectedSplits.length > 0)
      .map(({ seed, expectedSplits: runs }) => ({ seed, runs })),
    failing: results
      .filter(({ violations }) => violations.length > 0)
      .map(({ seed, kind }) => ({ seed, pattern: kind })),
  };
}

export function summaryLines(results: readonly SeedResult[]): readonly string[] {
  const summary = summaryJson(results);
  const { seeds, violations, expectedSplits, transactions, virtualHours, faults, coverage, splits } = summary;
  const struck = Object.entries(faults).filter(([, count]) => count > 0);
  const missing = Object.keys(coverage).filter((key) => coverage[key] === 0);
  const covered = Object.keys(coverage).length - missing.length;
  return [
    `${counted(seeds, 'seed')}, ${counted(transactions, 'transaction')}, ${virtualHours} virtual hours: ` +
      `${counted(violations, 'violation')}, ${counted(expectedSplits, 'expected split')} of 3PC`,
    `faults: ${struck.map(([fault, count]) => `${fault} ${count}`).join(', ') || 'none'}`,
    `coverage: ${covered} of ${Object.keys(coverage).length} crash points and recovery branches` +
      (missing.length === 0 || seeds < MANY ? '' : `; never: ${missing.join(', ')}`),
    ...splits.slice(0, MANY).map(({ seed }) => `a split: phasor simulate --pattern 3pc --seed ${seed}`),
  ];
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

/** From so many seeds on, what was never taken is worth a word. */
const MANY = 100;
