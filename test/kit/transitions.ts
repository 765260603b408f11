/**
 * Which rows of the machines' transition tables a spec exercises: told from the step that it asserts, not from its name.
 *
 * A row counts when the machine went from one of its states to one of those that it names, on its input, with the
 * effects that its recogniser asks for. It is whole when that was seen for each state and each input that it lists.
 */
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import { tableOf, type Row } from './pattern-docs.ts';
import type { Inputs, Recognisers, Transition } from './transition-inputs.ts';
import { commitRows } from './transition-rows-commit.ts';
import { eventualRows, sagaRows, stagedRows } from './transition-rows-staged.ts';

export interface CheckedRow {
  readonly row: Row;
  readonly name: string;
  readonly parts: readonly string[];
}

const TABLES: Readonly<Record<Pattern, { readonly file: string; readonly rows: Recognisers }>> = {
  '2pc': { file: 'two-phase-commit.ts', rows: commitRows('2pc') },
  '3pc': { file: 'three-phase-commit.ts', rows: commitRows('3pc') },
  saga: { file: 'saga.ts', rows: sagaRows },
  '2ps': { file: 'two-phase-saga.ts', rows: stagedRows('cancel') },
  '3ps': { file: 'three-phase-saga.ts', rows: stagedRows('release') },
  eventual: { file: 'eventual.ts', rows: eventualRows },
};

export const PATTERNS = Object.keys(TABLES) as readonly Pattern[];

const nameOf = ({ from, on }: Row): string => `${from.join(', ')}: ${on}`;
const partId = (pattern: Pattern, row: string, part: string): string => `${pattern} | ${row} | ${part}`;

const isEntry = ({ from, on }: Row): boolean => from[0] === 'begin' || on.startsWith('begun');

function inputsOf(pattern: Pattern, row: Row): Inputs {
  const { rows } = TABLES[pattern];
  const inputs = rows[nameOf(row)] ?? rows[row.on];
  if (inputs === undefined) throw new Error(`no recogniser for the row of ${pattern}: ${nameOf(row)}`);
  return inputs;
}

const states = ({ from, on }: Row): readonly string[] =>
  from.length > 1 && !on.startsWith('begun') ? from : [];

/** Every row of a pattern's table. Throws when a row has no recogniser. */
export const rowsOf = (pattern: Pattern): readonly CheckedRow[] =>
  tableOf(TABLES[pattern].file).map((row) => {
    const inputs = Object.keys(inputsOf(pattern, row));
    const stays = row.isStay && row.to.length > 0 ? ['stays'] : [];
    const parts = [
      ...inputs,
      ...states(row).map((name) => `from ${name}`),
      ...row.to.map((name) => `to ${name}`),
      ...stays,
    ];
    return { row, name: nameOf(row), parts: parts.map((part) => partId(pattern, nameOf(row), part)) };
  });

/** Names of recognisers that no row bears: a changed table leaves them behind. */
export const strayRecognisers = (pattern: Pattern): readonly string[] => {
  const known = new Set(tableOf(TABLES[pattern].file).flatMap((row) => [nameOf(row), row.on]));
  return Object.keys(TABLES[pattern].rows).filter((name) => !known.has(name));
};

/** `2pc`: `preparing` and `ended committed`. */
function isIn(name: string, { after, effects }: Transition): boolean {
  const [phase, status] = name.split(' ');
  if (after.phase !== phase) return false;
  return status === undefined || effects.some((e) => e.type === 'end' && e.outcome.status === status);
}

function leavesFrom(row: Row, { event, before, after }: Transition): boolean {
  if (row.from[0] === 'begin') return event.type === 'begun';
  if (isEntry(row)) return row.from.includes(after.phase) && before.phase !== after.phase;
  if (event.type === 'begun') return false;
  if (row.from[0] === 'any') return true;
  if (row.from[0] === 'any with an item') return before.attention.length > 0;
  if (row.from[0] === 'all but ended') return before.phase !== 'ended';
  return row.from.includes(before.phase);
}

/** A row that names no state says nothing of the last step of a run, which ends it in the same turn. */
function arrives(row: Row, transition: Transition): boolean {
  const { before, after } = transition;
  if (row.to.some((name) => isIn(name, transition)) || row.isNext) return true;
  if (row.isOfOneStep && (isEntry(row) || row.from[0] === 'any')) return true;
  return (
    (row.isStay || row.isOfOneStep) && [before.phase, row.isOfOneStep ? 'ended' : ''].includes(after.phase)
  );
}

function partsSeen(row: Row, transition: Transition): readonly string[] {
  if (!leavesFrom(row, transition) || !arrives(row, transition)) return [];
  const { before, after } = transition;
  const inputs = Object.entries(inputsOf(transition.pattern, row))
    .filter(([, isSeen]) => isSeen(transition))
    .map(([name]) => name);
  if (inputs.length === 0) return [];
  return [
    ...inputs,
    `from ${before.phase}`,
    ...row.to.filter((name) => isIn(name, transition)).map((name) => `to ${name}`),
    ...(before.phase === after.phase ? ['stays'] : []),
  ];
}

/** The parts of rows that this step exercises. */
export const partsOf = (transition: Transition): readonly string[] =>
  tableOf(TABLES[transition.pattern].file).flatMap((row) =>
    partsSeen(row, transition).map((part) => partId(transition.pattern, nameOf(row), part)),
  );
