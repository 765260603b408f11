import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { PhasorError } from '../../errors/phasor-error.ts';
import { type RouteConfig, renderConfig } from './config.ts';
import { createGuardian, type Guardian } from './guardian.ts';
import {
  dockerLauncher,
  hasBridgeNetwork,
  type LaunchFiles,
  type Launcher,
  processLauncher,
  type ServerRun,
  tailOf,
} from './launch.ts';
import type { NatsServerHandle, NatsServerOptions, NatsServerOrigin } from './options.ts';
import { freePort, readInfo, requireSupported, type ServerInfo } from './probe.ts';
import type { ServerSource } from './resolve.ts';

export type ManagedSource = Exclude<ServerSource, { origin: 'url' }>;

const READY_TIMEOUT_MS = 30_000;
/** The image may have to be pulled first. */
const DOCKER_READY_TIMEOUT_MS = 120_000;
const GRACE_MS = 5_000;
const STANDSTILL_MS = 2_000;
const PORT_ATTEMPTS = 10;
const TAIL_LINES = 20;
const ENDING: readonly NodeJS.Signals[] = ['SIGKILL', 'SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGABRT', 'SIGUSR2'];

/** Starts one server; a port that somebody else took in between is replaced unless the caller named it. */
export async function startManaged(
  source: ManagedSource,
  options: NatsServerOptions,
  route?: RouteConfig,
): Promise<NatsServerHandle> {
  const place = await placeOf(source, options.env ?? process.env);
  if (place.published && route !== undefined) {
    throw new PhasorError(
      'NATS_SERVER_NOT_FOUND',
      'a cluster needs a nats-server executable, not Docker alone',
    );
  }
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const httpPort = options.monitor === true ? await freePort() : undefined;
    const server = new ManagedServer({ source, options, route, place, port, httpPort });
    try {
      await server.start();
      return server;
    } catch (error) {
      const tail = server.logTail();
      const lostPort = tail.includes('address already in use');
      await server.stop();
      if (lostPort && options.port !== undefined && tail.includes(`:${options.port}: `)) {
        const what = `port ${options.port} is in use: choose another`;
        throw new PhasorError(
          'CONFIG_INVALID',
          what,
          { option: 'port', port: options.port },
          { cause: error },
        );
      }
      if (!lostPort || options.port !== undefined || route !== undefined || attempt === PORT_ATTEMPTS)
        throw error;
    }
  }
}

interface Place {
  readonly launcher: (ports: readonly number[]) => Launcher;
  /** The server runs in a network of its own; its ports are published to 127.0.0.1. */
  readonly published: boolean;
  readonly binary: string;
}

async function placeOf(source: ManagedSource, env: NodeJS.ProcessEnv): Promise<Place> {
  if (source.origin !== 'docker') {
    return { launcher: () => processLauncher(source.binary), published: false, binary: source.binary };
  }
  const published = await hasBridgeNetwork(env);
  return {
    launcher: (ports) => dockerLauncher({ image: source.image, publish: published ? ports : undefined }),
    published,
    binary: source.image,
  };
}

interface ManagedSpec {
  readonly source: ManagedSource;
  readonly options: NatsServerOptions;
  readonly route: RouteConfig | undefined;
  readonly place: Place;
  readonly port: number;
  readonly httpPort: number | undefined;
}

class ManagedServer implements NatsServerHandle {
  readonly managed = true;
  readonly port: number;
  readonly url: string;
  readonly storeDir: string;
  readonly serverName: string;
  readonly origin: NatsServerOrigin;
  readonly binary: string;
  readonly httpUrl: string | undefined;
  private readonly options: NatsServerOptions;
  private readonly guardian: Guardian;
  private readonly launcher: Launcher;
  private readonly files: LaunchFiles;
  private readonly configText: string;
  private run: ServerRun | undefined;
  private info: ServerInfo | undefined;
  private endIsExpected = false;
  private stopped: Promise<void> | undefined;

  constructor(spec: ManagedSpec) {
    const { options, port, httpPort, place } = spec;
    this.options = options;
    this.port = port;
    this.url = `nats://127.0.0.1:${port}`;
    this.httpUrl = httpPort === undefined ? undefined : `http://127.0.0.1:${httpPort}`;
    this.origin = spec.source.origin;
    this.binary = place.binary;
    this.serverName = options.serverName ?? `phasor-${randomBytes(6).toString('hex')}`;
    this.guardian = createGuardian();
    const { dir } = this.guardian;
    this.storeDir = resolve(options.storeDir ?? join(dir, 'store'));
    this.launcher = place.launcher(httpPort === undefined ? [port] : [port, httpPort]);
    this.files = {
      dir,
      configFile: join(dir, 'nats-server.conf'),
      storeDir: this.storeDir,
      logFile: resolve(options.logFile ?? join(dir, 'nats-server.log')),
      onLog: options.onLog,
    };
    try {
      this.configText = renderConfig({
        options,
        serverName: this.serverName,
        host: place.published ? '0.0.0.0' : '127.0.0.1',
        port,
        httpPort,
        storeDir: this.storeDir.replaceAll('\\', '/'),
        route: spec.route,
      });
    } catch (error) {
      this.guardian.release();
      throw error;
    }
  }

