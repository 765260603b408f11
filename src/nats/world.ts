import { passOn, type Passing } from '../ports/crash-points.ts';
import type { World } from '../ports/world.ts';
import { NatsBus } from './bus.ts';
import { systemClock, systemRandom } from './clock.ts';
import { connectNats, type NatsConnectionHandle, type NatsOptions } from './connection.ts';
import { NatsKeyValueStore } from './key-value.ts';
import { NatsLog, type NatsLogOptions } from './log.ts';
import { NatsWork } from './work.ts';

export interface NatsWorldOptions extends NatsOptions, NatsLogOptions {
  /** Default: does nothing. */
  readonly passing?: Passing;
}

export interface NatsWorld {
  readonly world: World;
  readonly connection: NatsConnectionHandle;
  close(): Promise<void>;
}

/** Every port over one connection. @throws as `connectNats`. */
export async function natsWorld(options: NatsWorldOptions): Promise<NatsWorld> {
  const connection = await connectNats(options);
  const world: World = {
    log: new NatsLog(connection, options),
    work: new NatsWork(connection),
    bus: new NatsBus(connection),
    keyValue: new NatsKeyValueStore(connection),
    clock: systemClock,
    random: systemRandom,
    logger: options.logger,
    passing: options.passing ?? passOn,
  };
  return { world, connection, close: () => connection.close() };
}
