// Goal: docs/wire.md is enough: a participant in plain JavaScript, with a NATS client and that page, takes part.
// Method: `phasor dev`, examples/foreign/participant.js and `phasor run` as processes; a bare connection looks on, and
// plays the server that delivers again. Its journal says what each participant has really done.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connect, type Msg, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { natsWorld } from '../../src/nats/world.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { startWorker } from '../../src/runtime/worker.ts';
import { eventually } from '../kit/eventually.ts';
import { runNode, spawnNode, type NodeProcess } from '../kit/exec.ts';

const MAIN = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));
const PARTICIPANT = fileURLToPath(new URL('../../examples/foreign/participant.js', import.meta.url));
/** Generous: a busy machine starts a process in seconds. */
const PATIENCE_MS = 30_000;

type Json = Record<string, unknown>;

let dev: NodeProcess;
let url: string;
let folder: string;
let nc: NatsConnection;
let left: NodeProcess;
let right: NodeProcess;

const env = (): Record<string, string | undefined> => ({ NATS_URL: url, NO_COLOR: '1' });
const ndjson = (text: string): Json[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Json);

async function participant(name: string): Promise<NodeProcess> {
  const started = spawnNode(PARTICIPANT, [name, join(folder, `${name}.journal`)], { env: env() });
  await started.waitForLine(`${name} is ready`, PATIENCE_MS);
  return started;
}

/** What the participant has done for a transaction: `"phase answer units"`, in order. */
async function deeds(name: string, tx: string): Promise<string[]> {
  const lines = ndjson(await readFile(join(folder, `${name}.journal`), 'utf8'));
  return lines
    .filter(({ key }) => String(key).split(' ')[1] === tx)
    .map(({ phase, said, units }) => `${String(phase)} ${String((said as Json)['answer'])} ${String(units)}`);
}

const step = (participantName: string, units = 1, workMs = 0): Json => ({
  participant: participantName,
  action: 'hold',
  input: { units, workMs },
});
const plan = (pattern: '2pc' | 'saga', tx: string, steps: readonly Json[], more: Json = {}): string =>
  JSON.stringify({ pattern, tx, plan: { name: 'foreign', steps }, ...more });

/** The outcomes on stdout by transaction; every plan has ended. */
async function run(...plans: readonly string[]): Promise<Record<string, Json>> {
  const result = await runNode(MAIN, ['run', '-'], {
    ...{ input: plans.join('\n'), env: env(), timeoutMs: 2 * PATIENCE_MS },
  });
  expect({ code: result.code, stderr: result.stderr }).toMatchObject({ code: 0 });
  return Object.fromEntries(ndjson(result.stdout).map((outcome) => [String(outcome['tx']), outcome]));
}

/** A run that is waited for later. */
function begin(line: string): NodeProcess {
  const started = spawnNode(MAIN, ['run', '-'], { env: env() });
  started.endInput(line);
  return started;
}

/** Everything that is published on the subject from now on. */
async function overhear(subject: string): Promise<Msg[]> {
  const heard: Msg[] = [];
  nc.subscribe(subject, { callback: (_, message) => void heard.push(message) });
  await nc.flush();
  return heard;
}

async function unacknowledged(durable: string): Promise<unknown> {
  const info = await nc.request(`$JS.API.CONSUMER.INFO.DTX_SAGA_STREAM.${durable}`);
  return info.json<Json>()['num_ack_pending'];
}

const envelopes = (heard: readonly Msg[], tx: string): Json[] =>
  heard.flatMap((message) => message.json<Json[]>()).filter((envelope) => envelope['tx'] === tx);
const first = (heard: readonly Msg[], tx: string): Promise<Json> =>
  eventually(() => envelopes(heard, tx)[0], { what: `an envelope of ${tx}`, timeoutMs: PATIENCE_MS });

beforeAll(async () => {
  if (!existsSync(MAIN)) throw new Error('build first: npm run build');
  folder = await mkdtemp(join(tmpdir(), 'phasor-foreign-'));
  dev = spawnNode(MAIN, ['dev', '--json'], { env: { NATS_URL: undefined } });
  url = String(ndjson(await dev.waitForLine(/"ready":true/, PATIENCE_MS))[0]?.['url']);
  nc = await connect({ servers: url });
  [left, right] = await Promise.all([participant('left'), participant('right')]);
});
afterAll(async () => {
  await nc.close();
  await Promise.all([left.stop(), right.stop()]);
  await dev.stop();
  await rm(folder, { recursive: true });
});

