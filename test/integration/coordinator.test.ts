// Goal: the engine end to end on a real nats-server: what the log implies is carried out, once, also after restarts.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { shardOf } from '../../src/kernel/hash.ts';
import { subjects } from '../../src/kernel/subjects.ts';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import { saga, twoPhaseCommit, type Client } from '../../src/runtime/client/index.ts';
import { replayLog, type Story } from '../../src/runtime/audit.ts';
import { done, refused } from '../../src/runtime/worker-answers.ts';
import type { Action } from '../../src/runtime/worker-call.ts';
import { eventually } from '../kit/eventually.ts';
import { Rig } from '../kit/rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ shards: 2 });
});
afterEach(() => rig.reset());
afterAll(() => rig.stop());

/** Counts calls by phase and step. */
function recorder(more: Action = {}): { readonly action: Action; readonly calls: string[] } {
  const calls: string[] = [];
  const record = (call: { phase: string; step: string }): undefined =>
    void calls.push(`${call.step} ${call.phase}`);
  return {
    calls,
    action: {
      prepare: record,
      commit: record,
      abort: record,
      execute: record,
      compensate: record,
      ...more,
    },
  };
}

const transfer = (more = {}) =>
  twoPhaseCommit('transfer')
    .step('from', { participant: 'debit', action: 'move', input: { amount: 5 }, ...more })
    .step('to', { participant: 'credit', action: 'move', input: { amount: 5 } })
    .build();

async function bank(more: Action = {}): Promise<string[]> {
  const { action, calls } = recorder(more);
  await rig.worker({ participant: 'debit', actions: { move: action } });
  await rig.worker({ participant: 'credit', actions: { move: action } });
  return calls;
}

async function storyOf(pattern: '2pc' | 'saga', tx: string): Promise<Story> {
  const stories: Story[] = [];
  const { world } = await rig.world();
  await replayLog(world, { pattern, txs: [tx], onStory: (story) => stories.push(story) });
  const last = stories.at(-1);
  if (last === undefined) throw new Error(`no story of ${tx}`);
  return last;
}

describe('outcomes', () => {
  it('commits on all yes, aborts on one no, and the stream tells both stories', async () => {
    const calls = await bank({
      prepare: ({ step, input }) => (step === 'from' && isLarge(input) ? refused('broke') : done()),
    });
    await rig.coordinator();
    const client = await rig.client();
    const committed = await client.run(transfer(), { timeoutMs: 10_000 });
    expect(committed).toMatchObject({ status: 'committed', pattern: '2pc', scope: 'all' });
    expect(calls.filter((call) => call.endsWith('commit')).sort()).toEqual(['from commit', 'to commit']);

    const aborted = await client.run(transfer({ input: { amount: 1_000_000 } }), { timeoutMs: 10_000 });
    expect(aborted).toMatchObject({ status: 'aborted', code: 'broke', step: 'from' });
    expect(calls.filter((call) => call.endsWith('abort'))).toEqual(['to abort']);

    const story = await storyOf('2pc', committed.tx);
    expect(story).toMatchObject({ open: false, decision: { value: 'commit' }, contradictions: [] });
    expect(story.events.filter((event) => event.what === 'report')).toHaveLength(4);
  });

  it('runs a saga forward with pointed inputs, and compensates in reverse when a step is refused', async () => {
    const inputs: unknown[] = [];
    const calls: string[] = [];
    const action: Action = {
      execute: ({ step, input }) => {
        inputs.push(input);
        return step === 'ship' && isLarge(input) ? refused('no-truck') : done({ holdId: `hold-${step}` });
      },
      compensate: ({ step, output }) => void calls.push(`${step} ${JSON.stringify(output)}`),
    };
    for (const participant of ['stock', 'payment', 'shipping'])
      await rig.worker({ participant, actions: { go: action } });
    await rig.coordinator();
    const client = await rig.client();
    const order = (amount: number) =>
      saga('order')
        .step('reserve', { participant: 'stock', action: 'go', input: { amount } })
        .step('pay', { participant: 'payment', action: 'go', input: { hold: { $from: 'reserve/holdId' } } })
        .step('ship', { participant: 'shipping', action: 'go', input: { amount } })
        .build();
    const completed = await client.run(order(1), { timeoutMs: 10_000 });
    expect(completed).toMatchObject({ status: 'completed', outputs: { pay: { holdId: 'hold-pay' } } });
    expect(inputs).toEqual([{ amount: 1 }, { hold: 'hold-reserve' }, { amount: 1 }]);
    const undone = await client.run(order(1_000_000), { timeoutMs: 10_000 });
    expect(undone).toMatchObject({ status: 'compensated', code: 'no-truck', step: 'ship' });
    expect(calls).toEqual(['pay {"holdId":"hold-pay"}', 'reserve {"holdId":"hold-reserve"}']);
  });

  it('waits for a participant that nobody serves until the deadline, says so, then aborts', async () => {
    await rig.worker({ participant: 'credit', actions: { move: recorder().action } });
    await rig.coordinator();
    const client = await rig.client();
    const { plan } = transfer();
    const slow = {
      ...plan,
      deadlines: { prepare: { lower: 700 } },
      undoRetry: { maxAttempts: 1, attempt: 200 },
      steps: plan.steps.map((step, index) => (index === 0 ? { ...step, participant: 'nobody' } : step)),
    };
    const handle = await client.begin({ pattern: '2pc', plan: slow });
    const found = await eventually(() => client.describe('2pc', handle.tx), { what: 'a description' });
    expect(found.waitsFor).toMatch(/from/);
    expect(await handle.outcome({ timeoutMs: 10_000 })).toMatchObject({
      status: 'aborted',
      code: 'deadline',
      attention: true,
    });
  });
});

