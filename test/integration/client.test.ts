// Goal: a begin is stored once, and its outcome reaches whoever waits, whenever and however it was told.
// Method: a real nats-server, and a coordinator played by hand.
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ulidTimeMs } from '../../src/kernel/ids.ts';
import { shardOf } from '../../src/kernel/hash.ts';
import { streamOf, subjects } from '../../src/kernel/subjects.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { ensureStreams } from '../../src/nats/streams.ts';
import { natsWorld, type NatsWorld } from '../../src/nats/world.ts';
import type { CrashPoint } from '../../src/ports/crash-points.ts';
import type { World } from '../../src/ports/world.ts';
import { beginSchema } from '../../src/protocol/envelopes.ts';
import { planDigest } from '../../src/runtime/outcome-keys.ts';
import { createClient, saga, twoPhaseCommit, type Client } from '../../src/runtime/client/index.ts';
import { eventually } from '../kit/eventually.ts';
import { FakeCoordinator } from '../kit/fake-coordinator.ts';
import { testNats } from '../kit/nats.ts';

const logger = pino({ level: 'silent' });
const SHARDS = 4;
const transfer = twoPhaseCommit('transfer')
  .step('debit', { participant: 'hdfc', action: 'debit', input: { amount: '5' } })
  .step('credit', { participant: 'icici', action: 'credit', input: { amount: '5' } })
  .build();
const other = twoPhaseCommit('other').step('debit', { participant: 'hdfc', action: 'debit' }).build();

let server: NatsServerHandle;
let near: NatsWorld;
let far: NatsWorld;
let coordinator: FakeCoordinator;
const passed: CrashPoint[] = [];
const open: Client[] = [];

beforeAll(async () => {
  server = await testNats();
  near = await natsWorld({ url: server.url, logger, passing: (point) => passed.push(point) });
  far = await natsWorld({ url: server.url, logger });
  await ensureStreams(near.connection.nc, { patterns: ['2pc', 'saga'], shards: SHARDS });
  coordinator = await new FakeCoordinator(far.world, '2pc').start();
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((client) => client.close()));
  coordinator.onBegin = undefined;
  passed.length = 0;
});
afterAll(async () => {
  await near.close();
  await far.close();
  await server.stop();
});

let counter = 0;
const ownId = (): string => `own-${(counter += 1)}`;
const using = async (options: object = {}, world: World = near.world): Promise<Client> => {
  const client = await createClient(world, { sender: 'orders', ...options });
  open.push(client);
  return client;
};
const code = (name: string) => expect.objectContaining({ code: name });

