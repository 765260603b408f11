// Goal: the command line as a user meets it: what it prints, where, and with which exit code.
// Method: the built program in processes of its own, one `phasor dev` for all, workers in this process.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Command } from 'commander';
import type { Cli } from '../../src/cli/cli.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { natsWorld, type NatsWorld } from '../../src/nats/world.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { done, refused } from '../../src/runtime/worker-answers.ts';
import { startWorker, type Worker } from '../../src/runtime/worker.ts';
import { eventually } from '../kit/eventually.ts';
import { runNode, spawnNode, type NodeProcess, type RunOptions, type RunResult } from '../kit/exec.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
/** No server of the machine, no credentials, no colours. */
const CLEAN = { NATS_URL: undefined, PHASOR_CRASH: undefined, NO_COLOR: '1' };

let dev: NodeProcess;
let url: string;
let files: string;
let world: NatsWorld;
let worker: Worker;

const phasor = (args: readonly string[], options: RunOptions = {}): Promise<RunResult> =>
  runNode(MAIN, args, { timeoutMs: 30_000, ...options, env: { ...CLEAN, NATS_URL: url, ...options.env } });
const ndjson = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const plan = (action: string, more: object = {}): string =>
  JSON.stringify({
    pattern: 'saga',
    plan: {
      name: 'order',
      steps: [
        { step: 'reserve', participant: 'stock', action: 'ok', input: { sku: 'A1' } },
        { step: 'ship', participant: 'stock', action },
      ],
    },
    ...more,
  });

beforeAll(async () => {
  if (!existsSync(MAIN)) throw new Error('build first: npm run build');
  files = await mkdtemp(join(tmpdir(), 'phasor-cli-'));
  dev = spawnNode(MAIN, ['dev', '--json'], { env: CLEAN });
  url = String(ndjson(await dev.waitForLine(/"ready":true/, 30_000))[0]?.['url']);
  world = await natsWorld({ url, logger: silentLogger });
  worker = await startWorker(world.world, {
    participant: 'stock',
    barrier: 'kv',
    actions: {
      ok: { execute: () => done({ hold: 'h1' }), compensate: () => undefined },
      no: { execute: () => refused('no-truck'), compensate: () => undefined },
      hold: { prepare: () => done(), verify: () => done(), execute: () => done(), cancel: () => undefined },
    },
  });
});
afterAll(async () => {
  await worker.drain();
  await world.close();
  await dev.stop();
  await rm(files, { recursive: true });
});

