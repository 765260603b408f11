// Goal: streams are what streams/ says, applying is idempotent, and nothing that would lose data is ever changed.
// Method: a real nats-server, drift planted through the JetStream API; fake servers for what is too old.
import { createServer } from 'node:net';
import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  barrierBucket,
  deadLetterStream,
  outcomesBucket,
  PATTERN_STREAMS,
  STREAMS,
  timerStream,
} from '../../streams/index.ts';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import { DEAD_LETTER_STREAM, streamOf, TIMER_STREAM } from '../../src/kernel/subjects.ts';
import { PATTERNS } from '../../src/kernel/vocabulary.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { applyStreams, diffStreams, ensureStreams, listStreams } from '../../src/nats/streams.ts';
import { testCluster, testNats } from '../kit/nats.ts';

const SAGA = 'DTX_SAGA_STREAM';
let server: NatsServerHandle;
let nc: NatsConnection;
let jsm: JetStreamManager;

beforeAll(async () => {
  server = await testNats();
  nc = await connect({ servers: server.url });
  jsm = await jetstreamManager(nc);
});
afterAll(async () => {
  await nc.close();
  await server.stop();
});
afterEach(async () => {
  for await (const { config } of jsm.streams.list()) await jsm.streams.delete(config.name);
});

const refusal = async (work: Promise<unknown>): Promise<PhasorError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!PhasorError.is(error)) throw new Error(`expected a PhasorError, got ${String(error)}`);
  return error;
};
const driftOf = async (stream: string): Promise<Record<string, string>> => {
  const diff = (await diffStreams(nc)).find((each) => each.stream === stream);
  return Object.fromEntries((diff?.drift ?? []).map((each) => [each.field, each.verdict]));
};

describe('the data', () => {
  it('names what the kernel names', () => {
    expect(PATTERN_STREAMS.map(({ name, pattern }) => [pattern, name])).toEqual(
      PATTERNS.map((pattern) => [pattern, streamOf(pattern)]),
    );
    expect([deadLetterStream.name, timerStream.name]).toEqual([DEAD_LETTER_STREAM, TIMER_STREAM]);
    expect(outcomesBucket.bucket).toBe('DTX_OUTCOMES');
    expect(barrierBucket('payment').name).toBe('KV_DTX_BARRIER_payment');
    expect(() => barrierBucket('*')).toThrow(TypeError);
  });

  it('gives no publisher of a log a header to forge or wipe it with', () => {
    for (const { flags, maxAgeMs, discard } of PATTERN_STREAMS) {
      const { allowRollup, allowMsgTtl, allowMsgSchedules, allowAtomic, denyDelete } = flags;
      expect([allowRollup, allowMsgTtl, allowMsgSchedules, allowAtomic]).toEqual([
        false,
        false,
        false,
        false,
      ]);
      expect({ denyDelete, maxAgeMs, discard }).toEqual({ denyDelete: true, maxAgeMs: 0, discard: 'new' });
    }
  });

  it('says for each stream who writes, who reads, how long and why', () => {
    for (const { contract } of STREAMS) {
      for (const text of Object.values(contract)) expect(text).toMatch(/\w{3}/);
    }
  });
});