describe('own ids (Rule 7)', () => {
  it('runs once; an equal begin is told the same outcome, another plan is a mismatch; patterns do not meet', async () => {
    const calls = await bank();
    await rig.coordinator();
    const client = await rig.client();
    const tx = 'order-7';
    const first = await client.run({ ...transfer(), tx }, { timeoutMs: 10_000 });
    expect(first.status).toBe('committed');
    const again = await client.run({ ...transfer(), tx }, { timeoutMs: 10_000 });
    expect(again).toMatchObject({ status: 'committed', run: first.run, duplicate: true });
    const other = await client.run({ ...transfer({ input: { amount: 6 } }), tx }, { timeoutMs: 10_000 });
    expect(other.status).toBe('mismatch');
    expect(calls.filter((call) => call === 'from commit')).toHaveLength(1);
    const stories: Story[] = [];
    const { world } = await rig.world();
    await replayLog(world, { pattern: '2pc', txs: [tx], onStory: (story) => stories.push(story) });
    expect(stories.map(({ open, view }) => `${view.phase} ${open ? 'open' : 'over'}`)).toEqual([
      'ended over',
      'duplicate over',
      'mismatch over',
    ]);
    const elsewhere = saga('s').step('only', { participant: 'debit', action: 'move' }).build();
    expect(await client.run({ ...elsewhere, tx }, { timeoutMs: 10_000 })).toMatchObject({
      status: 'completed',
    });
  });

  it('two begins at once are one run', async () => {
    const calls = await bank();
    await rig.coordinator();
    const [one, two] = [await rig.client('a'), await rig.client('b')];
    const outcomes = await Promise.all(
      [one, two].map((client) => client.run({ ...transfer(), tx: 'order-8' }, { timeoutMs: 10_000 })),
    );
    expect(new Set(outcomes.map((outcome) => outcome.run)).size).toBe(1);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['committed', 'committed']);
    expect(calls.filter((call) => call === 'to commit')).toHaveLength(1);
  });
});

describe('recovery', () => {
  it('a successor folds the same log, sends what has no report once, and finishes (Rule 6)', async () => {
    const before = await rig.coordinator();
    const client = await rig.client();
    const handle = await client.begin(transfer());
    const commands = () => rig.envelopes('2pc', subjects.command('2pc', 'debit', 'prepare'));
    const mine = async () => (await commands()).filter(({ tx }) => tx === handle.tx);
    await eventually(async () => (await mine()).length === 1, { what: 'the first prepare' });
    await before.close();
    await rig.coordinator();
    await eventually(async () => (await mine()).length === 2, { what: 'the prepare of the successor' });
    await bank();
    expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({ status: 'committed' });
    const sent = await mine();
    expect(sent.map(({ attempt }) => attempt)).toEqual([1, 1]);
  });

  it('two coordinators on the same shards reach the same decisions', async () => {
    const calls = await bank();
    await rig.coordinator();
    await rig.coordinator();
    const client = await rig.client();
    const outcomes = await Promise.all(
      Array.from({ length: 40 }, () => client.run(transfer(), { timeoutMs: 20_000 })),
    );
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['committed']));
    expect(calls.filter((call) => call.endsWith('abort'))).toEqual([]);
    const notes = await rig.envelopes('2pc', subjects.allInputs('2pc'));
    expect(notes.filter(({ kind }) => kind === 'conflict')).toEqual([]);
  });

  it('goes on after the server went away and came back', async () => {
    await bank();
    await rig.coordinator();
    const client = await rig.client();
    expect((await client.run(transfer(), { timeoutMs: 10_000 })).status).toBe('committed');
    const running = Array.from({ length: 20 }, () => client.begin(transfer()));
    await rig.nats.kill();
    await rig.nats.restart();
    const handles = (await Promise.allSettled(running)).flatMap((begun) =>
      begun.status === 'fulfilled' ? [begun.value] : [],
    );
    for (const handle of handles)
      expect((await handle.outcome({ timeoutMs: 20_000 })).status).toBe('committed');
    expect((await client.run(transfer(), { timeoutMs: 20_000 })).status).toBe('committed');
  });

  it('finds the outcome of a run that ended long ago in the log', async () => {
    await bank();
    const before = await rig.coordinator();
    const client = await rig.client();
    const { tx } = await client.run(transfer(), { timeoutMs: 10_000 });
    await before.close();
    await rig.coordinator();
    const found = await eventually(() => describeQuietly(client, tx), { what: 'the ended run' });
    expect(found).toMatchObject({ open: false, outcome: { status: 'committed' } });
  });
});

