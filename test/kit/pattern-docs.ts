/** The transition table at the head of a machine's file, as rows, as Markdown and as a state diagram. */
import { readFileSync } from 'node:fs';
import path from 'node:path';

const PROTOCOL = path.join(import.meta.dirname, '../../src/protocol');

export interface Row {
  readonly from: readonly string[];
  readonly on: string;
  /** States that it leads to; the same one is left out. */
  readonly to: readonly string[];
  readonly then: string;
  /** May also leave the state as it is: `same`. */
  readonly isStay: boolean;
  /** May also lead to the state that comes next without such an input: `next`. */
  readonly isNext: boolean;
  /** Of the form `phase | input | what follows`, which tells of one step; that may be the last of its run. */
  readonly isOfOneStep: boolean;
}

/** Both forms of table: `state | event | next | effects` and `phase | input | what follows`. */
export function tableOf(file: string): readonly Row[] {
  const table = TABLES.get(file) ?? readTable(file);
  TABLES.set(file, table);
  return table;
}

const TABLES = new Map<string, readonly Row[]>();

function readTable(file: string): readonly Row[] {
  const source = readFileSync(path.join(PROTOCOL, file), 'utf8');
  const comment = source.slice(0, source.indexOf('*/'));
  const cells = [...comment.matchAll(/^ \* \|(.*)\|\s*$/gm)].map(([, line = '']) =>
    line.split('|').map((cell) => cell.trim()),
  );
  const rows = merged(cells.slice(2));
  const phases = new Set(rows.flatMap(([from = '']) => names(from)));
  return rows.map(([from = '', on = '', ...rest]) => {
    const [next, then] =
      rest.length > 1 ? [rest[0] ?? '', rest[1] ?? ''] : [arrows(rest[0] ?? ''), rest[0] ?? ''];
    const to = names(next).filter((name) => phases.has(name) || name.startsWith('ended'));
    const isOfOneStep = rest.length === 1;
    const [isStay, isNext] = ['same', 'next'].map((word) => !isOfOneStep && names(next).includes(word));
    return { from: names(from), on, to, then, isOfOneStep, isStay: isStay === true, isNext: isNext === true };
  });
}

/** A phase left out is that of the row above. Rows are wrapped: what goes on has a blank cell, or follows a comma. */
function merged(cells: readonly string[][]): string[][] {
  const rows: string[][] = [];
  for (const [from = '', on = '', ...rest] of cells) {
    const above = rows.at(-1);
    const isWrapped = from === '' && (on === '' || rest.at(-1) === '' || /(,| a)$/.test(above?.[1] ?? ''));
    if (above === undefined || !isWrapped) rows.push([from === '' ? (above?.[0] ?? '') : from, on, ...rest]);
    else
      [on, ...rest].forEach((cell, index) => (above[index + 1] = `${above[index + 1] ?? ''} ${cell}`.trim()));
  }
  return rows;
}

const names = (cell: string): string[] =>
  cell
    .split(/,| or /)
    .map((name) =>
      name
        .trim()
        .replace(/^\((.*)\)$/, '$1')
        .replaceAll('`', ''),
    )
    .filter((name) => name !== '');

const arrows = (cell: string): string => [...cell.matchAll(/-> (\w+)/g)].map(([, name]) => name).join(',');

/** Mermaid identifiers hold no spaces. */
const stateId = (name: string): string => name.replace(/ .*/, '').replaceAll('-', '_');

function diagram(rows: readonly Row[]): string[] {
  const edges = new Map<string, string[]>();
  const [first] = rows;
  for (const { from, on, to } of rows) {
    for (const source of from.filter((name) => !name.startsWith('any') && !name.startsWith('all'))) {
      for (const target of to.filter((name) => stateId(name) !== stateId(source))) {
        const start = source === 'begin' ? '[*]' : stateId(source);
        const edge = `${start} --> ${stateId(target)}`;
        edges.set(edge, [...(edges.get(edge) ?? []), on.replaceAll('`', '').replaceAll(/[;:]/g, ',')]);
      }
    }
  }
  const begin =
    first === undefined || first.from[0] === 'begin' ? [] : [`  [*] --> ${stateId(first.from[0] ?? '')}`];
  return [
    'stateDiagram-v2',
    ...begin,
    ...[...edges].map(
      ([edge, reasons]) => `  ${edge}: ${reasons.slice(0, 3).join(' / ')}${reasons.length > 3 ? ' / …' : ''}`,
    ),
    '  ended --> [*]',
  ];
}

/** What stands between the markers of a page: the diagram and the whole table. */
export function statesOf(file: string): string {
  const rows = tableOf(file);
  const lines = rows.map(({ from, on, then, to }) => {
    const next = then.includes('->') ? '' : to.length > 0 ? `${to.join(', ')}: ` : '';
    return `| ${from.join(', ')} | ${on} | ${next}${then.replaceAll('-> ', '→ ')} |`;
  });
  return [
    '```mermaid',
    ...diagram(rows),
    '```',
    '',
    '| state | input | what follows |',
    '| --- | --- | --- |',
    ...lines,
  ].join('\n');
}

const SECTION = /<!-- generated from src\/protocol\/(.*?\.ts): .*? -->\n([\s\S]*?)<!-- end -->/g;

/** The page with its generated parts as they should be. */
export const withStates = (page: string): string =>
  page.replaceAll(SECTION, (whole, file: string) => {
    const [marker = ''] = whole.split('\n');
    return `${marker}\n\n${statesOf(file)}\n\n<!-- end -->`;
  });
