/** Sub-path export `phasor/embedded`: real nats-servers for development, demos and tests, without Docker. */
export { startNatsCluster } from './cluster.ts';
export type {
  NatsClusterHandle,
  NatsClusterOptions,
  NatsServerHandle,
  NatsServerOptions,
  NatsServerOrigin,
} from './options.ts';
export { startNatsServer } from './start.ts';