describe('a participant that knows only the wire', () => {
  it('knows nothing else', async () => {
    const imports = [...(await readFile(PARTICIPANT, 'utf8')).matchAll(/from '([^']+)'/g)].map(
      ([, from]) => from,
    );
    expect(imports.filter((from) => !from?.startsWith('node:'))).toEqual(['@nats-io/transport-node']);
  });

  it('takes part in 2PC and sagas, and the outcomes arrive', async () => {
    const answers = await overhear('response.saga-1.left.execute');
    const outcomes = await run(
      plan('2pc', '2pc-1', [step('left', 3), step('right', 4)]),
      plan('2pc', 'single-1', [step('left', 5)]),
      plan('2pc', 'refused-1', [step('left'), step('right', 1_000)]),
      plan('saga', 'saga-1', [step('left', 6), step('right', 7)], { reply: ['outcome', 'phases'] }),
      plan('saga', 'undone-1', [step('left'), step('right', 1_000)]),
    );
    expect(outcomes).toMatchObject({
      '2pc-1': { status: 'committed', outputs: { left: { units: 3 }, right: { units: 4 } } },
      'single-1': { status: 'committed' },
      'refused-1': { status: 'aborted', code: 'sold-out', step: 'right' },
      'saga-1': { status: 'completed' },
      'undone-1': { status: 'compensated', code: 'sold-out', step: 'right' },
    });
    expect(await first(answers, 'saga-1')).toMatchObject({ pattern: 'saga', answer: 'done', step: 'left' });
    expect(await deeds('left', '2pc-1')).toEqual(['prepare done 3', 'commit done 3']);
    expect(await deeds('left', 'single-1')).toEqual(['commit-one-phase done 5']);
    expect(await deeds('left', 'saga-1')).toEqual(['execute done 6']);
    expect(await deeds('left', 'undone-1')).toEqual(['execute done 1', 'compensate done 0']);
    expect((await deeds('left', 'refused-1')).at(-1)).toBe('abort done 0');
    expect(await deeds('right', 'refused-1')).toContain('prepare refused 0');
  });

  it('answers a command that comes again the same, and does nothing', async () => {
    const commands = await overhear('saga.left.execute');
    const reports = await overhear('saga.left.report.*');
    await run(plan('saga', 'again-1', [step('left', 2)]));
    const command = await first(commands, 'again-1');
    nc.publish('saga.left.execute', JSON.stringify([command]));
    const [one, two] = await eventually(
      () => envelopes(reports, 'again-1').length === 2 && envelopes(reports, 'again-1'),
      { what: 'a second report', timeoutMs: PATIENCE_MS },
    );
    expect(two).toEqual(one);
    expect(await deeds('left', 'again-1')).toEqual(['execute done 2']);
  });

  it('takes an undo without its act for empty, and refuses the act that comes after it', async () => {
    const reports = await overhear('saga.left.report.*');
    const command = {
      ...{ v: 1, tx: 'late-1', run: '1.0.1', step: 'left', attempt: 1, shard: 0, action: 'hold' },
      ...{ cause: { at: '1.0', time: 1 }, since: Date.now(), input: { units: 1 } },
    };
    nc.publish('saga.left.compensate', JSON.stringify([{ ...command, phase: 'compensate', ran: false }]));
    expect(await first(reports, 'late-1')).toMatchObject({ phase: 'compensate', answer: 'done' });
    nc.publish('saga.left.execute', JSON.stringify([{ ...command, phase: 'execute' }]));
    const late = await eventually(() => envelopes(reports, 'late-1')[1], { what: 'the second report' });
    expect(late).toMatchObject({ phase: 'execute', answer: 'refused', code: 'late' });
    expect(await deeds('left', 'late-1')).toEqual(['compensate done 0']);
  });

  it('buries what is no command', async () => {
    const letters = await overhear('dead.2pc.left');
    for (const body of ['{"not":"an array"}', '[{"v":1,"tx":"a.b"},{"constructor":1}]']) {
      nc.publish('2pc.left.prepare', body);
    }
    await eventually(() => letters.length === 3, { what: 'three dead letters' });
    const buried = letters.map((letter) => letter.json<Json>());
    const data = buried.map((letter) => Buffer.from(String(letter['data']), 'base64').toString());
    expect(data.sort()).toEqual(['{"constructor":1}', '{"not":"an array"}', '{"v":1,"tx":"a.b"}']);
    expect(letters.map(({ headers }) => headers?.get('Nats-Msg-Id')).sort()).toEqual(
      buried.map(({ position }) => `DTX_2PC_STREAM.${String(position)}`).sort(),
    );
  });

  it('finishes what it had promised before kill -9', async () => {
    const waiting = begin(plan('2pc', 'promise-1', [step('left', 2), step('right', 2, 3_000)]));
    await left.waitForLine('prepare of promise-1: done', PATIENCE_MS);
    left.kill();
    await left.waitForExit();
    expect(right.lines()).not.toContain('commit of promise-1: done');
    await right.waitForLine('commit of promise-1: done', PATIENCE_MS);
    expect(waiting.lines()).toEqual([]);
    left = await participant('left');
    expect(await outcomeOf(waiting)).toMatchObject({ tx: 'promise-1', status: 'committed' });
    expect(await deeds('left', 'promise-1')).toEqual(['prepare done 2', 'commit done 2']);
  });

  it('does once what it was doing at kill -9', async () => {
    const slow = { ...step('left', 2, 2_000), retry: { attempt: 5_000, maxAttempts: 10 } };
    const waiting = begin(plan('saga', 'killed-1', [slow, step('right')]));
    await left.waitForLine('execute of killed-1: working', PATIENCE_MS);
    await eventually(async () => (await unacknowledged('saga-left-open')) === 1, {
      what: 'one unacknowledged command: the one that is worked on',
    });
    left.kill();
    await left.waitForExit();
    expect(await deeds('left', 'killed-1')).toEqual([]);
    left = await participant('left');
    expect(await outcomeOf(waiting)).toMatchObject({ tx: 'killed-1', status: 'completed' });
    expect(await deeds('left', 'killed-1')).toEqual(['execute done 2']);
  });

  it('runs nothing on the third delivery, and gets the command again, alone', async () => {
    await (await participant('unlucky')).stop();
    const reports = await overhear('saga.unlucky.report.*');
    const waiting = begin(plan('saga', 'unlucky-1', [step('unlucky')]));
    for (let delivery = 1; delivery <= 2; delivery += 1) {
      const next = '$JS.API.CONSUMER.MSG.NEXT.DTX_SAGA_STREAM.saga-unlucky-open';
      (await nc.request(next, '', { timeout: PATIENCE_MS, noMux: true })).respond('-NAK');
    }
    await using unlucky = await participant('unlucky');
    expect(await outcomeOf(waiting)).toMatchObject({ tx: 'unlucky-1', status: 'completed' });
    expect(envelopes(reports, 'unlucky-1')).toMatchObject([
      { attempt: 1, answer: 'retry', code: 'isolate', mayHaveRun: true },
      { attempt: 2, answer: 'done' },
    ]);
    expect(await unlucky.stop()).toEqual({ code: 0, signal: null });
  });

  it("shares its consumers with a worker of Phasor's, whoever comes first", async () => {
    const world = await natsWorld({ url, logger: silentLogger });
    const actions = { hold: { execute: () => undefined, compensate: () => undefined } };
    const work = (name: string): ReturnType<typeof startWorker> =>
      startWorker(world.world, { participant: name, barrier: 'kv', actions });
    const earlier = await work('mixed');
    await (await participant('mixed')).stop();
    await earlier.drain();
    await (await work('left')).drain();
    await world.close();
  });
});

async function outcomeOf(waiting: NodeProcess): Promise<Json> {
  const [outcome] = ndjson(await waiting.waitForLine('"status"', PATIENCE_MS));
  expect(await waiting.waitForExit(PATIENCE_MS)).toEqual({ code: 0, signal: null });
  return outcome ?? {};
}