describe('what must not be believed', () => {
  it('freezes a run whose written decision contradicts the log (Rule 4)', async () => {
    await rig.coordinator();
    const client = await rig.client();
    const handle = await client.begin(transfer());
    const found = await eventually(() => describeQuietly(client, handle.tx), { what: 'the open run' });
    const { world } = await rig.world();
    const shard = shardOf(handle.tx, 2);
    const note = {
      v: 1,
      tx: handle.tx,
      run: found.run,
      kind: 'decision',
      at: '1.0',
      value: 'commit',
      digest: '0'.repeat(16),
    };
    await world.log.append(
      subjects.input('2pc', 'coordinator', 'decided', shard),
      Buffer.from(JSON.stringify([note])),
    );
    const frozen = await eventually(
      async () => {
        const now = await client.describe('2pc', handle.tx);
        return now.attention.some(({ code }) => code === 'decided-conflict') ? now : undefined;
      },
      { what: 'the frozen run' },
    );
    expect(frozen.waitsFor).toMatch(/operator/);
  });

  it('dead-letters what cannot be read, what is forged, and what belongs to nobody', async () => {
    await rig.coordinator();
    const { world, connection } = await rig.world();
    const letters: string[] = [];
    const subscription = connection.nc.subscribe('dead.>', {
      callback: (_, message) => void letters.push(message.json<{ problem: string }>().problem),
    });
    const bad: readonly [string, string][] = [
      ['client.begin', 'not json'],
      ['client.begin', '{"v":1}'],
      ['client.begin', '[{"v":2,"tx":"a"}]'],
      ['client.begin', '[{"v":1,"tx":"a.b","id":"own","shards":2,"plan":{}}]'],
      [
        'client.begin',
        '[{"v":1,"tx":"a","id":"own","shards":2,"plan":{"name":"x","steps":[],"__proto__":{}}}]',
      ],
      ['client.report', '[]'],
    ];
    for (const [from, body] of bad) {
      const [sender, kind] = from.split('.') as ['client', 'begin'];
      await world.log.append(subjects.input('2pc', sender, kind, 0), Buffer.from(body));
    }
    const forged = subjects.input('2pc', 'coordinator', 'decided', 0);
    const note = { v: 1, tx: 'x', run: '1.0.5', kind: 'verdict', at: '1.0', value: 'admit' };
    await world.log.append(forged, Buffer.from(JSON.stringify([note])), { msgId: 'forged' });
    const nowhere = subjects.input('2pc', 'client', 'begin', 7);
    await world.log.append(nowhere, Buffer.from('[{"v":1}]'));
    // Stray subjects are looked for at start.
    await rig.coordinator({ patterns: ['2pc'] });
    await eventually(() => letters.some((problem) => problem.includes('no such shard')), {
      what: 'the stray',
    });
    await eventually(() => letters.length >= bad.length + 2, { what: 'all dead letters' });
    expect(letters.some((problem) => problem.includes('Nats-*'))).toBe(true);
    subscription.unsubscribe();
  });

  it('stops with a clear error when its stream is deleted and made anew (Rule 5)', async () => {
    const own = await Rig.start({ shards: 1 });
    try {
      const failures: PhasorError[] = [];
      await own.coordinator({ patterns: ['saga'], onFailure: (error) => failures.push(error) });
      const { connection } = await own.world();
      await connection.nc.request('$JS.API.STREAM.DELETE.DTX_SAGA_STREAM');
      await eventually(() => failures.length > 0, { what: 'the failure', timeoutMs: 60_000 });
      expect(failures[0]?.code).toBe('STREAM_MISSING');
    } finally {
      await own.stop();
    }
  });
});

const isLarge = (input: unknown): boolean => (input as { amount?: number }).amount === 1_000_000;

async function describeQuietly(client: Client, tx: string) {
  try {
    return await client.describe('2pc', tx);
  } catch (error) {
    if (PhasorError.is(error, 'TX_NOT_FOUND')) return undefined;
    throw error;
  }
}
