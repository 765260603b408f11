/** The report over the machines' transition tables: which specs exercise each row. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import { PATTERNS, rowsOf } from '../kit/transitions.ts';

const FOLDER = path.join(import.meta.dirname, '../protocol');

/**
 * The specs of machines are the unit tests in test/protocol that say given/when/then: only all of them cover all rows.
 * Properties and searches exercise rows, too, but no reader finds there what a row means.
 */
export function areAllSpecsIn(files: readonly string[]): boolean {
  const ran = new Set(files.map((file) => path.resolve(file)));
  return readdirSync(FOLDER)
    .filter((name) => /^[^.]+\.test\.ts$/.test(name))
    .map((name) => path.join(FOLDER, name))
    .filter((file) => readFileSync(file, 'utf8').includes('kit/machine-spec.ts'))
    .every((file) => ran.has(file));
}

export interface TransitionReport {
  /** `transitions: 2pc 29/29, 3pc 37/37, …` */
  readonly summary: string;
  /** Rows, or parts of rows, that no spec asserts. */
  readonly missing: readonly string[];
  /** Every row, with the specs that exercise it. */
  readonly rows: readonly string[];
}

/** `specs`: names of the specs that passed, by part of a row. */
export function transitionReport(specs: ReadonlyMap<string, readonly string[]>): TransitionReport {
  const missing: string[] = [];
  const rows: string[] = [];
  const sums = PATTERNS.map((pattern) => {
    const checked = rowsOf(pattern).map((row) => ({
      ...row,
      open: row.parts.filter((part) => !specs.has(part)),
    }));
    missing.push(...checked.flatMap(({ open }) => open));
    rows.push(...checked.flatMap((row) => describeRow(pattern, row, specs)));
    return `${pattern} ${checked.filter(({ open }) => open.length === 0).length}/${checked.length}`;
  });
  return { summary: `transitions: ${sums.join(', ')}`, missing, rows };
}

function describeRow(
  pattern: Pattern,
  { name, parts }: { readonly name: string; readonly parts: readonly string[] },
  specs: ReadonlyMap<string, readonly string[]>,
): string[] {
  const by = [...new Set(parts.flatMap((part) => specs.get(part) ?? []))];
  const seen = parts.filter((part) => specs.has(part)).length;
  return [`${pattern} | ${name} (${seen}/${parts.length})`, ...by.map((spec) => `    ${spec}`)];
}
