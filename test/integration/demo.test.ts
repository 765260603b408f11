// Goal: `npm run demo` shows what it promises, tells the truth in its exit code, and leaves nothing behind.
// Method: the built demo as a process, with a temporary directory of its own that must be empty afterwards.
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { eventually } from '../kit/eventually.ts';
import { runNode, spawnNode } from '../kit/exec.ts';

const DEMO = path.join(import.meta.dirname, '../../dist/examples/demo.js');

interface Place {
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

async function place(env: Readonly<Record<string, string | undefined>> = {}): Promise<Place> {
  const folder = await mkdtemp(path.join(tmpdir(), 'demo-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return { folder, env: { TMPDIR: folder, NATS_URL: undefined, ...env } };
}

/** The temporary directory is empty, and nobody of the process group lives. */
async function nothingIsLeft({ folder }: Place, group: number): Promise<void> {
  await eventually(async () => (await readdir(folder)).length === 0, {
    what: 'an empty temporary directory',
  });
  await eventually(() => isGone(group), { what: `the end of process group ${group}` });
}

function isGone(group: number): boolean {
  try {
    process.kill(-group, 0);
    return false;
  } catch {
    return true;
  }
}

describe('the demo', () => {
  it('plays every scenario, balances the books, and prints one JSON document', async () => {
    const at = await place();
    const demo = spawnNode(DEMO, ['--json', '--seed', '7'], { env: at.env });
    const { code } = await demo.waitForExit(90_000);
    const { stdout, stderr } = demo.result();
    expect(stderr).toBe('');
    expect(stdout.split('\n')).toHaveLength(2);
    const told = JSON.parse(stdout);
    const scenario = (name: string, pattern: string, status: string): object => {
      return { name, pattern, status, tx: expect.stringMatching(/^[0-9A-HJKMNP-TV-Z]{26}$/) };
    };
    expect(told).toEqual({
      ok: true,
      moneyBefore: 35_50_000,
      moneyAfter: 35_50_000,
      scenarios: [
        scenario('consolidation-commits', '2pc', 'committed'),
        scenario('insufficient-funds-aborts', '2pc', 'aborted'),
        scenario('order-completes', 'saga', 'completed'),
        scenario('order-compensated', 'saga', 'compensated'),
        scenario('coordinator-killed', '2pc', 'committed'),
        scenario('high-value-transfer', '3pc', 'committed'),
        scenario('order-approved', '2ps', 'completed'),
        scenario('order-confirmed-at-once', '2ps', 'completed'),
        scenario('flash-sale', '3ps', 'completed'),
        scenario('news-taken', 'eventual', 'completed'),
      ],
      bulk: {
        count: 2_000,
        committed: expect.any(Number),
        aborted: expect.any(Number),
        txPerSecond: expect.any(Number),
      },
    });
    const { committed, aborted } = told.bulk as { committed: number; aborted: number };
    expect(committed + aborted).toBe(2_000);
    expect(committed).toBeGreaterThan(1_000);
    expect(aborted).toBeGreaterThan(0);
    expect(code).toBe(0);
    await nothingIsLeft(at, demo.pid);
  }, 100_000);

  it('cleans up after Ctrl-C in the middle, without colours where there is no terminal', async () => {
    const at = await place();
    const demo = spawnNode(DEMO, [], { env: at.env });
    await demo.waitForLine('2. The same with too little money', 40_000);
    // A terminal sends it to everybody.
    process.kill(-demo.pid, 'SIGINT');
    expect(await demo.waitForExit(20_000)).toEqual({ code: 130, signal: null });
    expect(demo.result().stdout).not.toContain('\u001b');
    await nothingIsLeft(at, demo.pid);
  });

  it('fails, and cleans up, when a participant dies while it is needed', async () => {
    // The first vote of each bank is its last act.
    const at = await place({ PHASOR_CRASH: 'p2' });
    const demo = spawnNode(DEMO, ['--json'], { env: at.env });
    const { code } = await demo.waitForExit(55_000);
    expect(code).toBe(1);
    expect(demo.result().stdout).toBe('');
    expect(demo.result().stderr).toMatch(/(?:hdfc|icici|axis|sbi) has died \(SIGKILL\)/);
    await nothingIsLeft(at, demo.pid);
  });

  it('refuses what it does not know', async () => {
    for (const args of [['--frobnicate'], ['everything'], ['--seed', 'x']]) {
      const { code, stdout, stderr } = await runNode(DEMO, args);
      expect([code, stdout]).toEqual([64, '']);
      expect(stderr).toContain('Usage: npm run demo');
    }
    expect(await runNode(DEMO, ['--help'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('--json'),
    });
  });
});
