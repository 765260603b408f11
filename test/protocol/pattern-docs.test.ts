// Goal: the pages of the patterns show the tables that the machines' files begin with.
// Method: their generated parts are made anew and compared; `UPDATE_DOCS=1 npx vitest run test/protocol/pattern-docs.test.ts`
// writes them.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { format, resolveConfig } from 'prettier';
import { describe, expect, it } from 'vitest';
import { tableOf, withStates } from '../kit/pattern-docs.ts';

const FOLDER = path.join(import.meta.dirname, '../../docs/patterns');
const pages = readdirSync(FOLDER).filter((name) => name.endsWith('.md'));

describe('docs/patterns', () => {
  it('has a page for every pattern, and 1.5PS', () => {
    expect(pages).toEqual(['05ps.md', '15ps.md', '2pc.md', '2ps.md', '3pc.md', '3ps.md', 'saga.md']);
  });

  it.each(pages)('%s shows the states of its machine', async (name) => {
    const file = path.join(FOLDER, name);
    const page = readFileSync(file, 'utf8');
    const fresh = await format(withStates(page), { ...(await resolveConfig(file)), parser: 'markdown' });
    if (process.env['UPDATE_DOCS'] === '1') writeFileSync(file, fresh);
    else expect(page).toBe(fresh);
  });

  it('reads wrapped rows as one, and phases left out as those above', () => {
    const rows = tableOf('saga.ts');
    expect(rows.find(({ on }) => on.startsWith('refused'))).toMatchObject({
      from: ['forward'],
      on: 'refused, conflict, stale, a `no`, step due',
      to: ['backward'],
    });
    expect(rows.some(({ on }) => on === '')).toBe(false);
  });
});