describe('begin', () => {
  it('stores one begin as the schema says, under an id, on the subject of its shard', async () => {
    const client = await using();
    const labels = { region: 'south' };
    const handle = await client.begin({ ...transfer, labels, meta: { traceparent: '00-1' } });
    const begin = await coordinator.begun(handle.tx);
    expect(begin.at).toBe(handle.begunAt);
    expect(begin.envelope).toEqual({
      ...{ v: 1, tx: handle.tx, id: 'fresh', shards: SHARDS, plan: transfer.plan },
      ...{ labels, meta: { traceparent: '00-1' } },
    });
    expect(beginSchema.safeParse(begin.envelope).success).toBe(true);
    expect(begin.message.subject).toBe(subjects.input('2pc', 'orders', 'begin', shardOf(handle.tx, SHARDS)));
    expect([...(begin.message.headers ?? [])].map(([name]) => name)).toEqual(['Nats-Msg-Id']);
    expect(Math.abs((ulidTimeMs(handle.tx) ?? 0) - begin.message.timeMs)).toBeLessThan(5_000);
    expect(passed).toEqual(['k1']);
  });

  it('puts begins of one turn into few messages and tells each its place', async () => {
    const client = await using();
    const handles = await Promise.all(Array.from({ length: 200 }, () => client.begin(transfer)));
    const begins = await Promise.all(handles.map(({ tx }) => coordinator.begun(tx)));
    expect(begins.map(({ at }) => at)).toEqual(handles.map(({ begunAt }) => begunAt));
    expect(new Set(begins.map(({ message }) => message.seq)).size).toBeLessThanOrEqual(3 * SHARDS);
    expect(client.inFlight).toBe(200);
  });

  it('keeps what the caller meant at the call, whatever happens to the plan afterwards', async () => {
    const client = await using();
    const plan = structuredClone(transfer.plan);
    const beginning = client.begin({ pattern: '2pc', plan });
    plan.name = 'changed';
    const { tx } = await beginning;
    expect((await coordinator.begun(tx)).envelope.plan.name).toBe('transfer');
  });

  it.each([
    ['a bad id', { ...transfer, tx: 'a.b' }, 'ID_INVALID', 'tx'],
    ['a wildcard id', { ...transfer, tx: '*' }, 'ID_INVALID', 'tx'],
    ['no steps', { pattern: '2pc', plan: { name: 'x', steps: [] } }, 'PLAN_INVALID', 'steps'],
    ['an unknown key', { pattern: '2pc', plan: { ...transfer.plan, color: 1 } }, 'PLAN_INVALID', 'color'],
    ['an unknown pattern', { ...transfer, pattern: '4pc' }, 'PLAN_INVALID', 'pattern'],
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
    const client = await using();
    const before = coordinator.begins.length;
    await expect(client.begin(request as never)).rejects.toThrow(
      expect.objectContaining({ code: name, details: expect.objectContaining({ field }) }),
    );
    expect([coordinator.begins.length, client.inFlight]).toEqual([before, 0]);
  });

  it('says which stream is missing, and works once it is there', async () => {
    const client = await using();
    await expect(client.begin({ ...transfer, pattern: '3pc' })).rejects.toThrow(code('PLAN_INVALID'));
    await near.connection.nc.request('$JS.API.STREAM.DELETE.DTX_SAGA_STREAM', '');
    const order = saga('order').step('reserve', { participant: 'stock', action: 'reserve' }).build();
    await expect(client.begin(order)).rejects.toThrow(code('STREAM_MISSING'));
    await ensureStreams(near.connection.nc, { patterns: ['saga'], shards: 2 });
    await expect(client.begin(order)).resolves.toHaveProperty('begunAt', '1.0');
  });

  it('waits while as many are in flight as may be, and goes on after an outcome', async () => {
    const client = await using({ maxInFlight: 2 });
    const first = await client.begin(transfer);
    await client.begin(transfer);
    let third: string | undefined;
    const waiting = client.begin(transfer).then(({ tx }) => (third = tx));
    const begin = await coordinator.begun(first.tx);
    expect([client.inFlight, third]).toEqual([2, undefined]);
    coordinator.tell(coordinator.outcome(begin));
    await waiting;
    expect(third).toBeDefined();
    expect(client.inFlight).toBe(2);
  });

  it('gives its place back when it fails', async () => {
    const client = await using({ maxInFlight: 1, maxSubscriptions: 1 });
    const events = client.watch('2pc', 'somebody-elses');
    await expect(client.begin(transfer)).rejects.toThrow(code('TOO_MANY_SUBSCRIPTIONS'));
    expect(client.inFlight).toBe(0);
    await events.return?.();
    await expect(client.begin(transfer)).resolves.toHaveProperty('pattern', '2pc');
  });
});