describe('apply', () => {
  it('makes every stream as the server then shows it, and is a no-op from then on', async () => {
    const first = await applyStreams(nc, { shards: 8, participants: ['payment'] });
    expect(first.map(({ stream }) => stream)).toEqual(
      [...STREAMS, barrierBucket('payment')].map(({ name }) => name),
    );
    expect(new Set(first.map(({ action }) => action))).toEqual(new Set(['created']));
    const { config } = await jsm.streams.info(SAGA);
    expect(config).toMatchObject({
      subjects: ['saga.*.*', 'saga.*.*.*'],
      retention: 'limits',
      discard: 'new',
      max_age: 0,
      max_msg_size: 266_240,
      duplicate_window: 120_000_000_000,
      deny_delete: true,
      allow_rollup_hdrs: false,
      metadata: { shards: '8', dedupWindow: '86400000' },
    });
    const before = (await listStreams(nc)).map(({ found }) => found?.created);

    const second = await applyStreams(nc);
    expect(second).toHaveLength(first.length);
    expect(new Set(second.map(({ action }) => action))).toEqual(new Set(['unchanged']));
    expect((await diffStreams(nc)).filter(({ state }) => state !== 'same')).toEqual([]);
    expect((await listStreams(nc)).map(({ found }) => found?.created)).toEqual(before);
  });

  it('makes the same streams when two do it at once', async () => {
    const other = await connect({ servers: server.url });
    await Promise.all([ensureStreams(nc, { shards: 2 }), ensureStreams(other, { shards: 2 })]);
    await other.close();
    expect((await diffStreams(nc, { shards: 2 })).every(({ state }) => state === 'same')).toBe(true);
  });

  it('makes only the logs asked for, and what all patterns share', async () => {
    await applyStreams(nc, { patterns: ['saga'], storage: 'memory' });
    const there = (await listStreams(nc)).filter(({ found }) => found !== undefined);
    expect(there.map(({ spec }) => spec.name)).toEqual([
      SAGA,
      DEAD_LETTER_STREAM,
      TIMER_STREAM,
      'KV_DTX_OUTCOMES',
      'KV_DTX_GATE',
    ]);
    expect(there.map(({ found }) => found?.storage)).toEqual(there.map(() => 'memory'));
  });

  it('stores inputs and commands, refuses forging headers, and takes a life per key', async () => {
    await ensureStreams(nc);
    const js = jetstream(nc);
    await js.publish('saga.payment.report.3', '[]');
    await js.publish('saga.payment.execute', '[]');
    await expect(js.publish('saga.payment.execute', '[]', { ttl: '5s' })).rejects.toThrow();
    await expect(jsm.streams.deleteMessage(SAGA, 1)).rejects.toThrow();
    await js.publish('$KV.DTX_OUTCOMES.saga.tx-1', '{}', { ttl: '60s' });
    await js.publish('dead.saga.payment', '[]');
    const schedule = { specification: { at: new Date(Date.now() + 200) }, target: 'timer.saga.0.due.t1' };
    await js.publish('timer.saga.0.at.t1', '{}', { schedule });
    await expect
      .poll(() => jsm.streams.getMessage(TIMER_STREAM, { last_by_subj: 'timer.saga.0.due.t1' }))
      .toMatchObject({ subject: 'timer.saga.0.due.t1' });
    expect((await diffStreams(nc)).filter(({ state }) => state !== 'same')).toEqual([]);
  });
});

describe('on a cluster', () => {
  it('keeps the replicas once chosen, also for streams that come later', async () => {
    const cluster = await testCluster();
    const there = await connect({ servers: [...cluster.urls] });
    await applyStreams(there, { replicas: 3, patterns: ['saga'] });
    const later = await applyStreams(there, { patterns: ['saga'], participants: ['payment'] });
    expect(later.map(({ action }) => action)).toEqual([...later.slice(1).map(() => 'unchanged'), 'created']);
    const listed = await listStreams(there, { patterns: ['saga'] });
    expect(listed.map(({ found }) => found?.replicas)).toEqual(listed.map(() => 3));
    await there.close();
    await cluster.stop();
  });
});