  get pid(): number | undefined {
    return this.running ? this.run?.pid : undefined;
  }

  get running(): boolean {
    return this.run !== undefined && !this.run.hasEnded();
  }

  get version(): string {
    return this.info?.version ?? '';
  }

  logTail(lines = TAIL_LINES): string {
    return tailOf(this.files.logFile, lines);
  }

  async start(): Promise<void> {
    mkdirSync(this.storeDir, { recursive: true });
    writeFileSync(this.files.configFile, this.configText);
    const run = this.launcher(this.files);
    this.run = run;
    this.endIsExpected = true;
    this.guardian.watch(run.guardTarget);
    void run.ended.then((how) => this.onEnd(run, how));
    this.info = await this.untilReady(run);
    requireSupported(this.info.version, this.binary);
    this.endIsExpected = false;
  }

  async stop(): Promise<void> {
    this.stopped ??= this.end().then(() => this.guardian.release());
    await this.stopped;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { run } = this;
    if (run === undefined || run.hasEnded()) return;
    if (!ENDING.includes(signal)) return run.signal(signal);
    this.endIsExpected = true;
    await run.signal(signal);
    if (await endsWithin(run, READY_TIMEOUT_MS)) return;
    throw new PhasorError('TIMEOUT', `nats-server did not end on ${signal}`, { pid: run.pid });
  }

  async restart(): Promise<void> {
    if (this.stopped !== undefined) throw new PhasorError('CLOSED', 'this nats-server has been stopped');
    await this.end();
    await this.start();
  }

  async suspend(): Promise<void> {
    await this.kill('SIGSTOP');
    const { pid } = this;
    const giveUpAt = performance.now() + STANDSTILL_MS;
    while (pid !== undefined && isMoving(pid) && performance.now() < giveUpAt) await delay(5);
  }

  resume(): Promise<void> {
    return this.kill('SIGCONT');
  }

  private async end(): Promise<void> {
    const { run } = this;
    if (run === undefined || run.hasEnded()) return;
    this.endIsExpected = true;
    try {
      // A suspended process would not see the SIGTERM.
      await run.signal('SIGCONT');
      await run.signal('SIGTERM');
    } catch {
      // A container that is not up yet, or gone: the kill below settles it.
    }
    if (await endsWithin(run, GRACE_MS)) return;
    await run.signal('SIGKILL').catch(() => undefined);
    await endsWithin(run, GRACE_MS);
  }

  private onEnd(run: ServerRun, how: string): void {
    if (this.run === run) this.guardian.watch(undefined);
    if (!this.endIsExpected) this.options.onUnexpectedExit?.(`nats-server ended: ${how}`);
  }

  /** Another server may hold the port for a moment, so the greeting must carry our name. */
  private async untilReady(run: ServerRun): Promise<ServerInfo> {
    const timeoutMs =
      this.options.readyTimeoutMs ?? (this.origin === 'docker' ? DOCKER_READY_TIMEOUT_MS : READY_TIMEOUT_MS);
    const giveUpAt = performance.now() + timeoutMs;
    let last = 'no connection';
    while (performance.now() < giveUpAt) {
      if (run.hasEnded()) throw this.startFailed(`it ended at once (${await run.ended})`);
      try {
        const info = await readInfo('127.0.0.1', this.port, 2_000);
        if (info.serverName === this.serverName) return info;
        last = `the port belongs to server ${info.serverName}`;
      } catch (error) {
        last = String(error);
      }
      await delay(20);
    }
    throw this.startFailed(`not ready within ${timeoutMs} ms (${last})`);
  }

  private startFailed(why: string): PhasorError {
    const log = this.logTail();
    return new PhasorError(
      'NATS_SERVER_START_FAILED',
      `${this.binary} on port ${this.port}: ${why}\n${log}\n`,
      {
        binary: this.binary,
        port: this.port,
      },
    );
  }
}

async function endsWithin(run: ServerRun, ms: number): Promise<boolean> {
  const timer = new AbortController();
  // The timer also keeps the event loop alive: the child itself does not.
  const late = delay(ms, undefined, { signal: timer.signal }).catch(() => undefined);
  await Promise.race([run.ended, late]);
  timer.abort();
  return run.hasEnded();
}

/** A signal is only sent when kill() returns: a thread that runs just then goes on for a moment. Unknown: not moving. */
function isMoving(pid: number): boolean {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    return threads.some((thread) => {
      const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
      return stat[stat.lastIndexOf(')') + 2] !== 'T';
    });
  } catch {
    return false;
  }
}
