import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { GenericContainer, getContainerRuntimeClient, Wait } from 'testcontainers';

import { PhasorError } from '../../src/errors/phasor-error.ts';
import { renderConfig } from '../../src/nats/server/config.ts';
import type { NatsServerHandle, NatsServerOptions } from '../../src/nats/server/index.ts';
import { freePort, readInfo, type ServerInfo } from '../../src/nats/server/probe.ts';

const CONFIG_FILE = '/nats/phasor.conf';
const STORE_DIR = '/nats/store';
const READY_TIMEOUT_MS = 60_000;

export function testImage(): string {
  return process.env['PHASOR_TEST_NATS_IMAGE'] ?? 'nats:2.14';
}

/** One nats-server in a container, behind the same interface as a process; its store lives in the container. */
export async function startContainer(options: NatsServerOptions = {}): Promise<NatsServerHandle> {
  const { container: api } = await runtime();
  const published = await hasBridge(api.dockerode);
  const port = options.port ?? (await freePort());
  const httpPort = options.monitor === true ? await freePort() : undefined;
  const serverName = options.serverName ?? `phasor-${randomBytes(6).toString('hex')}`;

  const host = published ? '0.0.0.0' : '127.0.0.1';
  const route = undefined;
  const content = renderConfig({ options, serverName, host, port, httpPort, storeDir: STORE_DIR, route });
  const image = new GenericContainer(testImage())
    .withCommand(['-c', CONFIG_FILE])
    .withCopyContentToContainer([{ content, target: CONFIG_FILE }])
    .withWaitStrategy(Wait.forLogMessage('Server is ready'))
    .withStartupTimeout(options.readyTimeoutMs ?? READY_TIMEOUT_MS);
  // Bound to the same port inside and out: a restart must not move it.
  const ports = httpPort === undefined ? [port] : [port, httpPort];
  const placed = published
    ? image.withExposedPorts(...ports.map((each) => ({ container: each, host: each })))
    : image.withNetworkMode('host');
  const started = await placed.start();
  const address = published ? started.getHost() : '127.0.0.1';
  return new ContainerServer({
    container: api.getById(started.getId()),
    remove: async () => {
      await started.stop({ remove: true, timeout: 5_000 });
    },
    address,
    port,
    httpPort,
    serverName,
    info: await readyInfo(address, port, serverName),
  });
}

/**
 * Inside a container, testcontainers asks the bridge network where the host is, and fails on a daemon that has none.
 * Such a daemon shares the host's network with its containers, so the address is known.
 */
async function runtime(): ReturnType<typeof getContainerRuntimeClient> {
  try {
    return await getContainerRuntimeClient();
  } catch (error) {
    if (process.env['TESTCONTAINERS_HOST_OVERRIDE'] !== undefined) throw error;
    process.env['TESTCONTAINERS_HOST_OVERRIDE'] = '127.0.0.1';
    return getContainerRuntimeClient();
  }
}

type Api = Awaited<ReturnType<typeof getContainerRuntimeClient>>['container'];

/** A daemon may run without networks of its own; then only the host's is left. */
async function hasBridge(docker: Api['dockerode']): Promise<boolean> {
  const networks = await docker.listNetworks({ filters: { driver: ['bridge'] } });
  return networks.length > 0;
}

async function readyInfo(host: string, port: number, serverName: string): Promise<ServerInfo> {
  const giveUpAt = performance.now() + READY_TIMEOUT_MS;
  let last: unknown;
  while (performance.now() < giveUpAt) {
    try {
      const info = await readInfo(host, port, 2_000);
      if (info.serverName === serverName) return info;
      last = `the port belongs to server ${info.serverName}`;
    } catch (error) {
      last = error;
    }
    await delay(20);
  }
  throw new PhasorError('NATS_SERVER_START_FAILED', `container on port ${port}: ${String(last)}`, { port });
}

interface ContainerSpec {
  readonly container: ReturnType<Api['getById']>;
  readonly remove: () => Promise<void>;
  readonly address: string;
  readonly port: number;
  readonly httpPort: number | undefined;
  readonly serverName: string;
  readonly info: ServerInfo;
}

class ContainerServer implements NatsServerHandle {
  readonly managed = true;
  readonly origin = 'docker';
  readonly pid = undefined;
  readonly storeDir = undefined;
  readonly binary = testImage();
  readonly url: string;
  readonly port: number;
  readonly serverName: string;
  readonly httpUrl: string | undefined;
  running = true;
  private stopped: Promise<void> | undefined;

  constructor(private readonly spec: ContainerSpec) {
    this.port = spec.port;
    this.serverName = spec.serverName;
    this.url = `nats://${spec.address}:${spec.port}`;
    this.httpUrl = spec.httpPort === undefined ? undefined : `http://${spec.address}:${spec.httpPort}`;
  }

  get version(): string {
    return this.spec.info.version;
  }

  logTail(): string {
    return `see: docker logs ${this.spec.container.id}`;
  }

  async stop(): Promise<void> {
    this.running = false;
    this.stopped ??= this.spec.remove();
    await this.stopped;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { container } = this.spec;
    const ends = signal !== 'SIGSTOP' && signal !== 'SIGCONT' && signal !== 'SIGHUP' && signal !== 'SIGUSR1';
    const ended: Promise<unknown> = ends ? container.wait({ condition: 'not-running' }) : Promise.resolve();
    await container.kill({ signal });
    await ended;
    this.running = !ends;
  }

  async restart(): Promise<void> {
    const { container, address, port, serverName } = this.spec;
    if (this.running) await container.stop({ t: 5 });
    await container.start();
    await readyInfo(address, port, serverName);
    this.running = true;
  }

  suspend(): Promise<void> {
    return this.kill('SIGSTOP');
  }

  resume(): Promise<void> {
    return this.kill('SIGCONT');
  }
}
