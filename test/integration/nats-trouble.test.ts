// What only the real server does: standing still, answering late, refusing, being the wrong one.
import { createServer, type Server } from 'node:net';
import type { AddressInfo } from 'node:net';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { BARRIER_BUCKET_PREFIX, barrierBucket } from '../../streams/index.ts';
import type { Subject } from '../../src/kernel/subjects.ts';
import { callApi } from '../../src/nats/api.ts';
import { connectNats, natsWorld, type NatsWorld } from '../../src/nats/index.ts';
import { headersOf } from '../../src/nats/messages.ts';
import { serverConfig } from '../../src/nats/streams-config.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { silentLogger, type Logger } from '../../src/ports/telemetry.ts';
import { eventually } from '../kit/eventually.ts';
import { testNats } from '../kit/nats.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (data: Uint8Array): string => new TextDecoder().decode(data);
const logger = silentLogger;

describe('a server that stands still', () => {
  let server: NatsServerHandle;
  let opened: NatsWorld;
  beforeAll(async () => {
    server = await testNats();
    opened = await natsWorld({ url: server.url, logger, appendTimeoutMs: 400 });
    const body = { name: 'STILL', subjects: ['still.>'] };
    await callApi(opened.connection, { subject: '$JS.API.STREAM.CREATE.STILL', body });
  });
  afterAll(async () => {
    await opened.close();
    await server.stop();
  });

  it('times an append out, which is stored all the same', async (ctx) => {
    ctx.skip(!server.managed, 'the server at NATS_URL is not ours to suspend');
    const { log } = opened.world;
    await server.suspend();
    // A stop signal takes effect a moment later: an append or two may still be answered.
    let stored = 0;
    const append = (): Promise<unknown> => log.append('still.a' as Subject, bytes(`m${stored + 1}`));
    const untilUnanswered = async (): Promise<void> => {
      for (;;) {
        await append();
        stored += 1;
      }
    };
    try {
      await expect(untilUnanswered()).rejects.toMatchObject({ code: 'TIMEOUT', retryable: true });
    } finally {
      await server.resume();
    }
    const late = await eventually(() => log.get('STILL', stored + 1), { what: 'the late message' });
    expect(textOf(late.data)).toBe(`m${stored + 1}`);
  });

  it('does not take its own late write for a defeat', async (ctx) => {
    ctx.skip(!server.managed, 'the server at NATS_URL is not ours to suspend');
    const bucket = await opened.world.keyValue.ensureBucket('still', {});
    const first = await bucket.create('update', bytes('before'));
    await server.suspend();
    const creating = bucket.create('create', bytes('mine'));
    const revision = first.won ? first.revision : 0;
    const updating = bucket.update('update', bytes('mine too'), { revision });
    const resumed = new Promise<void>((resolve, reject) => {
      // After the first attempt's time-out: the server then stores it before it reads the second.
      setTimeout(() => void server.resume().then(resolve, reject), 3_000);
    });
    expect(await creating).toMatchObject({ won: true });
    expect(await updating).toMatchObject({ won: true });
    await resumed;
    expect(textOf((await bucket.get('create'))?.value ?? bytes('?'))).toBe('mine');
    expect(textOf((await bucket.get('update'))?.value ?? bytes('?'))).toBe('mine too');
  });

  it('costs a reader its place once heartbeats are missed', async (ctx) => {
    ctx.skip(!server.managed, 'the server at NATS_URL is not ours to suspend');
    const lost: string[] = [];
    const options = { stream: 'STILL', filters: [], after: 0, onMessage: () => undefined };
    await opened.world.log.read({ ...options, onLost: (why) => void lost.push(why) });
    await server.suspend();
    try {
      await eventually(() => lost.length > 0, { what: 'the loss' });
    } finally {
      await server.resume();
    }
    expect(lost).toEqual(['heartbeats missed']);
    const again = await eventually(
      () => opened.world.log.read({ ...options, onLost: (why) => void lost.push(why) }),
      { what: 'another reader' },
    );
    await again.close();
  });
});

