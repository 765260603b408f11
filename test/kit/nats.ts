import {
  type NatsClusterHandle,
  type NatsClusterOptions,
  type NatsServerHandle,
  type NatsServerOptions,
  startNatsCluster,
  startNatsServer,
} from '../../src/nats/server/index.ts';

/**
 * A nats-server with JetStream for one test file; stop it in `afterAll`. PHASOR_TEST_NATS=testcontainers runs it in a
 * container (image: PHASOR_TEST_NATS_IMAGE, default nats:2.14), anything else as a process, see `startNatsServer`.
 *
 * @example
 * let nats: NatsServerHandle;
 * beforeAll(async () => { nats = await testNats(); });
 * afterAll(() => nats.stop());
 */
export async function testNats(options: NatsServerOptions = {}): Promise<NatsServerHandle> {
  if (!usesContainers()) return startNatsServer(options);
  // Loaded only when asked for: it takes longer to load than a server takes to start.
  const { startContainer } = await import('./nats-container.ts');
  return startContainer(options);
}

/** A JetStream cluster for one test file, always of processes. */
export async function testCluster(options: NatsClusterOptions = {}): Promise<NatsClusterHandle> {
  return startNatsCluster(options);
}

export function usesContainers(): boolean {
  return process.env['PHASOR_TEST_NATS'] === 'testcontainers';
}
