// Goal: what STYLE and DESIGN §5 ask of every file holds, and each checker can actually see a violation.
// Method: every checker runs over planted violations and over the real tree.
import { describe, expect, it } from 'vitest';
import { checkImportCycles, checkImportDirection } from './check-imports.ts';
import { checkPurity } from './check-purity.ts';
import { checkSubjects } from './check-subjects.ts';
import { checkFileLength, checkText, MAX_FILE_LINES } from './check-text.ts';
import { readTree, show, type SourceFile, type Violation } from './source-tree.ts';

type Checker = (files: readonly SourceFile[]) => Violation[];

const tree = readTree();
const planted = (path: string, ...lines: string[]): SourceFile => ({ path, text: lines.join('\n') });
const messages = (check: Checker, ...files: SourceFile[]): string => show(check(files)).join('\n');

it('sees the whole tree', () => {
  const paths = tree.map(({ path }) => path);
  expect(paths).toEqual(expect.arrayContaining(['package.json', 'src/kernel/subjects.ts', '.ci/run']));
  expect(paths.filter((path) => /(?:^|\/)(?:node_modules|dist)\//.test(path))).toEqual([]);
});

describe('imports point one way', () => {
  const refused: readonly [string, string, string][] = [
    ['src/kernel/ids.ts', "import { x } from '../errors/table.ts';", 'kernel may not import errors'],
    ['src/errors/a.ts', "import type { X } from '../ports/log.ts';", 'errors may not import ports'],
    ['src/protocol/saga.ts', "export { x } from '../runtime/fold.ts';", 'protocol may not import runtime'],
    ['src/reliability/a.ts', "import { x } from '../nats/log.ts';", 'reliability may not import nats'],
    ['src/runtime/a.ts', "const x = await import('../service/main.ts');", 'runtime may not import service'],
    ['src/nats/log.ts', "import { x } from '../runtime/fold.ts';", 'nats may not import runtime'],
    ['src/adapters/pg.ts', "import { x } from '../nats/log.ts';", 'adapters may not import nats'],
    ['src/index.ts', "export { x } from './nats/log.ts';", 'index may not import nats'],
    ['src/service/a.ts', "import { x } from '../../test/kit/x.ts';", 'service may not import test'],
    ['src/dashboard/a.ts', "import { x } from '../cli/main.ts';", 'dashboard may not import cli'],
    ['src/helpers/a.ts', '', 'layer "helpers" is not in DESIGN §5'],
    ['streams/saga.ts', "import { x } from '../src/kernel/ids.ts';", 'use "import type"'],
    ['streams/saga.ts', "import type { X } from '../src/nats/log.ts';", 'use "import type"'],
    ['src/ports/log.ts', "import type { X } from '../kernel/ids.js';", 'names no .ts file'],
  ];
  it.each(refused)('%s with %s', (path, text, message) => {
    expect(messages(checkImportDirection, planted(path, text))).toContain(message);
  });

  const accepted: readonly [string, string][] = [
    ['src/protocol/saga.ts', "import { x } from '../kernel/ids.ts'; import { z } from 'zod';"],
    ['src/index.ts', "export { x } from './runtime/client.ts';"],
    [
      'src/service/main.ts',
      "import { x } from '../nats/log.ts'; import { y } from '../../streams/index.ts';",
    ],
    [
      'streams/saga.ts',
      "import { type X, type Y } from '../src/kernel/ids.ts'; import { z } from './types.ts';",
    ],
    ['src/cli/main.ts', "import pkg from '../../package.json' with { type: 'json' };"],
  ];
  it.each(accepted)('%s may %s', (path, text) => {
    expect(messages(checkImportDirection, planted(path, text))).toBe('');
  });

  it('holds in the tree', () => {
    expect(show(checkImportDirection(tree))).toEqual([]);
  });
});

describe('no import cycles', () => {
  const a = planted('src/kernel/a.ts', "import type { B } from './b.ts';");
  const b = planted('src/kernel/b.ts', "export { c } from './c.ts';");

  it('finds a circle over three files, once', () => {
    const c = planted('src/kernel/c.ts', "import { a } from './a.ts';");
    const found = show(checkImportCycles([a, b, c]));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain('src/kernel/a.ts -> src/kernel/b.ts -> src/kernel/c.ts -> src/kernel/a.ts');
  });

  it('accepts a diamond', () => {
    const top = planted('src/kernel/top.ts', "import { a } from './a.ts'; import { c } from './c.ts';");
    expect(checkImportCycles([top, a, b, planted('src/kernel/c.ts', '')])).toEqual([]);
  });

  it('holds in the tree', () => {
    expect(show(checkImportCycles(tree.filter(({ path }) => path.endsWith('.ts'))))).toEqual([]);
  });
});

describe('kernel and protocol are pure (Rule 1)', () => {
  it.each([
    ["import { createHash } from 'node:crypto';", '"node:crypto"'],
    ["import { ulid } from 'ulid';", '"ulid"'],
    ['const t = Date.now();', 'Date.now'],
    ['const t = new Date();', 'new Date()'],
    ['const t = Math.random();', 'Math.random'],
    ['setTimeout(step, 10);', 'setTimeout'],
    ['setInterval(step, 10);', 'setInterval'],
    ['setImmediate(step);', 'setImmediate'],
    ['queueMicrotask(step);', 'queueMicrotask'],
    ['const e = process.env;', 'process'],
    ['const t = performance.now();', 'performance'],
    ['const id = crypto.randomUUID();', 'crypto'],
    ['const t = globalThis.Date;', 'globalThis'],
  ])('%s', (text, name) => {
    expect(messages(checkPurity, planted('src/protocol/saga.ts', 'let x = 1;', text))).toContain(
      `saga.ts:2 pure code may not`,
    );
    expect(messages(checkPurity, planted('src/kernel/a.ts', text))).toContain(name);
    expect(checkPurity([planted('src/runtime/a.ts', text)])).toEqual([]);
  });

  it('accepts zod in the protocol, members spelled like globals and dates made from input', () => {
    const text =
      "import { z } from 'zod'; const d = new Date(input.timeMs); view.process; type T = { crypto: 1 };";
    expect(checkPurity([planted('src/protocol/a.ts', text)])).toEqual([]);
    expect(messages(checkPurity, planted('src/kernel/a.ts', text))).toContain('"zod"');
  });

  it('holds in the tree', () => {
    expect(show(checkPurity(tree))).toEqual([]);
  });
});

describe('subjects are built in one place', () => {
  it.each([
    'const s = `${pattern}.${sender}.report.${shard}`;',
    'const s = `saga.${sender}.begin.${shard}`;',
    'const s = `${pattern}.coordinator.decided.${shard}`;',
    'const s = `saga.${who}.prepare`;',
    'const s = `dead.${pattern}.${who}`;',
    'const s = `response.${tx}.>`;',
    'const s = `timer.${pattern}.0.at`;',
    "const s = 'query.' + pattern + '.' + shard;",
  ])('%s', (text) => {
    const refusal = 'built from validated tokens in src/kernel/subjects.ts only';
    expect(messages(checkSubjects, planted('src/nats/a.ts', text))).toContain(refusal);
    expect(checkSubjects([planted('src/kernel/subjects.ts', text)])).toEqual([]);
  });

  it('keeps the JetStream API in src/nats', () => {
    const call = planted('src/runtime/a.ts', "nc.request('$JS.API.INFO');");
    expect(messages(checkSubjects, call)).toContain('src/nats only');
    expect(checkSubjects([planted('src/nats/a.ts', call.text)])).toEqual([]);
  });

  it('accepts plain messages, fixed filters and keys', () => {
    const text = "log(`tx ${tx}: done.`); const f = ['saga.*.*']; const k = `${a}.${b}`; const n = a + b;";
    expect(checkSubjects([planted('src/runtime/a.ts', text)])).toEqual([]);
  });

  it('holds in the tree', () => {
    expect(show(checkSubjects(tree))).toEqual([]);
  });
});

describe('text', () => {
  it.each([
    ['src/a.ts', "const d = '/home/jo/phasor';", 'a path of one machine'],
    ['README.md', 'cd /Users/jo/phasor', 'a path of one machine'],
    ['src/a.ts', "const d = '/tmp/phasor';", 'os.tmpdir()'],
    ['src/a.ts', '// TODO later', 'unfinished work'],
    ['docs/wire.md', 'FIXME', 'unfinished work'],
    ['test/a.test.ts', "it.only('x', run);", '.only hides'],
    ['test/a.test.ts', "describe.skip('x', run);", 'ctx.skip(condition, "reason")'],
    ['test/a.test.ts', "it.skipIf(!docker)('x', run);", 'ctx.skip(condition, "reason")'],
    ['test/a.test.ts', "it.todo('x');", 'ctx.skip(condition, "reason")'],
    ['test/a.test.ts', "it('x', (ctx) => { ctx.skip(); });", 'a skip without a reason'],
    ['test/a.test.ts', "it('x', ({ skip }) => skip());", 'a skip without a reason'],
  ])('%s with %s', (path, text, message) => {
    expect(messages(checkText, planted(path, text))).toContain(message);
  });

  it('accepts links, relative paths and skips with a reason', () => {
    const text = "ctx.skip(!docker, 'no Docker daemon'); see('https://example.org/home/a/b', './root/a');";
    expect(checkText([planted('test/a.test.ts', text)])).toEqual([]);
  });

  it('holds in the tree', () => {
    expect(show(checkText(tree))).toEqual([]);
  });
});

describe('file length', () => {
  const ofLines = (count: number): SourceFile => planted('src/a.ts', ...Array<string>(count).fill('x;'), '');

  it(`allows ${MAX_FILE_LINES} lines and not one more`, () => {
    expect(checkFileLength([ofLines(MAX_FILE_LINES)])).toEqual([]);
    expect(messages(checkFileLength, ofLines(MAX_FILE_LINES + 1))).toContain(
      `src/a.ts:401 401 lines, at most 400: split it`,
    );
  });

  it('holds in the tree', () => {
    expect(show(checkFileLength(tree))).toEqual([]);
  });
});
