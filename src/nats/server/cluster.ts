import { jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { PhasorError } from '../../errors/phasor-error.ts';
import { borrowServer } from './borrowed.ts';
import { type ManagedSource, startManaged } from './managed.ts';
import type {
  NatsClusterHandle,
  NatsClusterOptions,
  NatsServerHandle,
  NatsServerOptions,
} from './options.ts';
import { freePort } from './probe.ts';
import { resolveServer } from './resolve.ts';
import { contextOf } from './start.ts';

const DEFAULT_SIZE = 3;
const READY_TIMEOUT_MS = 60_000;
const START_ATTEMPTS = 3;

/**
 * Starts a JetStream cluster on this machine (default: three servers) and resolves once it has a meta leader that
 * accepts a stream with as many replicas (at most 5). With NATS_URL: borrows the servers named there, one handle each.
 *
 * `storeDir` holds one directory per server, by name (`n1`, `n2`, …). See `startNatsServer` for the rest.
 *
 * @throws {PhasorError} as `startNatsServer`; NATS_SERVER_START_FAILED also when no leader appears in time.
 */
export async function startNatsCluster(options: NatsClusterOptions = {}): Promise<NatsClusterHandle> {
  const size = options.size ?? DEFAULT_SIZE;
  if (!Number.isInteger(size) || size < 1 || size > 9) {
    throw new PhasorError('CONFIG_INVALID', 'size must be 1..9', { option: 'size', value: size });
  }
  const source = await resolveServer(contextOf(options));
  if (source.origin === 'url') {
    const servers = await Promise.all(source.url.split(',').map((url) => borrowServer(url.trim())));
    return clusterHandle(servers);
  }
  for (let attempt = 1; ; attempt++) {
    const servers: NatsServerHandle[] = [];
    try {
      await startAll({ source, options, size, servers });
      const cluster = clusterHandle(servers);
      await cluster.ready(options.readyTimeoutMs);
      return cluster;
    } catch (error) {
      // Route ports are chosen before the servers bind them: losing one is rare, and worth another set.
      const lostPort = String(error).includes('address already in use');
      await Promise.all(servers.map((server) => server.stop()));
      if (!lostPort || attempt === START_ATTEMPTS) throw error;
    }
  }
}

interface StartAll {
  readonly source: ManagedSource;
  readonly options: NatsClusterOptions;
  readonly size: number;
  /** Filled as they start, so that the caller can stop those that did. */
  readonly servers: NatsServerHandle[];
}

async function startAll({ source, options, size, servers }: StartAll): Promise<void> {
  const clusterName = `phasor-${randomBytes(6).toString('hex')}`;
  const routePorts = new Set<number>();
  while (routePorts.size < size) routePorts.add(await freePort());
  for (const port of routePorts) {
    const member = memberOptions(options, clusterName, servers.length + 1);
    servers.push(await startManaged(source, member, { clusterName, port, peers: [...routePorts] }));
  }
}

function memberOptions(options: NatsClusterOptions, clusterName: string, number: number): NatsServerOptions {
  const { size: _size, onLog, storeDir, ...shared } = options;
  const serverName = `${clusterName}-n${number}`;
  return {
    ...shared,
    serverName,
    ...(storeDir === undefined ? {} : { storeDir: join(storeDir, `n${number}`) }),
    ...(onLog === undefined ? {} : { onLog: (line: string) => onLog(line, serverName) }),
  };
}

function clusterHandle(servers: readonly NatsServerHandle[]): NatsClusterHandle {
  const urls = servers.map((server) => server.url);
  return {
    url: urls.join(','),
    urls,
    servers,
    version: servers[0]?.version ?? '',
    ready: (timeoutMs = READY_TIMEOUT_MS) => untilReady(servers, timeoutMs),
    stop: async () => {
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

async function untilReady(servers: readonly NatsServerHandle[], timeoutMs: number): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  const running = servers.filter((server) => server.running);
  let last: unknown = 'not asked yet';
  while (performance.now() < giveUpAt) {
    const ended = running.find((server) => !server.running);
    if (ended !== undefined) {
      throw new PhasorError('NATS_SERVER_START_FAILED', `${ended.serverName} ended\n${ended.logTail()}\n`);
    }
    try {
      for (const server of running) await probe(server.url, servers.length, running.length);
      return;
    } catch (error) {
      last = error;
      await delay(100);
    }
  }
  const tails = running.map((server) => `${server.serverName}:\n${server.logTail(5)}`).join('\n');
  throw new PhasorError(
    'NATS_SERVER_START_FAILED',
    `no meta leader within ${timeoutMs} ms: ${String(last)}\n${tails}\n`,
  );
}

/**
 * The meta leader may not know its peers yet when it first answers. Only a replicated stream that it accepts, and that
 * has a leader, proves that they can be used; with a server down, an answer must do.
 */
async function probe(url: string, size: number, running: number): Promise<void> {
  const nc = await connect({ servers: url, timeout: 2_000, reconnect: false, ignoreClusterUpdates: true });
  try {
    // A request before the election is never answered: better asked again soon than waited for.
    await (await jetstreamManager(nc, { timeout: 500, checkAPI: false })).getAccountInfo();
    if (running < size || size > 5) return;
    const manager = await jetstreamManager(nc, { timeout: 5_000, checkAPI: false });
    const name = `PHASOR_PROBE_${randomBytes(6).toString('hex')}`;
    await manager.streams.add({
      name,
      subjects: [`_phasor.probe.${name}`],
      num_replicas: size,
      storage: StorageType.Memory,
      retention: RetentionPolicy.Limits,
    });
    await manager.streams.delete(name);
  } finally {
    await nc.close();
  }
}
