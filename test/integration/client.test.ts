// Goal: a begin is stored once, and its outcome reaches whoever waits, whenever and however it was told.
// Method: a real nats-server, and a coordinator played by hand.
import { describe, expect, it } from 'vitest';
import { ulidTimeMs } from '../../src/kernel/ids.ts';
import { shardOf } from '../../src/kernel/hash.ts';
import { subjects } from '../../src/kernel/subjects.ts';
import { connectNats } from '../../src/nats/connection.ts';
import { ensureStreams } from '../../src/nats/streams.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import type { World } from '../../src/ports/world.ts';
import { beginSchema } from '../../src/protocol/envelopes.ts';
import { createClient, saga, twoPhaseCommit, twoPhaseSaga } from '../../src/runtime/client/index.ts';
import { clientRig, code, SHARDS, transfer } from '../kit/client-rig.ts';
import { eventually } from '../kit/eventually.ts';

const rig = clientRig();
const circle: Record<string, unknown> = {};
circle['self'] = circle;
const withInput = (input: unknown): unknown => ({
  pattern: '2pc',
  plan: { name: 'x', steps: [{ participant: 'hdfc', action: 'debit', input }] },
});

describe('begin', () => {
  it('stores one begin as the schema says, under an id, on the subject of its shard', async () => {
    const client = await rig.using();
    const labels = { region: 'south' };
    const handle = await client.begin({ ...transfer, labels, meta: { traceparent: '00-1' } });
    const begin = await rig.coordinator.begun(handle.tx);
    expect(begin.at).toBe(handle.begunAt);
    expect(begin.envelope).toEqual({
      ...{ v: 1, tx: handle.tx, id: 'fresh', shards: SHARDS, plan: transfer.plan },
      ...{ labels, meta: { traceparent: '00-1' } },
    });
    expect(beginSchema.safeParse(begin.envelope).success).toBe(true);
    expect(begin.message.subject).toBe(subjects.input('2pc', 'orders', 'begin', shardOf(handle.tx, SHARDS)));
    expect([...(begin.message.headers ?? [])].map(([name]) => name)).toEqual(['Nats-Msg-Id']);
    expect(Math.abs((ulidTimeMs(handle.tx) ?? 0) - begin.message.timeMs)).toBeLessThan(5_000);
    expect(rig.passed).toEqual(['k1']);
  });

  it('puts begins of one turn into few messages and tells each its place', async () => {
    const client = await rig.using();
    const handles = await Promise.all(Array.from({ length: 200 }, () => client.begin(transfer)));
    const begins = await Promise.all(handles.map(({ tx }) => rig.coordinator.begun(tx)));
    expect(begins.map(({ at }) => at)).toEqual(handles.map(({ begunAt }) => begunAt));
    expect(new Set(begins.map(({ message }) => message.seq)).size).toBeLessThanOrEqual(3 * SHARDS);
    expect(client.inFlight).toBe(200);
  });

  it('keeps what the caller meant at the call, whatever happens to the plan afterwards', async () => {
    const client = await rig.using();
    const plan = structuredClone(transfer.plan);
    const beginning = client.begin({ pattern: '2pc', plan });
    plan.name = 'changed';
    const { tx } = await beginning;
    expect((await rig.coordinator.begun(tx)).envelope.plan.name).toBe('transfer');
  });

  it.each([
    ['a bad id', { ...transfer, tx: 'a.b' }, 'ID_INVALID', 'tx'],
    ['a wildcard id', { ...transfer, tx: '*' }, 'ID_INVALID', 'tx'],
    ['no steps', { pattern: '2pc', plan: { name: 'x', steps: [] } }, 'PLAN_INVALID', 'steps'],
    ['an unknown key', { pattern: '2pc', plan: { ...transfer.plan, color: 1 } }, 'PLAN_INVALID', 'color'],
    ['an unknown pattern', { ...transfer, pattern: '4pc' }, 'PLAN_INVALID', 'pattern'],
    ['an unknown option', { ...transfer, lables: {} }, 'ENVELOPE_INVALID', 'lables'],
    ['nothing', undefined, 'PLAN_INVALID', 'plan'],
    ['a builder of steps', twoPhaseCommit('x'), 'PLAN_INVALID', 'plan'],
    ['a builder of a 2PS', twoPhaseSaga('x'), 'PLAN_INVALID', 'plan'],
    ['a BigInt', withInput({ sum: [1, 5n] }), 'PLAN_INVALID', 'steps[0].input.sum[1]'],
    ['what contains itself', withInput(circle), 'PLAN_INVALID', 'steps[0].input.self'],
    ['a bad label', { ...transfer, labels: { a: 1 } }, 'ENVELOPE_INVALID', 'labels.a'],
    [
      'a cycle',
      {
        pattern: 'saga',
        plan: { name: 'x', steps: [{ participant: 'a', action: 'a', after: ['a'] }] },
      },
      'PLAN_INVALID',
      'steps[0].after[0]',
    ],
  ])('refuses %s before anything is sent, naming the field', async (_, request, name, field) => {
    const client = await rig.using();
    const before = rig.coordinator.begins.length;
    const wrong = expect.objectContaining({ code: name, details: expect.objectContaining({ field }) });
    await expect(client.begin(request as never)).rejects.toThrow(wrong);
    await expect(client.run(request as never)).rejects.toThrow(wrong);
    expect([rig.coordinator.begins.length, client.inFlight]).toEqual([before, 0]);
  });

  it('says which stream is missing, and works once it is there', async () => {
    const client = await rig.using();
    await expect(client.begin({ ...transfer, pattern: '3pc' })).rejects.toThrow(code('STREAM_MISSING'));
    await rig.near.connection.nc.request('$JS.API.STREAM.DELETE.DTX_SAGA_STREAM', '');
    const order = saga('order').step('reserve', { participant: 'stock', action: 'reserve' }).build();
    await expect(client.begin(order)).rejects.toThrow(code('STREAM_MISSING'));
    await ensureStreams(rig.near.connection.nc, { patterns: ['saga'], shards: 2 });
    await expect(client.begin(order)).resolves.toHaveProperty('begunAt', '1.0');
  });

  it('waits while as many are in flight as may be, and goes on after an outcome', async () => {
    const client = await rig.using({ maxInFlight: 2 });
    const first = await client.begin(transfer);
    await client.begin(transfer);
    let third: string | undefined;
    const waiting = client.begin(transfer).then(({ tx }) => (third = tx));
    const begin = await rig.coordinator.begun(first.tx);
    expect([client.inFlight, third]).toEqual([2, undefined]);
    rig.coordinator.tell(rig.coordinator.outcome(begin));
    await waiting;
    expect(third).toBeDefined();
    expect(client.inFlight).toBe(2);
  });

  it('gives its place back when it fails', async () => {
    const client = await rig.using({ maxInFlight: 1, maxSubscriptions: 1 });
    const events = client.watch('2pc', 'somebody-elses');
    await expect(client.begin(transfer)).rejects.toThrow(code('TOO_MANY_SUBSCRIPTIONS'));
    expect(client.inFlight).toBe(0);
    await events.return?.();
    await expect(client.begin(transfer)).resolves.toHaveProperty('pattern', '2pc');
  });
});

