import { access, constants, mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';

import { PhasorError } from '../errors/phasor-error.ts';
import type { NatsOptions } from '../nats/connection.ts';
import { connectNats } from '../nats/connection.ts';
import { startNatsServer, type NatsServerHandle } from '../nats/server/index.ts';
import { applyStreams } from '../nats/streams.ts';
import { silentLogger } from '../ports/telemetry.ts';
import { startCoordinatorService, type CoordinatorService } from './coordinator.ts';

export interface DevOptions {
  /** How to connect, but for the URL: that is the server's. */
  readonly nats: Omit<NatsOptions, 'url'>;
  /** Use this server instead of starting one. */
  readonly url?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Kept at the end. Default: a temporary directory, removed at the end. */
  readonly storeDir?: string;
  readonly syncInterval?: 'always';
}

export interface DevService {
  readonly server: NatsServerHandle;
  readonly coordinator: CoordinatorService;
  /** Rejects when the server ends by itself or every pattern has had to stop. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/** A nats-server of its own, the streams, and a coordinator, all in or below this process. */
export async function startDev(options: DevOptions): Promise<DevService> {
  refuseForBorrowed(options);
  const { storeDir } = options;
  if (storeDir !== undefined) await makeStore(storeDir);
  let lose: (error: PhasorError) => void = () => undefined;
  const lost = new Promise<never>((_, reject) => (lose = reject));
  lost.catch(() => undefined);
  const server = await startNatsServer({
    env: options.url === undefined ? process.env : { ...process.env, NATS_URL: options.url },
    ...(options.port === undefined ? {} : { port: options.port }),
    ...(storeDir === undefined ? {} : { storeDir: resolve(storeDir) }),
    ...(options.syncInterval === undefined ? {} : { syncInterval: options.syncInterval }),
    onNotice: (line) => options.nats.logger.info({}, line),
    onUnexpectedExit: (what) => lose(new PhasorError('CONNECTION_FAILED', `nats-server ended: ${what}`)),
  });
  try {
    const nats = { ...options.nats, url: server.url };
    // Its end is no news: everything that can go wrong here is thrown.
    const connection = await connectNats({ ...nats, logger: silentLogger });
    await applyStreams(connection.nc).finally(() => connection.close());
    const coordinator = await startCoordinatorService({ nats });
    const failed = Promise.race([lost, coordinator.failed]);
    failed.catch(() => undefined);
    return {
      server,
      coordinator,
      failed,
      close: async () => {
        await coordinator.close();
        await server.stop();
      },
    };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function makeStore(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true });
    await access(dir, constants.W_OK);
  } catch (cause) {
    const what = `--store: cannot keep data in ${dir}: ${(cause as Error).message}`;
    throw new PhasorError('CONFIG_INVALID', what, { option: 'store' }, { cause });
  }
}

function refuseForBorrowed({ url, port, storeDir, syncInterval }: DevOptions): void {
  if (url === undefined && (process.env['NATS_URL'] ?? '') === '') return;
  const own = Object.entries({ port, store: storeDir, sync: syncInterval }).find(
    ([, value]) => value !== undefined,
  );
  if (own === undefined) return;
  const what = `--${own[0]} is for a server of its own: leave out --server and unset NATS_URL`;
  throw new PhasorError('CONFIG_INVALID', what, { option: own[0] });
}
