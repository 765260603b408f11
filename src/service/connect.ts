import type { NatsOptions } from '../nats/connection.ts';
import { applyStreams, type StreamChange, type StreamOptions } from '../nats/streams.ts';
import { natsWorld } from '../nats/world.ts';
import type { Logger } from '../ports/telemetry.ts';
import type { World } from '../ports/world.ts';
import { crashPassing } from './crash.ts';
import { createLogger } from './logger.ts';

export type { StreamChange, StreamOptions };

export interface ConnectOptions extends Omit<NatsOptions, 'logger'> {
  /** Default: pino at level `warn` on stderr, for people on a terminal and as JSON lines otherwise. */
  readonly logger?: Logger;
}

export interface Connection {
  /** What `startCoordinator`, `startWorker` and `createClient` work on. One world may serve several of them. */
  readonly world: World;
  /**
   * Makes the streams that are missing; refuses changes that would lose data.
   *
   * @throws {PhasorError} `STREAM_CHANGE_REFUSED`, `STREAM_APPLY_FAILED`, `SERVER_TOO_OLD`, `CONFIG_INVALID`.
   */
  applyStreams(options?: StreamOptions): Promise<readonly StreamChange[]>;
  /** Sends what is buffered, then closes; whatever still uses the world fails with `CLOSED`. */
  close(): Promise<void>;
}

/**
 * Connects to NATS. The connection heals by itself for ever; `PHASOR_CRASH` is honoured, for tests of crashes.
 *
 * @throws {PhasorError} `CONNECTION_FAILED`, `SERVER_TOO_OLD`, `JETSTREAM_UNAVAILABLE`, `CONFIG_INVALID`.
 * @example
 * const { world, close } = await connect({ url: 'nats://127.0.0.1:4222' });
 */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const { logger = createLogger({ level: 'warn' }), ...nats } = options;
  const made = await natsWorld({ ...nats, logger, passing: crashPassing() });
  return {
    world: made.world,
    applyStreams: (streams) => applyStreams(made.connection.nc, streams),
    close: () => made.close(),
  };
}
