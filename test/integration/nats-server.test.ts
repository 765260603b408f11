// Goal: an embedded nats-server is private, keeps what it stored through kill -9, and leaves nothing behind.
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';

import {
  type NatsClusterHandle,
  type NatsServerHandle,
  type NatsServerOptions,
  startNatsCluster,
  startNatsServer,
} from '../../src/nats/server/index.ts';
import { eventually } from '../kit/eventually.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** These tests are about servers of our own, also where the rest of the suite is given one. */
const OWN = { ...process.env, NATS_URL: '' };

async function start(options: NatsServerOptions = {}): Promise<NatsServerHandle> {
  const server = await startNatsServer({ env: OWN, ...options });
  stops.push(() => server.stop());
  return server;
}

async function client(server: { url: string }): Promise<NatsConnection> {
  const nc = await connect({
    servers: server.url.split(','),
    reconnectTimeWait: 50,
    maxReconnectAttempts: -1,
  });
  stops.push(() => nc.close());
  return nc;
}

function tempDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'phasor-test-'));
  stops.push(async () => {
    rmSync(dir, { recursive: true, force: true });
  });
  return dir;
}

async function stored(nc: NatsConnection, stream: string): Promise<number> {
  const manager = await jetstreamManager(nc, { timeout: 2_000 });
  return (await manager.streams.info(stream)).state.messages;
}