describe('outcome', () => {
  it('is told to everyone who waits, and to whoever asks later', async () => {
    const client = await using();
    const handle = await client.begin(transfer);
    const waiting = [handle.outcome(), handle.outcome()];
    const told = coordinator.outcome(await coordinator.begun(handle.tx), { outputs: { debit: { left: 5 } } });
    coordinator.tell(told);
    expect(await Promise.all(waiting)).toEqual([told, told]);
    expect(await handle.outcome()).toEqual(told);
    expect([client.inFlight, handle.duplicate]).toEqual([0, false]);
    expect(passed).toContain('k2');
  });

  it('is kept when it comes before the acknowledgement', async () => {
    const client = await using({}, slowAcks(near.world, 300));
    coordinator.onBegin = (begin) => coordinator.tell(coordinator.outcome(begin, { status: 'aborted' }));
    const [fresh, own] = await Promise.all([
      client.begin(transfer),
      client.begin({ ...transfer, tx: ownId() }),
    ]);
    expect((await fresh.outcome({ timeoutMs: 900 })).status).toBe('aborted');
    expect((await own.outcome({ timeoutMs: 900 })).status).toBe('aborted');
    expect(fresh.begunAt).toBe((await coordinator.begun(fresh.tx)).at);
  });

  it('ignores what is about another pattern, another run, or malformed', async () => {
    const client = await using();
    const handle = await client.begin({ ...transfer, tx: ownId() });
    const begin = await coordinator.begun(handle.tx);
    const right = coordinator.outcome(begin);
    coordinator.tell({ ...right, pattern: 'saga' });
    coordinator.tell({ ...right, run: `${begin.message.seq}.${1}0.5` });
    coordinator.tell({ ...right, status: 'perfect' } as never);
    coordinator.tell({ ...right, status: 'aborted' });
    expect(await handle.outcome()).toMatchObject({ status: 'aborted', run: begin.run });
  });

  it('times out without ending the transaction', async () => {
    const client = await using();
    const handle = await client.begin(transfer);
    await expect(handle.outcome({ timeoutMs: 100 })).rejects.toThrow(code('OUTCOME_TIMEOUT'));
    coordinator.tell(coordinator.outcome(await coordinator.begun(handle.tx)));
    expect((await handle.outcome()).status).toBe('committed');
  });

  it('is found by a question when nobody heard it', async () => {
    const client = await using();
    const handles = await Promise.all(Array.from({ length: 100 }, () => client.begin(transfer)));
    for (const { tx } of handles) {
      const begin = await coordinator.begun(tx);
      const outcome = coordinator.outcome(begin, { status: 'aborted' });
      coordinator.known.set(tx, coordinator.found(begin, { open: false, outcome }));
    }
    const asked = coordinator.questions.length;
    const outcomes = await Promise.all(handles.map((handle) => handle.outcome({ timeoutMs: 8_000 })));
    expect(new Set(outcomes.map(({ status }) => status))).toEqual(new Set(['aborted']));
    // In batches: one question per shard and 64 transactions, however often the timing makes it ask.
    expect(coordinator.questions.length - asked).toBeLessThan(30);
  });

  it('is found also when its subscription was collected meanwhile', async () => {
    const client = await using({ subscriptionTtlMs: 100 });
    const handle = await client.begin(transfer);
    await eventually(() => client.inFlight === 0, { what: 'collection' });
    const begin = await coordinator.begun(handle.tx);
    coordinator.known.set(handle.tx, coordinator.found(begin, { outcome: coordinator.outcome(begin) }));
    expect((await handle.outcome({ timeoutMs: 5_000 })).status).toBe('committed');
  });

  it('can be asked for although the begin wanted no reply', async () => {
    const client = await using();
    const handle = await client.begin({ ...transfer, reply: [] });
    expect(client.inFlight).toBe(0);
    const begin = await coordinator.begun(handle.tx);
    expect(begin.envelope.reply).toEqual([]);
    coordinator.known.set(handle.tx, coordinator.found(begin, { outcome: coordinator.outcome(begin) }));
    expect((await handle.outcome({ timeoutMs: 5_000 })).status).toBe('committed');
  });

  it('is rejected when the client closes', async () => {
    const client = await using();
    const waiting = (await client.begin(transfer)).outcome();
    const rejected = expect(waiting).rejects.toThrow(code('CLOSED'));
    await client.close();
    await rejected;
    await expect(client.begin(transfer)).rejects.toThrow(code('CLOSED'));
  });
});