describe('options', () => {
  it('of a client are there, and right', async () => {
    const { world } = rig.near;
    const sender = 'orders';
    for (const [field, options] of [
      ['sender', undefined],
      ['sender', {}],
      ['maxInFlight', { sender, maxInFlight: 0 }],
      ['maxSubscriptions', { sender, maxSubscriptions: 'many' }],
      ['subscriptionTtlMs', { sender, subscriptionTtlMs: Number.NaN }],
    ] as const) {
      await expect(createClient(world, options as never)).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        details: { field },
      });
    }
  });

  it.each(['soon', Number.NaN, -1, null])('refuse %j as a duration, everywhere', async (value) => {
    const client = await rig.using();
    const options = { timeoutMs: value } as never;
    const handle = await client.begin(transfer);
    const nowhere = { url: 'nats://127.0.0.1:1', logger: silentLogger, connectTimeoutMs: value as never };
    await expect(connectNats(nowhere)).rejects.toThrow(code('CONFIG_INVALID'));
    for (const call of [
      () => client.run(transfer, options),
      () => client.describe('2pc', handle.tx, options),
      () => handle.outcome(options),
      () => client.close(options),
    ]) {
      await expect(call()).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        details: { field: 'timeoutMs' },
      });
    }
  });

  it('of a wish name a signal, and say why with more than blanks', async () => {
    const client = await rig.using();
    const blank = { code: 'ENVELOPE_INVALID', details: { field: 'reason' } };
    await expect(client.signal('2pc', 'tx-1', undefined as never)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      details: { field: 'name' },
    });
    await expect(client.signal('2pc', 'tx-1', { name: 'go', reason: ' ' })).rejects.toMatchObject(blank);
    await expect(client.cancel('2pc', 'tx-1', ' \n')).rejects.toMatchObject(blank);
    await expect(client.cancel('2pc', 'tx-1', '')).rejects.toMatchObject(blank);
  });
});

