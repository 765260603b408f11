// Goal: the last lines of a run tell the truth about every part, also when a file breaks before its tests.
// Method: the words alone first; then a real Vitest run over planted test files.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { runNode } from '../kit/exec.ts';
import { PartCounts } from './part-counts.ts';
import { REPOSITORY_ROOT } from './source-tree.ts';

it('ends with one line a part in their order, then the total alone', () => {
  const counts = new PartCounts();
  counts.passed('integration');
  counts.passed('unit');
  counts.passed('unit');
  counts.failed('property', 'p.test.ts > shrinks');
  counts.skipped('integration', { test: 'docker.test.ts > starts', reason: 'no Docker daemon' });
  counts.skipped('unit', { test: 'u.test.ts > mute', reason: undefined });
  expect(counts.lines()).toEqual([
    'skipped: [integration] docker.test.ts > starts: no Docker daemon',
    'skipped: [unit] u.test.ts > mute: no reason given',
    'failed: [property] p.test.ts > shrinks',
    'unit: 2 passed, 0 failed, 1 skipped',
    'property: 0 passed, 1 failed, 0 skipped',
    'integration: 1 passed, 0 failed, 1 skipped',
    '3 passed, 1 failed, 2 skipped',
  ]);
});

const PLANTED: Readonly<Record<string, string>> = {
  'mixed.test.ts': `
    import { expect, it } from 'vitest';
    it('holds', () => { expect(1).toBe(1); });
    it('breaks', () => { expect(1).toBe(2); });
    it('waits', (ctx) => { ctx.skip('no Docker daemon'); });`,
  'hook.test.ts': `
    import { beforeAll, it } from 'vitest';
    beforeAll(() => { throw new Error('planted'); });
    it('never runs', () => {});`,
  'unloadable.test.ts': `throw new Error('planted');`,
};

it('prints them at the end of a real run, where broken hooks and files are failures', async () => {
  const folder = await mkdtemp(path.join(REPOSITORY_ROOT, 'node_modules', '.part-counts-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const reporter = path.join(REPOSITORY_ROOT, 'test/house/part-counts-reporter.ts');
  const test = { name: 'unit', include: ['*.test.ts'], exclude: [], reporters: ['default', reporter] };
  await writeFile(path.join(folder, 'vitest.config.mjs'), `export default ${JSON.stringify({ test })};`);
  for (const [name, text] of Object.entries(PLANTED)) await writeFile(path.join(folder, name), text);

  const vitest = path.join(REPOSITORY_ROOT, 'node_modules/vitest/vitest.mjs');
  const run = await runNode(vitest, ['run', '--root', folder], { timeoutMs: 18_000 });

  expect(run.code).toBe(1);
  const lines = run.stdout.trimEnd().split('\n');
  expect(lines.at(-1)).toBe('1 passed, 3 failed, 2 skipped');
  expect(lines.at(-2)).toBe('unit: 1 passed, 3 failed, 2 skipped');
  expect(lines).toContain('skipped: [unit] mixed.test.ts > waits: no Docker daemon');
  expect(lines).toContain('failed: [unit] mixed.test.ts > breaks');
  expect(lines).toContain('failed: [unit] unloadable.test.ts: hook or file failed');
});