describe('start and stop', () => {
  it('takes a port of its own and removes its directory', async () => {
    const server = await start();
    const dir = dirname(server.storeDir!);
    expect(server).toMatchObject({ managed: true, running: true, url: `nats://127.0.0.1:${server.port}` });
    expect(server.port).not.toBe(4222);
    expect(existsSync(dir)).toBe(true);
    const nc = await client(server);
    expect(nc.info?.server_name).toBe(server.serverName);
    await nc.close();

    await Promise.all([server.stop(), server.stop()]);
    expect(server).toMatchObject({ running: false, pid: undefined });
    expect(existsSync(dir)).toBe(false);
    await expect(connect({ servers: server.url, reconnect: false })).rejects.toThrow();
    await expect(server.restart()).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('listens on loopback alone, with the options given', async () => {
    const storeDir = tempDir();
    const lines: string[] = [];
    const server = await start({
      storeDir,
      syncInterval: 'always',
      maxPayload: 300_000,
      monitor: true,
      config: 'max_subscriptions: 1234',
      jetstreamConfig: 'max_file_store: 1GB',
      onLog: (line) => lines.push(line),
    });
    const varz = (await (await fetch(`${server.httpUrl}/varz`)).json()) as Record<string, unknown>;
    expect(varz).toMatchObject({
      host: '127.0.0.1',
      http_host: '127.0.0.1',
      max_payload: 300_000,
      max_subscriptions: 1234,
      jetstream: { config: { sync_always: true, max_storage: 2 ** 30 } },
    });
    await eventually(() => lines.some((line) => line.includes('Server is ready')), { what: 'its log line' });
    expect(server.logTail()).toContain('Server is ready');
    await server.stop();
    expect(existsSync(join(storeDir, 'jetstream'))).toBe(true);
  });

  it('serves no monitoring unless asked', async () => {
    const server = await start();
    expect(server.httpUrl).toBeUndefined();
    expect(readFileSync(join(dirname(server.storeDir!), 'nats-server.log'), 'utf8')).not.toContain(
      'http monitor',
    );
  });

  it('does not mistake another server on the port for its own', async () => {
    const first = await start();
    await expect(start({ port: first.port })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`port ${first.port} is in use: choose another`),
    });
    expect(first.running).toBe(true);
  });

  it('says why it did not start, with the end of its log', async () => {
    await expect(start({ config: 'no_such_option_at_all: 1' })).rejects.toMatchObject({
      code: 'NATS_SERVER_START_FAILED',
      message: expect.stringContaining('no_such_option_at_all'),
    });
    await expect(start({ syncInterval: 'soon' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(start({ storeDir: '/tmp/"; port: 4222' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

describe('faults', () => {
  it('keeps a stream through kill -9 and restart, on the same port', async () => {
    const server = await start();
    const nc = await client(server);
    const manager = await jetstreamManager(nc);
    await manager.streams.add({ name: 'KEPT', subjects: ['kept'] });
    for (let i = 0; i < 100; i++) await jetstream(nc).publish('kept', String(i));

    const { pid, port } = server;
    await server.kill();
    expect(server).toMatchObject({ running: false, pid: undefined });
    await server.restart();
    expect(server).toMatchObject({ running: true, port });
    expect(server.pid).not.toBe(pid);
    // The same connection comes back by itself.
    expect(await eventually(() => stored(nc, 'KEPT'), { what: 'the stream after the restart' })).toBe(100);
  });

  it('restarts a running server gracefully', async () => {
    const server = await start();
    const { pid } = server;
    await server.restart();
    expect(server.running).toBe(true);
    expect(server.pid).not.toBe(pid);
    expect(server.logTail(200)).toContain('JetStream Shutdown');
  });

  it('stands still while suspended, and can be stopped gracefully from there', async () => {
    const logFile = join(tempDir(), 'server.log');
    const server = await start({ logFile });
    const nc = await client(server);
    await nc.flush();
    await server.suspend();
    const answered = nc.flush().then(() => 'answered');
    const silence = new Promise((resolve) => setTimeout(resolve, 300, 'silent'));
    expect(await Promise.race([answered, silence])).toBe('silent');
    await server.resume();
    expect(await answered).toBe('answered');

    await server.suspend();
    await nc.close();
    await server.stop();
    expect(server.running).toBe(false);
    expect(readFileSync(logFile, 'utf8')).toContain('JetStream Shutdown');
  });

  it('reports an end that nobody asked for, and no other', async () => {
    const ends: string[] = [];
    const server = await start({ onUnexpectedExit: (what) => ends.push(what) });
    await server.kill('SIGTERM');
    await server.restart();
    await server.restart();
    expect(ends).toEqual([]);
    process.kill(server.pid!, 'SIGKILL');
    await eventually(() => ends.length > 0, { what: 'the report' });
    expect(ends).toEqual(['nats-server ended: signal SIGKILL']);
  });
});

describe('a server that is only borrowed', () => {
  it('is neither stopped nor killed', async () => {
    const server = await start();
    const borrowed = await startNatsServer({ env: { NATS_URL: server.url } });
    expect(borrowed).toMatchObject({ managed: false, origin: 'url', url: server.url, pid: undefined });
    expect(borrowed.version).toBe(server.version);
    await borrowed.stop();
    await expect(borrowed.kill()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await expect(borrowed.restart()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(server.running).toBe(true);
    await (await client(server)).flush();
  });

  it('may be a cluster', async () => {
    const [one, two] = [await start(), await start()];
    const cluster = await startNatsCluster({ env: { NATS_URL: `${one.url},${two.url}` } });
    expect(cluster.servers.map((server) => server.port)).toEqual([one.port, two.port]);
    await cluster.stop();
    expect(one.running && two.running).toBe(true);
  });
});

describe('a cluster of three', () => {
  it('forms, stores with three replicas, and survives the loss of a server', async () => {
    const cluster: NatsClusterHandle = await startNatsCluster({ env: OWN });
    stops.push(() => cluster.stop());
    const dirs = cluster.servers.map((server) => dirname(server.storeDir!));
    expect(new Set(cluster.servers.map((server) => server.port)).size).toBe(3);

    const nc = await client(cluster);
    const manager = await jetstreamManager(nc);
    const created = await manager.streams.add({ name: 'R3', subjects: ['r3'], num_replicas: 3 });
    expect(created.cluster?.replicas).toHaveLength(2);
    await jetstream(nc).publish('r3', 'one');

    const victim = cluster.servers.find((server) => server.serverName === created.cluster?.leader)!;
    await victim.kill();
    await cluster.ready();
    const publish = (): Promise<unknown> =>
      jetstream(nc).publish('r3', 'two', { msgID: 'two', timeout: 2_000 });
    await eventually(publish, { what: 'a publish without the leader', timeoutMs: 20_000 });

    await victim.restart();
    const peers = (): Promise<boolean | undefined> =>
      manager.streams.info('R3').then((info) => info.cluster?.replicas?.every((peer) => peer.current));
    await eventually(peers, { what: 'all replicas current', timeoutMs: 20_000 });
    expect(await stored(nc, 'R3')).toBe(2);

    await nc.close();
    await cluster.stop();
    expect(dirs.filter((dir) => existsSync(dir))).toEqual([]);
  });
});
