// Goal: the long-lived commands start, tell that they are ready, end cleanly, and die where they are told to.
// Method: the built program in processes of its own, each on a server of its own.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { natsWorld } from '../../src/nats/world.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { done } from '../../src/runtime/worker-answers.ts';
import { startWorker } from '../../src/runtime/worker.ts';
import { runNode, spawnNode, type NodeProcess, type RunOptions, type RunResult } from '../kit/exec.ts';
import { testNats } from '../kit/nats.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
/** No server of the machine, no credentials, no colours. */
const CLEAN = { NATS_URL: undefined, PHASOR_CRASH: undefined, NO_COLOR: '1' };
const PLAN = JSON.stringify({
  pattern: 'saga',
  plan: { name: 'order', steps: [{ participant: 'stock', action: 'ok' }] },
});

let files: string;
beforeAll(async () => {
  if (!existsSync(MAIN)) throw new Error('build first: npm run build');
  files = await mkdtemp(join(tmpdir(), 'phasor-cli-'));
});
afterAll(() => rm(files, { recursive: true }));

const phasor = (args: readonly string[], options: RunOptions): Promise<RunResult> =>
  runNode(MAIN, args, { timeoutMs: 30_000, ...options, env: { ...CLEAN, ...options.env } });
const ndjson = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe('coordinator', () => {
  let nats: NatsServerHandle;
  let env: { readonly NATS_URL: string };
  beforeAll(async () => {
    nats = await testNats();
    env = { NATS_URL: nats.url };
  });
  afterAll(() => nats.stop());

  it('names what is missing on a server without streams, as all commands do', async () => {
    const missing = /^phasor: STREAM_MISSING: .*; run `phasor streams apply` once\n$/;
    for (const args of [['coordinator'], ['tx', 'list'], ['audit', 'replay', '--pattern', 'saga']]) {
      const { code, stderr } = await phasor([...args, '--log-level', 'silent'], { env });
      expect({ args, code, stderr }).toEqual({ args, code: 69, stderr: expect.stringMatching(missing) });
    }
    const run = await phasor(['run', '-'], { input: PLAN, env });
    expect(run.code).toBe(69);
    expect(ndjson(run.stdout)[0]).toMatchObject({ line: 1, error: { code: 'STREAM_MISSING' } });
  });

  it('dies at its crash point, and another one finishes what it had begun', async () => {
    expect((await phasor(['streams', 'apply'], { env })).code).toBe(0);
    const own = { ...CLEAN, ...env };
    await using crashing = spawnNode(
      MAIN,
      ['coordinator', '--json', '--pattern', '2pc', '--pattern', 'saga'],
      {
        env: { ...own, PHASOR_CRASH: 'c4' },
      },
    );
    const ready = { ready: true, patterns: ['2pc', 'saga'] };
    expect(ndjson(await crashing.waitForLine(/ready/, 15_000))[0]).toEqual(ready);
    const there = await natsWorld({ url: nats.url, logger: silentLogger });
    const actions = { ok: { execute: () => done(), compensate: () => undefined } };
    const worker = await startWorker(there.world, { participant: 'stock', barrier: 'none', actions });

    await using run = spawnNode(MAIN, ['run', '-'], { env: own });
    run.endInput(PLAN);
    expect(await crashing.waitForExit(20_000)).toEqual({ code: null, signal: 'SIGKILL' });
    expect(run.exit).toBeUndefined();
    await using _second = spawnNode(MAIN, ['coordinator'], { env: own });
    expect(await run.waitForExit(30_000)).toEqual({ code: 0, signal: null });
    expect(ndjson(run.result().stdout)[0]).toMatchObject({ line: 1, status: 'completed' });
    await worker.drain();
    await there.close();
  });

  it('ends cleanly: 0 on SIGTERM, 130 on Ctrl-C', async () => {
    for (const [signal, code] of [
      ['SIGTERM', 0],
      ['SIGINT', 130],
    ] as const) {
      await using coordinator = spawnNode(MAIN, ['coordinator'], { env: { ...CLEAN, ...env } });
      expect(await coordinator.waitForLine(/ready/, 15_000)).toBe(
        'coordinator ready: 2pc, 3pc, saga, 2ps, 3ps, eventual',
      );
      coordinator.kill(signal);
      expect(await coordinator.waitForExit()).toEqual({ code, signal: null });
      const logs = coordinator.lines('stderr');
      expect(logs.length).toBeGreaterThan(0);
      for (const line of logs) expect(JSON.parse(line)).toHaveProperty('level');
    }
  });
});

