// Goal: the report over the transition tables counts what specs assert, and nothing that they only name.
// Method: hand-made steps against the tables as they stand; the report over parts with one left out.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RunView } from '../../src/protocol/machine.ts';
import type { Transition } from '../kit/transition-inputs.ts';
import { partsOf, PATTERNS, rowsOf, strayRecognisers } from '../kit/transitions.ts';
import { areAllSpecsIn, transitionReport } from './transition-report.ts';

const viewOf = (phase: string): RunView => ({ phase, waitsFor: '', steps: [], attention: [] });
const cancelled: Transition = {
  pattern: '2pc',
  event: { type: 'cancelled', reason: 'x' },
  before: viewOf('preparing'),
  after: viewOf('aborting'),
  effects: [{ type: 'decide', value: 'abort' }],
  isUnchanged: false,
};
const ROW = '2pc | preparing: cancelled; forced abort naming the begin';

describe('rows of transition tables', () => {
  it.each(PATTERNS)('%s: each has a recogniser, and each recogniser a row', (pattern) => {
    expect(rowsOf(pattern).every(({ parts }) => parts.length > 0)).toBe(true);
    expect(strayRecognisers(pattern)).toEqual([]);
  });

  it.each(PATTERNS)('%s: no two bear the same name', (pattern) => {
    const names = rowsOf(pattern).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it('count a step by its states, input and effects', () => {
    expect(partsOf(cancelled)).toEqual([
      `${ROW} | cancelled`,
      `${ROW} | from preparing`,
      `${ROW} | to aborting`,
    ]);
  });

  it.each<[string, Partial<Transition>]>([
    ['from another state', { before: viewOf('committing') }],
    ['into another state', { after: viewOf('committing') }],
    ['on another input', { event: { type: 'killed', reason: 'x' } }],
    ['with other effects', { effects: [] }],
  ])('do not count a step %s', (_, more) => {
    expect(partsOf({ ...cancelled, ...more })).toEqual([]);
  });
});

describe('the report', () => {
  const parts = PATTERNS.flatMap((pattern) => rowsOf(pattern).flatMap((row) => row.parts));
  const by = (seen: readonly string[]): Map<string, string[]> =>
    new Map(seen.map((part) => [part, ['a spec']]));

  it('misses nothing when every part of every row was asserted', () => {
    const { missing, summary, rows } = transitionReport(by(parts));
    expect(missing).toEqual([]);
    expect(summary).toMatch(/^transitions: 2pc (\d+)\/\1, 3pc /);
    expect(rows.filter((line) => line === '    a spec')).toHaveLength(PATTERNS.flatMap(rowsOf).length);
  });

  it('names the part that no spec asserts', () => {
    const left = `${ROW} | forced`;
    expect(transitionReport(by(parts.filter((part) => part !== left))).missing).toEqual([left]);
  });

  it('judges only when all specs of machines ran', () => {
    const folder = path.join(import.meta.dirname, '../protocol');
    expect(areAllSpecsIn([path.join(folder, 'saga.test.ts')])).toBe(false);
    expect(areAllSpecsIn([])).toBe(false);
  });
});