describe('help', () => {
  it('teaches: every command shows an example that starts with its own name', () => {
    const program = buildProgram({ action: () => () => Promise.resolve() } as unknown as Cli);
    const shown: string[] = [];
    const visit = (command: Command, path: readonly string[]): void => {
      command.commands.forEach((child) => visit(child, [...path, child.name()]));
      if (command.commands.length > 0) return;
      let help = '';
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      expect(help).toMatch(new RegExp(`Examples?:\\n.*(\\$|\\|) ${path.join(' ')}`));
      expect(command.description()).not.toBe('');
      shown.push(path.join(' '));
    };
    visit(program, ['phasor']);
    expect(shown.length).toBeGreaterThanOrEqual(13);
  });

  it('suggests what was meant, and takes a misuse for exit code 64', async () => {
    const wrong = await phasor(['steams', 'apply']);
    expect(wrong).toMatchObject({ code: 64, stdout: '' });
    const { stdout } = await phasor(['--help']);
    expect(stdout).toMatch(/First steps:[^]*phasor dev[^]*Exit codes:/);
    expect(wrong.stderr).toMatch(/unknown command 'steams'\n\(Did you mean streams\?\)/);
    expect((await phasor(['tx', 'show', 'a.b'])).code).toBe(64);
    expect((await phasor(['streams', 'apply', '--max-bytes', 'lots'])).stderr).toMatch(/500MB or 2GiB/);
    expect((await phasor([])).code).toBe(64);
    expect(await readFile(MAIN, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect((await phasor(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('failures', () => {
  const oneLine = (result: RunResult, code: number, text: RegExp): void => {
    expect({ code: result.code, stderr: result.stderr }).toEqual({
      code,
      stderr: expect.stringMatching(text),
    });
    expect(result.stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(result.stdout).toBe('');
  };

  it('are one line with code and hint, and the exit code of the table', async () => {
    const none = ['streams', 'list', '--server', 'nats://127.0.0.1:1'];
    oneLine(await phasor(none), 69, /^phasor: CONNECTION_FAILED: .*127\.0\.0\.1:1.*; is nats-server running/);
    const unknown = /^phasor: TX_NOT_FOUND: .*nobody-knows.*; `phasor tx list` shows what there is$/m;
    oneLine(await phasor(['tx', 'show', 'nobody-knows']), 66, unknown);
    oneLine(await phasor(['run', join(files, 'missing')]), 66, /INPUT_UNREADABLE: cannot read .*missing/);
  });

  it('keep secrets out of arguments and messages', async () => {
    const inUrl = await phasor(['streams', 'list', '--server', 'nats://me:hunter2@127.0.0.1:1']);
    oneLine(inUrl, 78, /CONFIG_INVALID: .*use NATS_URL or --password-file/);
    expect(inUrl.stderr).not.toContain('hunter2');
    const fromEnvironment = await phasor(['streams', 'list'], {
      env: { NATS_URL: 'nats://me:hunter2@127.0.0.1:1' },
    });
    expect(fromEnvironment.code).toBe(69);
    expect(fromEnvironment.stderr).not.toContain('hunter2');
    oneLine(await phasor(['streams', 'list', '--user', 'me']), 78, /--user and --password-file go together/);
  });

  it('of what is missing or blank in an option are misuse, said before anything is done', async () => {
    const no = async (args: readonly string[], text: RegExp): Promise<void> => {
      const { code, stdout, stderr } = await phasor(args);
      expect({ args, code, stdout, stderr }).toEqual({
        ...{ args, code: 64, stdout: '' },
        stderr: expect.stringMatching(text),
      });
      expect(stderr).not.toMatch(/too_small|at file:/);
    };
    const cancel = ['tx', 'cancel', 'any-1', '--reason'];
    await no(
      [...cancel, ''],
      /^error: option '--reason <text>' .* 1 to 1024 characters, not only blanks\.$/m,
    );
    await no([...cancel, ' \t '], /not only blanks/);
    await no([...cancel, 'x'.repeat(1_025)], /1 to 1024 characters/);
    await no([...cancel, 'why', '--by', ' '], /option '--by <person>' .*not only blanks/);
    const signal = ['tx', 'signal', 'any-1', 'approve', '--reason', 'why'];
    await no([...signal, '--name', 'a b'], /Names of signals match/);
    const nothing = ['simulate', '--seed', '1', '--transactions', '99'];
    await no(nothing, /^error: --transactions 99 selects nothing/);
    await no([...nothing, '--seeds', '2', '--json'], /^error: --transactions 99 selects nothing/);
    expect((await phasor(['simulate', '--seed', '1'])).stdout).toMatch(/^1 seed, \d+ transactions, /m);
  });

  it('of an unknown crash point are configuration errors', async () => {
    const env = { PHASOR_CRASH: 'c99' };
    oneLine(await phasor(['coordinator'], { env }), 78, /PHASOR_CRASH=c99: unknown crash point; known: k1/);
    oneLine(await phasor(['coordinator'], { env: { PHASOR_CRASH: 'c2:0' } }), 78, /nth from 1/);
  });
});

describe('streams', () => {
  it('apply changes nothing twice, list shows what there is, diff finds nothing', async () => {
    const applied = await phasor(['streams', 'apply', '--json']);
    const streams = ndjson(applied.stdout)[0]?.['streams'] as { stream: string; action: string }[];
    expect(streams.find(({ stream }) => stream === 'DTX_SAGA_STREAM')?.action).toBe('unchanged');
    expect((await phasor(['streams', 'diff'])).code).toBe(0);
    const listed = await phasor(['streams', 'list']);
    expect(listed.stdout).toMatch(/^STREAM +MESSAGES +SIZE.*\nDTX_2PC_STREAM +0 +0 B +1\.0 GiB +4 +1 +file/);
    expect(listed.stdout).toContain('KV_DTX_BARRIER_stock');
    const contract = await phasor(['streams', 'list', '--contract', '--pattern', 'saga']);
    expect(contract.stdout).toMatch(
      /DTX_SAGA_STREAM: .*\n {2}subjects +saga\.\*\.\* saga\.\*\.\*\.\*\n {2}writer/,
    );
  });

  it('diff ends with 1 and apply with 73 where the shards differ', async () => {
    const differs = await phasor(['streams', 'diff', '--shards', '9', '--pattern', 'saga']);
    expect(differs.code).toBe(1);
    expect(differs.stdout).toMatch(/DTX_SAGA_STREAM +refused +metadata\.shards +4 +9 /);
    const refusedChange = await phasor(['streams', 'apply', '--shards', '9']);
    expect(refusedChange).toMatchObject({ code: 73, stdout: '' });
    expect(refusedChange.stderr).toMatch(/^phasor: STREAM_CHANGE_REFUSED: nothing was changed; DTX_2PC/);
  });
});

describe('run', () => {
  it('prints every outcome and ends with 0, whichever they are', async () => {
    const file = join(files, 'good.ndjson');
    await writeFile(
      file,
      `\ufeff${plan('ok', { tx: 'order-1', labels: { who: 'asha' } })}\r\n\n${plan('no')}`,
    );
    const result = await phasor(['run', file]);
    expect(result).toMatchObject({ code: 0 });
    const outcomes = ndjson(result.stdout).sort((a, b) => Number(a['line']) - Number(b['line']));
    expect(outcomes).toEqual([
      expect.objectContaining({ line: 1, tx: 'order-1', pattern: 'saga', status: 'completed' }),
      expect.objectContaining({ line: 3, status: 'compensated', code: 'no-truck', step: 'ship' }),
    ]);
    expect(result.stderr).toMatch(/^phasor: 2 ended \(1 compensated, 1 completed\); .*\/s\n$/);
  });

  it('names each bad line with its fields, runs the others, and ends with 65', async () => {
    const lines = [
      '{"pattern":"saga"',
      plan('ok'),
      '[]',
      plan('ok', { pattern: '9pc', color: 'red' }),
      '{"pattern":"saga","plan":{"name":"x","steps":[{"participant":"stock"}]}}',
      plan('ok', { tx: 'a.b' }),
      plan('ok', { labels: { a: 1 } }),
      '{"pattern":"saga","plan":{"name":"x","steps":[{"participant":"stock","action":"ok","__proto__":1}]}}',
      `{"pattern":"saga","x":"${'y'.repeat(2_200_000)}"}`,
      plan('ok'),
    ];
    const result = await phasor(['run', '-'], { input: lines.join('\n') });
    expect(result.code).toBe(65);
    expect(
      ndjson(result.stdout)
        .map(({ line }) => line)
        .sort(),
    ).toEqual([10, 2]);
    for (const problem of [
      /^phasor: stdin line 1: is not JSON: /m,
      /^phasor: stdin line 3: must be an object with pattern and plan$/m,
      /^phasor: stdin line 4: color is not a known field$/m,
      /^phasor: stdin line 4: pattern must be one of 2pc, /m,
      /^phasor: stdin line 5: plan\.steps\[0\]\.action is required$/m,
      /^phasor: stdin line 6: tx: not a transaction id: "a\.b"$/m,
      /^phasor: stdin line 7: labels\.a must be a string$/m,
      /^phasor: stdin line 8: plan\.steps\[0\]\.__proto__ /m,
      /^phasor: stdin line 9: is longer than 2097152 bytes$/m,
      /2 ended \(2 completed\); 8 bad lines/,
    ]) {
      expect(result.stderr).toMatch(problem);
    }
  });

  it('prints an outcome before the input has ended', async () => {
    await using run = spawnNode(MAIN, ['run', '-'], { env: { ...CLEAN, NATS_URL: url } });
    run.write(`${plan('ok')}\n`);
    expect(ndjson(await run.waitForLine(/"status"/, 15_000))[0]).toMatchObject({
      line: 1,
      status: 'completed',
    });
    expect(run.exit).toBeUndefined();
    run.endInput(plan('no'));
    expect(await run.waitForExit()).toEqual({ code: 0, signal: null });
    expect(run.lines()).toHaveLength(2);
  });

  it('says which outcomes did not come in time, and ends with 75', async () => {
    const nobody = { name: 'x', steps: [{ participant: 'nobody', action: 'ok' }] };
    const input = [JSON.stringify({ pattern: 'saga', tx: 'waits-1', plan: nobody }), plan('ok')].join('\n');
    const result = await phasor(['run', '-', '--timeout', '700ms'], { input });
    expect(result.code).toBe(75);
    expect(ndjson(result.stdout)).toContainEqual(
      expect.objectContaining({
        line: 1,
        tx: 'waits-1',
        error: { code: 'OUTCOME_TIMEOUT', message: expect.stringContaining('waits-1') },
      }),
    );
    const open = await phasor(['tx', 'list', '--open', '--json']);
    expect(ndjson(open.stdout)).toContainEqual(
      expect.objectContaining({ tx: 'waits-1', open: true, waitsFor: expect.stringContaining('nobody') }),
    );
    const shown = await phasor(['tx', 'show', 'waits-1']);
    expect(shown.stdout).toMatch(
      /waits for .*nobody[^]*no answer +from nobody: is one of its workers running/,
    );
    const cancelled = await phasor(['tx', 'cancel', 'waits-1', '--reason', 'test', '--by', 'asha']);
    expect(cancelled).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^cancel of waits-1 stored at DTX_SAGA/),
    });
    const after = await phasor(['tx', 'show', 'waits-1', '--json']);
    expect(ndjson(after.stdout)[0]?.['events']).toContainEqual(
      expect.objectContaining({ what: 'cancel', who: 'operator', detail: 'test: by asha' }),
    );
  });

  it('takes what a person decides: approval opens a gate, a kill ends a run where it stands', async () => {
    const steps = [{ participant: 'stock', action: 'hold' }];
    const held = { name: 'held', steps, gate: { signal: 'approval' } };
    const lines = ['gate-yes', 'gate-no', 'gate-kill'].map((tx) =>
      JSON.stringify({ pattern: '2ps', tx, plan: held }),
    );
    const run = phasor(['run', '-'], { input: `${lines.join('\n')}\n` });
    await eventually(
      async () => {
        const open = ndjson((await phasor(['tx', 'list', '--pattern', '2ps', '--open', '--json'])).stdout);
        return open.filter(({ waitsFor }) => String(waitsFor).includes('approval')).length === 3;
      },
      { what: 'three runs at their gates', timeoutMs: 20_000 },
    );
    const why = ['--reason', 'test', '--by', 'asha'];
    await phasor(['tx', 'signal', 'gate-kill', 'approve', '--name', 'other', ...why]);
    const signalled = await phasor(['tx', 'signal', 'gate-yes', 'approve', ...why]);
    expect(signalled).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^signal of gate-yes stored at DTX_2PS/),
    });
    expect((await phasor(['tx', 'signal', 'gate-no', 'reject', ...why])).code).toBe(0);
    expect((await phasor(['tx', 'kill', 'gate-kill', ...why])).code).toBe(0);
    const told = (await phasor(['tx', 'show', 'gate-kill'])).stdout;
    expect(told).toMatch(/signal +operator +other: approve +ignored: test: by asha/);
    const heeded = (await phasor(['tx', 'show', 'gate-no'])).stdout;
    expect(heeded).toMatch(/signal +operator +approval: reject +test: by asha/);
    expect((await phasor(['tx', 'signal', 'gate-no', 'maybe', ...why])).code).toBe(64);
    const ended = await run;
    expect(ended.code).toBe(0);
    const ends = Object.fromEntries(ndjson(ended.stdout).map(({ tx, status, code }) => [tx, [status, code]]));
    expect(ends).toEqual({
      'gate-yes': ['completed', undefined],
      'gate-no': ['compensated', 'rejected'],
      'gate-kill': ['killed', 'killed'],
    });
  });

  it('says on Ctrl-C what it leaves open, with the ids', async () => {
    await using run = spawnNode(MAIN, ['run', '-'], { env: { ...CLEAN, NATS_URL: url } });
    const nobody = { name: 'x', steps: [{ participant: 'nobody', action: 'ok' }] };
    run.write(`${JSON.stringify({ pattern: 'saga', labels: { left: 'open' }, plan: nobody })}\n`);
    let listed: Record<string, unknown>[] = [];
    await eventually(
      async () => {
        listed = ndjson((await phasor(['tx', 'list', '--label', 'left=open', '--json'])).stdout);
        return listed.length === 1;
      },
      { what: 'its begin', timeoutMs: 20_000 },
    );
    run.kill('SIGINT');
    expect(await run.waitForExit()).toEqual({ code: 130, signal: null });
    const tx = String(listed[0]?.['tx']);
    expect(run.result().stderr).toMatch(new RegExp(`^phasor: 0 ended; 1 still open, they go on: ${tx}; `));
    expect(ndjson(run.result().stdout)).toEqual([{ line: 1, pattern: 'saga', tx, open: true }]);
    await phasor(['tx', 'kill', tx, '--reason', 'test']);
  });

  it('ends with 130 on Ctrl-C', async () => {
    await using run = spawnNode(MAIN, ['run', '-'], { env: { ...CLEAN, NATS_URL: url } });
    run.write(`${plan('ok')}\n`);
    await run.waitForLine(/"status"/, 15_000);
    run.kill('SIGINT');
    expect(await run.waitForExit()).toEqual({ code: 130, signal: null });
    expect(run.result().stderr).toMatch(/^phasor: 1 ended \(1 completed\)/);
  });
});

describe('the story', () => {
  it('is listed, shown with durations, and rebuilt from the streams alone', async () => {
    await phasor(['run', '-'], { input: plan('no', { tx: 'story-1', labels: { shop: 'pune' } }) });
    const listed = await phasor(['tx', 'list', '--label', 'shop=pune', '--json']);
    expect(ndjson(listed.stdout)).toEqual([
      expect.objectContaining({ tx: 'story-1', state: 'compensated', open: false, code: 'no-truck' }),
    ]);
    expect((await phasor(['tx', 'list', '--label', 'shop=delhi'])).stdout).toMatch(/^TX[^\n]*\n$/);
    expect((await phasor(['tx', 'list', '--limit', '1'])).stdout.trim().split('\n')).toHaveLength(2);

    const shown = await phasor(['tx', 'show', 'story-1']);
    expect(shown.stdout).toMatch(/^story-1 {2}saga {2}compensated after /);
    expect(shown.stdout).toMatch(/reason +no-truck.*\(step ship\)/);
    expect(shown.stdout).toMatch(/\+\d\S* +\d\S* +report +stock +ship +execute +1 +refused +no-truck/);
    expect(shown.stdout).toMatch(/report +stock +reserve +compensate +1 +done/);
    expect(shown.stdout).not.toContain('no answer');

    const audit = await phasor(['audit', 'replay', '--tx', 'story-1', '--json']);
    expect(audit.code).toBe(0);
    const [run, summary] = ndjson(audit.stdout);
    expect(run).toMatchObject({ type: 'run', tx: 'story-1', state: 'compensated', contradictions: [] });
    expect(summary).toEqual({
      ...{ type: 'summary', runs: 1, open: 0, attention: 0, contradictions: 0, unreadable: 0 },
    });
    expect((await phasor(['audit', 'replay', '--since', '1h', '--pattern', 'saga'])).stdout).toMatch(
      /\d+ runs, .*; 0 contradictions, 0 unreadable envelopes\n$/,
    );
  });
});

describe('schemas', () => {
  it('are printed without a server, and quietly cut off with their reader', async () => {
    const one = await phasor(['schemas', 'plan'], { env: { NATS_URL: undefined } });
    expect(JSON.parse(one.stdout)).toMatchObject({ title: 'plan', required: ['name', 'steps'] });
    const document = JSON.parse((await phasor(['schemas', '--asyncapi'])).stdout);
    expect(document.asyncapi).toMatch(/^3\./);

    const child = spawn(process.execPath, [MAIN, 'schemas'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (text) => (stderr += String(text)));
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});