describe('a reader whose consumer somebody else pulls from', () => {
  it('notices the gap, is lost once, and resumes with nothing missing', async () => {
    const server = await testNats();
    const { world, connection, close } = await natsWorld({ url: server.url, logger });
    const { log } = world;
    const body = { name: 'GAP', subjects: ['gap.>'] };
    await callApi(connection, { subject: '$JS.API.STREAM.CREATE.GAP', body });
    const append = (text: string) => log.append('gap.a' as Subject, bytes(text));
    const seen: number[] = [];
    const lost: string[] = [];
    const follow = (after: number) =>
      log.read({
        stream: 'GAP',
        filters: [],
        after,
        onMessage: ({ seq }) => void seen.push(seq),
        onLost: (why) => void lost.push(why),
      });
    await follow(0);
    await append('one');
    await eventually(() => seen.length === 1, { what: 'the first' });
    const { consumers } = await callApi(connection, { subject: '$JS.API.CONSUMER.NAMES.GAP' });
    const stolen: string[] = [];
    connection.nc.subscribe('thief', { callback: (_error, message) => void stolen.push(message.string()) });
    const theft = `$JS.API.CONSUMER.MSG.NEXT.GAP.${(consumers as string[])[0] ?? ''}`;
    connection.nc.publish(theft, '20', { reply: 'thief' });
    for (let index = 2; index <= 40; index += 1) await append(`${index}`);
    await eventually(() => lost.length > 0, { what: 'the loss' });
    expect(stolen.length).toBeGreaterThan(0);
    expect(lost).toEqual([expect.stringContaining('gap')]);
    // The server alternates between the pulls: whatever came in was contiguous.
    expect(seen).toEqual(seen.map((_, index) => index + 1));
    const again = await follow(seen.length);
    await eventually(() => seen.length === 40, { what: 'the rest' });
    expect(seen).toEqual(seen.map((_, index) => index + 1));
    expect(lost.length).toBe(1);
    await again.close();
    await close();
    await server.stop();
  });
});

describe('a bucket that others write too', () => {
  let server: NatsServerHandle;
  let opened: NatsWorld;
  beforeAll(async () => {
    server = await testNats();
    opened = await natsWorld({ url: server.url, logger });
  });
  afterAll(async () => {
    await opened.close();
    await server.stop();
  });

  const raw = async (subject: string, headers: Readonly<Record<string, string>>): Promise<void> => {
    const { replies } = opened.connection;
    await replies.request({ subject, data: bytes(''), headers: headersOf(headers), timeoutMs: 2_000 });
  };

  it('takes tombstones and expiry markers for nothing, and creates over them', async () => {
    const body = {
      name: 'KV_marked',
      subjects: ['$KV.marked.>'],
      max_msgs_per_subject: 1,
      allow_rollup_hdrs: true,
      allow_msg_ttl: true,
      subject_delete_marker_ttl: 60_000_000_000,
    };
    await callApi(opened.connection, { subject: '$JS.API.STREAM.CREATE.KV_marked', body });
    const bucket = await opened.world.keyValue.bucket('marked');
    await bucket.create('deleted', bytes('x'));
    await raw('$KV.marked.deleted', { 'KV-Operation': 'DEL' });
    await bucket.create('purged', bytes('x'));
    await raw('$KV.marked.purged', { 'KV-Operation': 'PURGE', 'Nats-Rollup': 'sub' });
    const expired = await bucket.create('expired', bytes('x'), { ttlMs: 1_000 });
    await eventually(async () => (await bucket.get('expired')) === undefined, { what: 'expiry' });
    expect(await bucket.keys()).toEqual([]);
    const { state } = await callApi(opened.connection, { subject: '$JS.API.STREAM.INFO.KV_marked' });
    expect(state).toMatchObject({ messages: 3 });
    const revision = expired.won ? expired.revision : 0;
    expect(await bucket.update('expired', bytes('y'), { revision })).toEqual({
      won: false,
      current: undefined,
    });
    for (const key of ['deleted', 'purged', 'expired']) {
      expect(await bucket.get(key)).toBeUndefined();
      expect(await bucket.create(key, bytes('again'))).toMatchObject({ won: true });
      expect(await bucket.create(key, bytes('no'))).toMatchObject({ won: false });
    }
    expect([...(await bucket.keys())].sort()).toEqual(['deleted', 'expired', 'purged']);
  });

  it('is made for a participant as streams/ describes it', async () => {
    const participant = 'payment';
    await opened.world.keyValue.ensureBucket(`${BARRIER_BUCKET_PREFIX}${participant}`, { replicas: 1 });
    const spec = barrierBucket(participant);
    const { config } = await callApi(opened.connection, { subject: `$JS.API.STREAM.INFO.${spec.name}` });
    // The server leaves out what is off.
    const wanted = Object.entries(serverConfig(spec)).filter(([, value]) => value !== false);
    expect(config).toMatchObject({ ...Object.fromEntries(wanted), metadata: expect.anything() });
    expect(config).not.toHaveProperty('allow_msg_schedules', true);
    expect(config).not.toHaveProperty('allow_rollup_hdrs', true);
  });
});