describe('drift', () => {
  it('is shown field by field and put right where that is safe', async () => {
    await ensureStreams(nc);
    const { config } = await jsm.streams.info(SAGA);
    await jsm.streams.update(SAGA, {
      description: 'changed by hand',
      max_msg_size: 1_000,
      max_age: 600_000_000_000,
      allow_direct: false,
      allow_rollup_hdrs: true,
      subjects: ['saga.*.*'],
      metadata: { ...config.metadata, team: 'payments' },
    });
    const changes = {
      description: 'update',
      max_msg_size: 'update',
      max_age: 'update',
      allow_direct: 'update',
      allow_rollup_hdrs: 'update',
      subjects: 'update',
    };
    expect(await driftOf(SAGA)).toEqual(changes);
    expect(await driftOf('DTX_2PC_STREAM')).toEqual({});

    const applied = await applyStreams(nc, { maxBytes: 2 ** 31 });
    const saga = applied.find(({ stream }) => stream === SAGA);
    expect(saga?.action).toBe('updated');
    expect(saga?.changes.map(({ field }) => field).sort()).toEqual(
      [...Object.keys(changes), 'max_bytes'].sort(),
    );
    const after = (await jsm.streams.info(SAGA)).config;
    expect(after).toMatchObject({ max_bytes: 2 ** 31, allow_rollup_hdrs: false, max_age: 0 });
    expect(after.metadata?.['team']).toBe('payments');
    expect(await driftOf(SAGA)).toEqual({});
  });

  it('shows missing streams', async () => {
    await ensureStreams(nc);
    await jsm.streams.delete(SAGA);
    const missing = (await diffStreams(nc)).filter(({ state }) => state === 'missing');
    expect(missing.map(({ stream }) => stream)).toEqual([SAGA]);
    expect((await listStreams(nc)).find(({ spec }) => spec.name === SAGA)?.found).toBeUndefined();
  });
});