describe('own ids', () => {
  it('are told the first run again, and say so', async () => {
    const client = await using();
    const tx = ownId();
    const first = await client.begin({ ...transfer, tx });
    const second = await client.begin({ ...transfer, tx });
    expect(second.begunAt).not.toBe(first.begunAt);
    const begin = await coordinator.begun(tx);
    const outcome = coordinator.outcome(begin);
    const digest = planDigest(transfer.plan);
    coordinator.known.set(tx, coordinator.found(begin, { outcome, digest }));
    coordinator.tell(outcome);
    expect(await first.outcome()).toEqual(outcome);
    coordinator.tell({ ...outcome, duplicate: true });
    expect(await second.outcome({ timeoutMs: 5_000 })).toEqual({ ...outcome, duplicate: true });
    expect([first.duplicate, second.duplicate]).toEqual([false, true]);
  });

  it('with another plan are a mismatch, also when the first outcome is told to somebody else', async () => {
    const client = await using();
    const tx = ownId();
    const first = await client.begin({ ...transfer, tx });
    const second = await client.begin({ ...other, tx });
    const begin = await coordinator.begun(tx);
    const outcome = coordinator.outcome(begin);
    const until = Date.now() + 86_400_000;
    coordinator.known.set(
      tx,
      coordinator.found(begin, { outcome, digest: planDigest(transfer.plan), until, open: false }),
    );
    coordinator.tell({ ...outcome, duplicate: true });
    expect(await second.outcome({ timeoutMs: 5_000 })).toMatchObject({
      status: 'mismatch',
      run: begin.run,
      at: second.begunAt,
    });
    expect((await first.outcome()).status).toBe('committed');
  });

  it('do not take the outcome of a run whose window has passed', async () => {
    const client = await using();
    const tx = ownId();
    const old = await client.begin({ ...transfer, tx });
    const begin = await coordinator.begun(tx);
    coordinator.tell(coordinator.outcome(begin));
    await old.outcome();
    const fields = { outcome: coordinator.outcome(begin), digest: planDigest(transfer.plan), open: false };
    coordinator.known.set(tx, coordinator.found(begin, { ...fields, until: Date.now() - 1 }));
    const again = await client.begin({ ...transfer, tx });
    await expect(again.outcome({ timeoutMs: 2_500 })).rejects.toThrow(code('OUTCOME_TIMEOUT'));
    expect(coordinator.questions.filter(({ txs }) => txs.includes(tx)).length).toBeGreaterThan(0);
    const second = coordinator.begins.filter(({ envelope }) => envelope.tx === tx)[1];
    if (second === undefined) throw new Error('no second begin');
    coordinator.tell(coordinator.outcome(second, { status: 'aborted' }));
    expect((await again.outcome()).status).toBe('aborted');
  });
});