describe('dev', () => {
  it('says how to connect, and leaves nothing behind on Ctrl-C', async () => {
    await using own = spawnNode(MAIN, ['dev'], { env: CLEAN });
    await own.waitForLine(/^Ctrl-C ends it/, 30_000);
    const text = own.lines().join('\n');
    const [, store = ''] = /data in (\S+), removed at the end/.exec(text) ?? [];
    expect(text).toMatch(/export NATS_URL=nats:\/\/127\.0\.0\.1:\d+/);
    expect(existsSync(store)).toBe(true);
    own.kill('SIGINT');
    expect(await own.waitForExit(20_000)).toEqual({ code: 130, signal: null });
    expect(existsSync(store)).toBe(false);
  });

  it('keeps the data where it was told to', async () => {
    const store = join(files, 'kept');
    const start = async (): Promise<{ process: NodeProcess; env: { NATS_URL: string } }> => {
      const own = spawnNode(MAIN, ['dev', '--json', '--store', store, '--sync', 'always'], { env: CLEAN });
      const ready = ndjson(await own.waitForLine(/ready/, 30_000))[0];
      return { process: own, env: { NATS_URL: String(ready?.['url']) } };
    };
    const first = await start();
    const waiting = { name: 'x', steps: [{ participant: 'nobody', action: 'ok' }] };
    const input = JSON.stringify({ pattern: 'saga', tx: 'kept-1', plan: waiting });
    await phasor(['run', '-', '--timeout', '300ms'], { input, env: first.env });
    expect(await first.process.stop()).toEqual({ code: 0, signal: null });
    const second = await start();
    const shown = await phasor(['tx', 'show', 'kept-1'], { env: second.env });
    await second.process.stop();
    expect(shown.stdout).toMatch(/^kept-1 {2}saga/);
  });

  it('says in one line that its port is taken, or that it cannot keep its data there', async () => {
    const taken = await testNats();
    const onTaken = await phasor(['dev', '--port', String(taken.port)], {});
    await taken.stop();
    expect(onTaken.code).toBe(78);
    expect(onTaken.stderr).toMatch(/^phasor: CONFIG_INVALID: port \d+ is in use: choose another; .*\n$/);
    const file = join(files, 'a-file');
    await writeFile(file, '');
    for (const store of [file, join(file, 'below')]) {
      const { code, stderr } = await phasor(['dev', '--store', store], {});
      expect({ code, stderr }).toEqual({
        code: 78,
        stderr: expect.stringMatching(/^phasor: CONFIG_INVALID: --store: cannot keep data in .*\n$/),
      });
    }
  });

  it('runs the participant and the plan of the README as they stand there', async () => {
    const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
    const [, code = ''] = /```js\n(import [^]*?)```/.exec(readme) ?? [];
    expect(code.trim().split('\n').length).toBeLessThanOrEqual(30);
    await using own = spawnNode(MAIN, ['dev', '--json'], { env: CLEAN });
    const url = String(ndjson(await own.waitForLine(/ready/, 30_000))[0]?.['url']);
    const door = new URL('../../dist/src/index.js', import.meta.url).href;
    const here = code.replace("'phasor'", `'${door}'`).replace('nats://127.0.0.1:4222', url);
    const file = join(files, 'order.mjs');
    await writeFile(file, here);
    expect(await runNode(file, [], { timeoutMs: 30_000, env: CLEAN })).toMatchObject({
      code: 0,
      stdout: 'completed \n',
      stderr: '',
    });
    await writeFile(file, here.replace('4200', '9900').replace('order-7', 'order-8'));
    const { stdout } = await runNode(file, [], { timeoutMs: 30_000, env: CLEAN });
    expect(stdout).toMatch(/^released \{ holdId: .*\}\ncompensated card-declined\n$/);
  });

  it('refuses options for a server that is not its own', async () => {
    const result = await phasor(['dev', '--store', files], { env: { NATS_URL: 'nats://127.0.0.1:1' } });
    expect(result).toMatchObject({ code: 78, stderr: expect.stringContaining('unset NATS_URL') });
  });
});