describe('refuses', () => {
  const cases: {
    readonly name: string;
    readonly field: string;
    readonly plant?: Parameters<JetStreamManager['streams']['update']>[1];
    readonly options?: Parameters<typeof applyStreams>[1];
  }[] = [
    { name: 'another number of shards', field: 'metadata.shards', options: { shards: 5 } },
    { name: 'other storage', field: 'storage', options: { storage: 'memory' } },
    {
      name: 'a subject removed',
      field: 'subjects',
      plant: { subjects: ['saga.*.*', 'saga.*.*.*', 'more.>'] },
    },
    { name: 'another discard policy', field: 'discard', plant: { discard: 'old' } },
    { name: 'a lowered duplicate window', field: 'duplicate_window', plant: { duplicate_window: 180e9 } },
    { name: 'a TTL that was allowed', field: 'allow_msg_ttl', plant: { allow_msg_ttl: true } },
    { name: 'a purge that was denied', field: 'deny_purge', plant: { deny_purge: true } },
    {
      name: 'another dedup window',
      field: 'metadata.dedupWindow',
      plant: { metadata: { shards: '4', dedupWindow: '1000' } },
    },
  ];
  for (const { name, field, plant, options } of cases) {
    it(`${name}, before anything is changed`, async () => {
      await ensureStreams(nc);
      if (plant !== undefined) await jsm.streams.update(SAGA, plant);
      await jsm.streams.update('DTX_2PC_STREAM', { description: 'changed by hand' });
      const error = await refusal(applyStreams(nc, options));
      expect(error).toMatchObject({ code: 'STREAM_CHANGE_REFUSED', details: { field } });
      expect(error.details['refused']).toContainEqual(expect.stringContaining(`${SAGA}: ${field} is `));
      expect((await jsm.streams.info('DTX_2PC_STREAM')).config.description).toBe('changed by hand');
    });
  }

  it('another retention', async () => {
    const subjects = ['saga.*.*', 'saga.*.*.*'];
    await jsm.streams.add({ name: SAGA, subjects, retention: 'workqueue' });
    const error = await refusal(applyStreams(nc));
    expect(error.code).toBe('STREAM_CHANGE_REFUSED');
    expect(error.message).toMatch(/DTX_SAGA_STREAM: retention is workqueue, wanted limits/);
  });

  it('more than one revision a key cut down to one, once there are keys', async () => {
    await ensureStreams(nc);
    const gate = 'KV_DTX_GATE';
    await jsm.streams.update(gate, { max_msgs_per_subject: 5 });
    expect(await driftOf(gate)).toEqual({ max_msgs_per_subject: 'update' });
    await jetstream(nc).publish('$KV.DTX_GATE.saga', '{}');
    expect(await driftOf(gate)).toEqual({ max_msgs_per_subject: 'refuse' });
  });

  it('a max_bytes below what the stream holds, but not one above', async () => {
    await ensureStreams(nc);
    const js = jetstream(nc);
    const body = new Uint8Array(250_000);
    for (let i = 0; i < 5; i += 1) await js.publish('saga.payment.report.0', body);
    const error = await refusal(applyStreams(nc, { maxBytes: 1_048_576 }));
    expect(error.details).toMatchObject({ stream: SAGA, field: 'max_bytes', want: '1048576' });
    await applyStreams(nc, { maxBytes: 2_097_152 });
    expect((await jsm.streams.info(SAGA)).config.max_bytes).toBe(2_097_152);
  });

  it('a mirror or sources in place of a log', async () => {
    await jsm.streams.add({ name: 'OTHER', subjects: ['other.>'] });
    await jsm.streams.add({ name: SAGA, mirror: { name: 'OTHER' } });
    const error = await refusal(applyStreams(nc));
    expect(error.message).toMatch(/DTX_SAGA_STREAM: mirror is \{"name":"OTHER"/);
  });

  it('options out of range, naming them', async () => {
    for (const [options, option] of [
      [{ replicas: 6 }, 'replicas'],
      [{ shards: 0 }, 'shards'],
      [{ maxBytes: 5 }, 'max-bytes'],
      [{ participants: ['a.b'] }, 'participant'],
    ] as const) {
      const error = await refusal(applyStreams(nc, options));
      expect(error).toMatchObject({ code: 'CONFIG_INVALID', details: { option } });
    }
  });
});

describe('the server', () => {
  it('may refuse by itself; its reason is told', async () => {
    await jsm.streams.add({ name: 'OTHER', subjects: ['saga.>'] });
    const overlap = await refusal(applyStreams(nc));
    expect(overlap.code).toBe('STREAM_APPLY_FAILED');
    expect(overlap.message).toMatch(/DTX_SAGA_STREAM: subjects overlap.*saga\.\*\.\*/);
    await jsm.streams.delete('OTHER');
  });

  it('alone takes no replicas, also not for streams that exist', async () => {
    await applyStreams(nc);
    const refused = await refusal(applyStreams(nc, { replicas: 3 }));
    expect(refused).toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('need a cluster'),
    });
  });

  it('without JetStream is named', async () => {
    const fake = await fakeServer('2.14.0');
    const plain = await connect({ servers: fake.url });
    const error = await refusal(applyStreams(plain));
    await plain.close();
    fake.close();
    expect(error).toMatchObject({ code: 'JETSTREAM_UNAVAILABLE', exitCode: 69 });
  });

  it('too old is named with its version', async () => {
    const fake = await fakeServer('2.10.0');
    const old = await connect({ servers: fake.url });
    const error = await refusal(diffStreams(old));
    await old.close();
    fake.close();
    expect(error).toMatchObject({ code: 'SERVER_TOO_OLD', details: { version: '2.10.0' } });
  });
});

/** Greets as a nats-server without JetStream would, answers pings, and says "no responders" to every request. */
async function fakeServer(version: string): Promise<{ readonly url: string; close(): void }> {
  const greeting = { server_id: 'fake', version, proto: 1, headers: true, max_payload: 1_048_576 };
  const sockets = new Set<{ destroy(): void }>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.write(`INFO ${JSON.stringify(greeting)}\r\n`);
    let sid = '1';
    socket.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split('\r\n')) {
        const [verb, subject = '', ...rest] = line.split(' ');
        if (verb === 'PING') socket.write('PONG\r\n');
        if (verb === 'SUB') sid = rest.at(-1) ?? sid;
        if (verb === 'PUB' && subject.startsWith('$JS.API')) {
          socket.write(`HMSG ${rest[0] ?? ''} ${sid} 16 16\r\nNATS/1.0 503\r\n\r\n\r\n`);
        }
      }
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `nats://127.0.0.1:${address.port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      listener.close();
    },
  };
}