describe('a durable consumer that is there already', () => {
  let server: NatsServerHandle;
  let opened: NatsWorld;
  const warnings: string[] = [];
  const noting: Logger = { ...silentLogger, warn: (_details, message) => void warnings.push(message) };
  beforeAll(async () => {
    server = await testNats();
    opened = await natsWorld({ url: server.url, logger: noting });
    const body = { name: 'DUR', subjects: ['dur.*'] };
    await callApi(opened.connection, { subject: '$JS.API.STREAM.CREATE.DUR', body });
  });
  afterAll(async () => {
    await opened.close();
    await server.stop();
  });

  const make = async (name: string, config: object): Promise<void> => {
    const subject = `$JS.API.CONSUMER.CREATE.DUR.${name}`;
    const body = { stream_name: 'DUR', config: { durable_name: name, filter_subject: 'dur.a', ...config } };
    await callApi(opened.connection, { subject, body });
  };
  const open = (durable: string) =>
    opened.world.work.open({
      stream: 'DUR',
      durable,
      filters: ['dur.a' as Subject],
      ackWaitMs: 5_000,
      onDelivery: (delivery) => delivery.ack(),
    });

  it('is kept with its own settings, and somebody is told', async () => {
    await make('slow', { ack_policy: 'explicit', ack_wait: 77_000_000_000 });
    await (await open('slow')).close();
    const { config } = await callApi(opened.connection, { subject: '$JS.API.CONSUMER.INFO.DUR.slow' });
    expect(config).toMatchObject({ ack_wait: 77_000_000_000 });
    expect(warnings).toEqual(['nats: the consumer was made with other settings']);
  });

  it.each([
    ['other', { ack_policy: 'explicit', filter_subject: 'dur.b' }, 'has other filters: dur.b'],
    ['careless', { ack_policy: 'none' }, 'does not take explicit acks'],
    ['push', { ack_policy: 'explicit', deliver_subject: 'push.to' }, 'is a push consumer'],
  ])('is refused when it cannot serve: %s', async (name, config, why) => {
    await make(name, config);
    await expect(open(name)).rejects.toMatchObject({ code: 'STREAM_MISMATCH' });
    await expect(open(name)).rejects.toThrow(why);
  });
});

describe('connecting', () => {
  it('names the URL without its credentials when nobody is there', async () => {
    const connecting = connectNats({ url: 'nats://me:secret@127.0.0.1:1', logger, connectTimeoutMs: 2_000 });
    await expect(connecting).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
      details: { url: 'nats://127.0.0.1:1' },
    });
    await expect(connecting).rejects.not.toThrow('secret');
  });

  it.each(['', 'nats://', 'nats://host:x'])('refuses %j as a URL', async (url) => {
    await expect(connectNats({ url, logger })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });

  it('logs in with the credentials of the URL, into accounts with and without JetStream', async () => {
    const config = `accounts {
      WITH { jetstream: enabled, users: [{user: with, password: "p%"}] }
      WITHOUT { users: [{user: without, password: p}] }
    }`;
    const server = await testNats({ config });
    try {
      const at = (login: string): string => server.url.replace('://', `://${login}@`);
      const connected = await connectNats({ url: at('with:p%25'), logger });
      expect(connected.state).toBe('connected');
      await connected.close();
      const without = connectNats({ url: at('without:p'), logger });
      await expect(without).rejects.toMatchObject({ code: 'JETSTREAM_UNAVAILABLE' });
      const stranger = connectNats({ url: at('with:wrong'), logger });
      await expect(stranger).rejects.toMatchObject({ code: 'CONNECTION_FAILED' });
    } finally {
      await server.stop();
    }
  });

  it('refuses a server that is too old', async () => {
    const old = await fakeServer({ version: '2.11.9', jetstream: true });
    const { port } = old.address() as AddressInfo;
    const connecting = connectNats({ url: `127.0.0.1:${port}`, logger });
    await expect(connecting).rejects.toMatchObject({ code: 'SERVER_TOO_OLD' });
    old.close();
  });

  it('refuses everything after close', async () => {
    const server = await testNats();
    const opened = await natsWorld({ url: server.url, logger });
    await opened.close();
    await opened.close();
    const { log, bus } = opened.world;
    const subject = 'x.y' as Subject;
    await expect(log.append(subject, bytes('x'))).rejects.toMatchObject({ code: 'CLOSED' });
    expect(() => bus.publish(subject, bytes('x'))).toThrow('CLOSED');
    await server.stop();
  });
});

/** Greets like a nats-server and answers pings, no more. */
function fakeServer(info: object): Promise<Server> {
  const server = createServer((socket) => {
    const greeting = { server_id: 'F', max_payload: 1_048_576, proto: 1, headers: true, ...info };
    socket.write(`INFO ${JSON.stringify(greeting)}\r\n`);
    socket.on('error', () => socket.destroy());
    socket.on('data', (data) => {
      if (data.toString().includes('PING')) socket.write('PONG\r\n');
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}
