import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { ensureStreams } from '../../src/nats/streams.ts';
import { natsWorld, type NatsWorld } from '../../src/nats/world.ts';
import type { CrashPoint } from '../../src/ports/crash-points.ts';
import type { World } from '../../src/ports/world.ts';
import {
  createClient,
  twoPhaseCommit,
  type Client,
  type ClientOptions,
} from '../../src/runtime/client/index.ts';
import { FakeCoordinator } from './fake-coordinator.ts';
import { testNats } from './nats.ts';

export const SHARDS = 4;
export const transfer = twoPhaseCommit('transfer')
  .step('debit', { participant: 'hdfc', action: 'debit', input: { amount: '5' } })
  .step('credit', { participant: 'icici', action: 'credit', input: { amount: '5' } })
  .build();

/** Two connections to a real server of one test file: the client's, and a coordinator's played by hand. */
export interface ClientRig {
  readonly near: NatsWorld;
  readonly far: NatsWorld;
  readonly coordinator: FakeCoordinator;
  /** Crash points that the client passed in this test. */
  readonly passed: CrashPoint[];
  /** Closed after the test. */
  using(options?: Partial<ClientOptions>, world?: World): Promise<Client>;
  /** Another one at each call. */
  ownId(): string;
}

/** Registers the hooks of the file that calls it; what it returns is usable inside tests only. */
export function clientRig(): ClientRig {
  const logger = pino({ level: 'silent' });
  const patterns: Pattern[] = ['2pc', 'saga'];
  const passed: CrashPoint[] = [];
  const open: Client[] = [];
  let counter = 0;
  let server: NatsServerHandle;
  let near: NatsWorld;
  let far: NatsWorld;
  let coordinator: FakeCoordinator;

  beforeAll(async () => {
    server = await testNats();
    near = await natsWorld({ url: server.url, logger, passing: (point) => passed.push(point) });
    far = await natsWorld({ url: server.url, logger });
    await ensureStreams(near.connection.nc, { patterns, shards: SHARDS });
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

  return {
    get near() {
      return near;
    },
    get far() {
      return far;
    },
    get coordinator() {
      return coordinator;
    },
    passed,
    using: async (options = {}, world = near.world) => {
      const client = await createClient(world, { sender: 'orders', ...options });
      open.push(client);
      return client;
    },
    ownId: () => `own-${(counter += 1)}`,
  };
}

export const code = (name: string): unknown => expect.objectContaining({ code: name });