describe('describe, cancel, signal, watch', () => {
  it('describes the latest run, and says when there is none', async () => {
    const client = await using();
    const { tx } = await client.begin(transfer);
    await expect(client.describe('2pc', tx)).rejects.toThrow(code('TX_NOT_FOUND'));
    const found = coordinator.found(await coordinator.begun(tx));
    coordinator.known.set(tx, found);
    expect(await client.describe('2pc', tx)).toEqual(found);
    await expect(client.describe('2pc', '>')).rejects.toThrow(code('ID_INVALID'));
  });

  it('cancels and signals the run that is there, without headers, once the coordinator knows it', async () => {
    const client = await using();
    const { tx } = await client.begin(transfer);
    const begin = await coordinator.begun(tx);
    const cancelling = client.cancel('2pc', tx, 'changed my mind');
    coordinator.known.set(tx, coordinator.found(begin));
    const { run, at } = await cancelling;
    const signalled = await client.signal('2pc', tx, { name: 'go', verdict: 'approve', data: { n: 1 } });
    const seen = await eventually(() => coordinator.others.length >= 2 && coordinator.others.slice(-2), {
      what: 'both inputs',
    });
    expect(run).toBe(begin.run);
    expect(seen.map(({ envelope }) => envelope)).toEqual([
      { v: 1, tx, run, reason: 'changed my mind' },
      { v: 1, tx, run, name: 'go', verdict: 'approve', data: { n: 1 } },
    ]);
    expect(seen.map((input) => input.at)).toEqual([at, signalled.at]);
    expect(seen.map(({ message }) => [message.subject.split('.')[2], message.headers])).toEqual([
      ['cancel', undefined],
      ['signal', undefined],
    ]);
  });

  it('sends nothing to a run that has ended, and nothing malformed', async () => {
    const client = await using();
    const { tx } = await client.begin(transfer);
    const begin = await coordinator.begun(tx);
    coordinator.known.set(tx, coordinator.found(begin, { open: false, outcome: coordinator.outcome(begin) }));
    expect(await client.cancel('2pc', tx, 'late')).toEqual({ run: begin.run, at: undefined });
    await expect(client.cancel('2pc', tx, '')).rejects.toThrow(code('ENVELOPE_INVALID'));
    await expect(client.signal('2pc', tx, { name: 'a b' })).rejects.toThrow(code('ENVELOPE_INVALID'));
  });

  it('watches reports and the outcome, from before the begin', async () => {
    const client = await using();
    const tx = ownId();
    const events = client.watch('2pc', tx);
    await client.begin({ ...transfer, tx, reply: ['outcome', 'phases'] });
    const begin = await coordinator.begun(tx);
    const report = {
      ...{ v: 1, tx, run: begin.run, step: 'debit', phase: 'prepare', attempt: 1 },
      ...{ cause: { at: begin.at, time: begin.message.timeMs }, answer: 'done' },
    };
    const subject = subjects.response(tx, 'hdfc', 'prepare');
    far.world.bus.publish(subject, new TextEncoder().encode(JSON.stringify([report])));
    const early = coordinator.outcome(begin, { attention: true });
    coordinator.tell(early);
    expect((await events.next()).value).toEqual({ type: 'reported', participant: 'hdfc', report });
    expect((await events.next()).value).toEqual({ type: 'told', outcome: early });
    const last = coordinator.outcome(begin, { status: 'resolved', at: '999.0' });
    coordinator.tell(last);
    const rest: unknown[] = [];
    for await (const event of events) rest.push(event);
    expect(rest).toEqual([{ type: 'ended', outcome: last }]);
  });

  it('ends a watch on a transaction that has long ended, and one that nobody reads', async () => {
    const client = await using({ subscriptionTtlMs: 100 });
    const { tx } = await client.begin(transfer);
    const begin = await coordinator.begun(tx);
    const unread = client.watch('2pc', 'nobody-begins-this');
    const outcome = coordinator.outcome(begin);
    coordinator.known.set(tx, coordinator.found(begin, { open: false, outcome }));
    const events: unknown[] = [];
    for await (const event of client.watch('2pc', tx)) events.push(event);
    expect(events).toEqual([{ type: 'ended', outcome }]);
    await eventually(async () => (await unread.next()).done, { what: 'the end of the unread watch' });
  });
});

describe('a clock that is wrong', () => {
  it('is corrected by a refusal, and run begins once more', async () => {
    const ahead = { ...near.world.clock, wallMs: () => Date.now() + 3_600_000 };
    const { monotonicMs, after } = near.world.clock;
    const clock = {
      ...ahead,
      monotonicMs: monotonicMs.bind(near.world.clock),
      after: after.bind(near.world.clock),
    };
    const client = await using({}, { ...near.world, clock });
    const txs: string[] = [];
    coordinator.onBegin = (begin) => {
      txs.push(begin.envelope.tx);
      const skewed = Math.abs((ulidTimeMs(begin.envelope.tx) ?? 0) - begin.message.timeMs) > 60_000;
      const refusal = { status: 'refused', code: 'clock-skew' } as const;
      coordinator.tell(coordinator.outcome(begin, skewed ? refusal : {}));
    };
    expect((await client.run(transfer, { timeoutMs: 5_000 })).status).toBe('committed');
    expect(txs).toHaveLength(2);
    expect((await client.run(transfer, { timeoutMs: 5_000 })).status).toBe('committed');
    expect(txs).toHaveLength(3);
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
  };
  return { ...world, log };
}

describe('streams', () => {
  it('are what the tests think', async () => {
    expect(await near.world.log.state(streamOf('2pc'))).toMatchObject({ shards: SHARDS });
  });
});