describe('outcome', () => {
  it('is told to everyone who waits, and to whoever asks later', async () => {
    const client = await rig.using();
    const handle = await client.begin(transfer);
    const waiting = [handle.outcome(), handle.outcome()];
    const told = rig.coordinator.outcome(await rig.coordinator.begun(handle.tx), {
      outputs: { debit: { left: 5 } },
    });
    rig.coordinator.tell(told);
    expect(await Promise.all(waiting)).toEqual([told, told]);
    expect(await handle.outcome()).toEqual(told);
    expect([client.inFlight, handle.duplicate]).toEqual([0, false]);
    expect(rig.passed).toContain('k2');
  });

  it('is kept when it comes before the acknowledgement', async () => {
    const client = await rig.using({}, slowAcks(rig.near.world, 300));
    rig.coordinator.onBegin = (begin) =>
      rig.coordinator.tell(rig.coordinator.outcome(begin, { status: 'aborted' }));
    const [fresh, own] = await Promise.all([
      client.begin(transfer),
      client.begin({ ...transfer, tx: rig.ownId() }),
    ]);
    expect((await fresh.outcome({ timeoutMs: 900 })).status).toBe('aborted');
    expect((await own.outcome({ timeoutMs: 900 })).status).toBe('aborted');
    expect(fresh.begunAt).toBe((await rig.coordinator.begun(fresh.tx)).at);
  });

  it('ignores what is about another pattern, another run, or malformed', async () => {
    const client = await rig.using();
    const handles = await Promise.all(Array.from({ length: 40 }, () => client.begin(transfer)));
    // Of a begin at x.1, so that x.10 begins alike.
    const handle = handles.find(({ begunAt }) => begunAt.endsWith('.1'));
    if (handle === undefined) throw new Error('no message with two begins');
    const begin = await rig.coordinator.begun(handle.tx);
    const right = rig.coordinator.outcome(begin);
    rig.coordinator.tell({ ...right, pattern: 'saga' });
    rig.coordinator.tell({ ...right, run: `${begin.at}0.5` });
    rig.coordinator.tell({ ...right, status: 'perfect' } as never);
    rig.coordinator.tell({ ...right, status: 'aborted' });
    expect(await handle.outcome()).toMatchObject({ status: 'aborted', run: begin.run });
  });

  it('times out without ending the transaction', async () => {
    const client = await rig.using();
    const handle = await client.begin(transfer);
    await expect(handle.outcome({ timeoutMs: 100 })).rejects.toThrow(code('OUTCOME_TIMEOUT'));
    rig.coordinator.tell(rig.coordinator.outcome(await rig.coordinator.begun(handle.tx)));
    expect((await handle.outcome()).status).toBe('committed');
  });

  it('is found by a question when nobody heard it', async () => {
    const client = await rig.using();
    const handles = await Promise.all(Array.from({ length: 100 }, () => client.begin(transfer)));
    for (const { tx } of handles) {
      const begin = await rig.coordinator.begun(tx);
      const outcome = rig.coordinator.outcome(begin, { status: 'aborted' });
      rig.coordinator.known.set(tx, rig.coordinator.found(begin, { open: false, outcome }));
    }
    const asked = rig.coordinator.questions.length;
    const outcomes = await Promise.all(handles.map((handle) => handle.outcome({ timeoutMs: 8_000 })));
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['aborted']));
    // In batches: one question per shard and 64 transactions, however often the timing makes it ask.
    expect(rig.coordinator.questions.length - asked).toBeLessThan(30);
  });

  it('is found also when its subscription was collected meanwhile', async () => {
    const client = await rig.using({ subscriptionTtlMs: 100 });
    const handle = await client.begin(transfer);
    await eventually(() => client.inFlight === 0, { what: 'collection' });
    const begin = await rig.coordinator.begun(handle.tx);
    rig.coordinator.known.set(
      handle.tx,
      rig.coordinator.found(begin, { outcome: rig.coordinator.outcome(begin) }),
    );
    expect((await handle.outcome({ timeoutMs: 5_000 })).status).toBe('committed');
  });

  it('can be asked for although the begin wanted no reply', async () => {
    const client = await rig.using();
    const handle = await client.begin({ ...transfer, reply: [] });
    expect(client.inFlight).toBe(0);
    const begin = await rig.coordinator.begun(handle.tx);
    expect(begin.envelope.reply).toEqual([]);
    rig.coordinator.known.set(
      handle.tx,
      rig.coordinator.found(begin, { outcome: rig.coordinator.outcome(begin) }),
    );
    expect((await handle.outcome({ timeoutMs: 5_000 })).status).toBe('committed');
  });

  it('is rejected when the client closes', async () => {
    const client = await rig.using();
    const waiting = (await client.begin(transfer)).outcome();
    const rejected = expect(waiting).rejects.toThrow(code('CLOSED'));
    await client.close();
    await rejected;
    await expect(client.begin(transfer)).rejects.toThrow(code('CLOSED'));
  });
});

/** The same world, but each acknowledgement arrives late. */
function slowAcks(world: World, delayMs: number): World {
  const append: World['log']['append'] = async (...args) => {
    const appended = await world.log.append(...args);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    return appended;
  };
  const log = {
    append,
    state: world.log.state.bind(world.log),
    read: world.log.read.bind(world.log),
    get: world.log.get.bind(world.log),
    subjects: world.log.subjects.bind(world.log),
  };
  return { ...world, log };
}
