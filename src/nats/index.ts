/** The ports on NATS. Raw publishes and pulls: the client's own JetStream calls are too slow for hot paths. */
export { connectNats } from './connection.ts';
export type { NatsConnectionHandle, NatsOptions } from './connection.ts';
export { NatsBus } from './bus.ts';
export { systemClock, systemRandom } from './clock.ts';
export { NatsKeyValueStore } from './key-value.ts';
export { NatsLog } from './log.ts';
export type { NatsLogOptions } from './log.ts';
export { NatsWork } from './work.ts';
export { natsWorld } from './world.ts';
export type { NatsWorld, NatsWorldOptions } from './world.ts';
