// Goal: docs/errors.md lists exactly the codes of the error table, with the same facts.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode, type ErrorRow } from '../../src/errors/table.ts';
import { PhasorError } from '../../src/errors/phasor-error.ts';

const docs = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
const codes = Object.keys(ERRORS) as ErrorCode[];
const rowOf = (code: ErrorCode): string => {
  const { retryable, exitCode, hint }: ErrorRow = ERRORS[code];
  return `| \`${code}\` | ${retryable ? 'yes' : 'no'} | ${exitCode} | ${hint.replaceAll('|', '\\|')} |`;
};

describe('docs/errors.md', () => {
  const rows = docs
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim())
        .join(' | ')
        .trim(),
    );

  it('has the row of every code, in the order of the table, and no other row', () => {
    expect(rows).toEqual(codes.map(rowOf));
  });

  it('explains every exit code in use', () => {
    const explained = new Set([...docs.matchAll(/^- (\d+) /gm)].map((match) => Number(match[1])));
    const used = new Set(codes.map((code) => ERRORS[code].exitCode as number));
    expect([...explained].sort()).toEqual([...used].sort());
  });
});

describe('the error table', () => {
  it('is sorted, and its codes are upper case', () => {
    expect(codes).toEqual([...codes].sort());
    for (const code of codes) expect(code).toMatch(/^[A-Z][A-Z0-9_]+$/);
  });

  it('gives every error its facts', () => {
    for (const code of codes) {
      const error = new PhasorError(code, 'what');
      const { retryable, exitCode, hint } = ERRORS[code];
      expect(error).toMatchObject({ name: 'PhasorError', code, retryable, exitCode, hint });
      expect(error.message).toBe(`${code}: what; ${hint}`);
      expect(PhasorError.is(error, code)).toBe(true);
    }
  });

  it('knows an error by its code, across copies of the package', () => {
    const copy = Object.assign(new Error('x'), { name: 'PhasorError', code: 'TIMEOUT' });
    expect(PhasorError.is(copy, 'TIMEOUT')).toBe(true);
    expect(PhasorError.is(copy, 'CLOSED')).toBe(false);
    expect(PhasorError.is(new Error('TIMEOUT'))).toBe(false);
    expect(PhasorError.is({ name: 'PhasorError', code: 'TIMEOUT' })).toBe(false);
  });
});
