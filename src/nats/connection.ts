import type { ConnectionState } from '../ports/pulls.ts';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

import type { Authenticator, NatsConnection } from '@nats-io/nats-core';
import { credsAuthenticator, nkeyAuthenticator } from '@nats-io/nats-core';
import { connect, type NodeConnectionOptions } from '@nats-io/transport-node';

import { durationMs } from '../errors/options.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Logger } from '../ports/telemetry.ts';
import { callApi } from './api.ts';
import { Replies } from './replies.ts';
import { requireSupported } from './server/probe.ts';

export interface NatsOptions {
  /** `nats://host:port`, several separated by commas; may carry `user:password@`. */
  readonly url: string | readonly string[];
  /** Shown by the server's monitoring. Default: `phasor`. */
  readonly name?: string;
  readonly logger: Logger;
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
  /** Path of a `.creds` file. */
  readonly credsFile?: string;
  /** Path of a file that holds an nkey seed. */
  readonly nkeyFile?: string;
  /** Present, also when empty: TLS is required. */
  readonly tls?: NonNullable<NodeConnectionOptions['tls']>;
  /** First tokens of every inbox, for permissions. Default: `_INBOX_phasor`. */
  readonly inboxPrefix?: string;
  /** For the first connection, in milliseconds. Default: 10_000. */
  readonly connectTimeoutMs?: number;
}

/** One connection to NATS. It reconnects for ever, every 250 ms, and notices a silent server after 15 s. */
export interface NatsConnectionHandle {
  readonly nc: NatsConnection;
  readonly replies: Replies;
  readonly logger: Logger;
  readonly inboxPrefix: string;
  readonly state: ConnectionState;
  /** Called on every change, and at once with the current state. Returns the way to stop listening. */
  onState(listener: (state: ConnectionState) => void): () => void;
  /** @throws {PhasorError} `CONNECTION_FAILED` when there is none within `timeoutMs`, `CLOSED` after `close`. */
  connected(timeoutMs: number): Promise<void>;
  /** Sends what is buffered, then closes. Safe to call again. */
  close(): Promise<void>;
}

const RECONNECT_WAIT_MS = 250;
const PING_INTERVAL_MS = 5_000;
const MAX_PINGS_OUT = 2;
const CONNECT_TIMEOUT_MS = 10_000;
const FLUSH_TIMEOUT_MS = 2_000;
const API_RETRY_MS = 100;
const DEFAULT_INBOX_PREFIX = '_INBOX_phasor';

/**
 * @throws {PhasorError} `CONNECTION_FAILED`: no server, or it refused the credentials. `SERVER_TOO_OLD`: below 2.12.
 *   `JETSTREAM_UNAVAILABLE`: switched off on the server or for the account. `CONFIG_INVALID`: a bad option.
 */
export async function connectNats(options: NatsOptions): Promise<NatsConnectionHandle> {
  const timeoutMs = durationMs(options.connectTimeoutMs, 'connectTimeoutMs', CONNECT_TIMEOUT_MS);
  const { servers, where, user, password } = readUrls(options.url);
  const login = await readLogin({ user, password, ...options });
  let nc: NatsConnection;
  try {
    nc = await connect({
      servers,
      ...login,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
      name: options.name ?? 'phasor',
      timeout: timeoutMs,
      // The defaults give up after ten tries and notice a hung server after minutes.
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_WAIT_MS,
      reconnectJitter: RECONNECT_WAIT_MS / 5,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: MAX_PINGS_OUT,
      ignoreAuthErrorAbort: true,
      noAsyncTraces: true,
      inboxPrefix: options.inboxPrefix ?? DEFAULT_INBOX_PREFIX,
    });
  } catch (error) {
    const what = `cannot connect to ${where}: ${(error as Error).message}`;
    throw new PhasorError('CONNECTION_FAILED', what, { url: where }, { cause: error });
  }
  const handle = new Handle(nc, options);
  try {
    requireSupported(nc.info?.version ?? '', where);
    await requireJetStream(handle, { where, timeoutMs });
  } catch (error) {
    await handle.close();
    throw error;
  }
  return handle;
}

class Handle implements NatsConnectionHandle {
  readonly nc: NatsConnection;
  readonly replies: Replies;
  readonly logger: Logger;
  readonly inboxPrefix: string;
  readonly #listeners = new Set<(state: ConnectionState) => void>();
  #state: ConnectionState = 'connected';

  constructor(nc: NatsConnection, options: NatsOptions) {
    this.nc = nc;
    this.logger = options.logger;
    this.inboxPrefix = options.inboxPrefix ?? DEFAULT_INBOX_PREFIX;
    this.replies = new Replies(nc, { inboxPrefix: this.inboxPrefix, obstacle: () => this.#obstacle() });
    void this.#follow();
  }

  get state(): ConnectionState {
    return this.#state;
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    this.#listeners.add(listener);
    listener(this.#state);
    return () => this.#listeners.delete(listener);
  }

  connected(timeoutMs: number): Promise<void> {
    if (this.#state === 'connected') return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (state: ConnectionState | 'late'): void => {
        if (state === 'disconnected') return;
        clearTimeout(timer);
        this.#listeners.delete(settle);
        if (state === 'connected') resolve();
        else if (state === 'late') reject(new PhasorError('CONNECTION_FAILED', 'not connected'));
        else reject(new PhasorError('CLOSED', 'the connection is closed'));
      };
      const timer = setTimeout(() => settle('late'), timeoutMs);
      this.onState(settle);
    });
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    // drain() of the client would hang or throw while there is no server.
    if (this.#state === 'connected') {
      const timer = new AbortController();
      const late = delay(FLUSH_TIMEOUT_MS, undefined, { signal: timer.signal }).catch(() => undefined);
      await Promise.race([this.nc.flush().catch(() => undefined), late]);
      timer.abort();
    }
    this.#change('closed');
    this.replies.close();
    await this.nc.close();
  }

  #obstacle(): PhasorError | undefined {
    if (this.#state === 'connected') return undefined;
    return this.#state === 'closed'
      ? new PhasorError('CLOSED', 'the connection is closed')
      : new PhasorError('CONNECTION_FAILED', 'not connected');
  }

  async #follow(): Promise<void> {
    for await (const status of this.nc.status()) {
      switch (status.type) {
        case 'disconnect':
          this.#change('disconnected');
          break;
        case 'reconnect':
          this.#change('connected');
          break;
        case 'error':
          this.logger.warn({ error: status.error.message }, 'nats: the server reports an error');
          break;
        default:
          break;
      }
    }
    this.#change('closed');
  }

  #change(state: ConnectionState): void {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    this.logger.info({ state }, 'nats: connection changed');
    // What was sent just before is lost or unanswered for ever: the client drops its buffer when it dials again.
    if (state !== 'connected') this.replies.failAll('the connection was lost');
    for (const listener of [...this.#listeners]) listener(state);
  }
}

async function requireJetStream(
  handle: NatsConnectionHandle,
  { where, timeoutMs }: { readonly where: string; readonly timeoutMs: number },
): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  for (;;) {
    try {
      await callApi(handle, { subject: '$JS.API.INFO', timeoutMs });
      return;
    } catch (error) {
      const { info } = handle.nc;
      const isOff =
        PhasorError.is(error, 'JETSTREAM_UNAVAILABLE') ||
        (PhasorError.is(error, 'CONNECTION_FAILED') && info?.jetstream !== true);
      if (isOff) throw new PhasorError('JETSTREAM_UNAVAILABLE', `${where} has no JetStream`, { url: where });
      // A cluster that is still electing answers soon; a role without permission for this request never does.
      if (PhasorError.is(error, 'TIMEOUT') && info?.jetstream === true) return;
      if (performance.now() > giveUpAt) throw error;
    }
    await delay(API_RETRY_MS);
  }
}

interface Urls {
  readonly servers: string[];
  /** For messages: without credentials. */
  readonly where: string;
  readonly user?: string;
  readonly password?: string;
}

/** The client does not read credentials from URLs, and messages must not show them. */
function readUrls(url: string | readonly string[]): Urls {
  const texts = (typeof url === 'string' ? url.split(',') : url).map((text) => text.trim());
  const parsed = texts.filter((text) => text !== '').map(readUrl);
  if (parsed.length === 0) throw new PhasorError('CONFIG_INVALID', 'no NATS URL', { option: 'url' });
  const login = parsed.find(({ username }) => username !== '');
  const servers = parsed.map((each) => {
    const port = each.port === '' && !each.protocol.startsWith('ws') ? '4222' : each.port;
    return `${each.protocol}//${each.hostname}${port === '' ? '' : `:${port}`}`;
  });
  return {
    servers,
    where: servers.join(','),
    ...(login === undefined ? {} : { user: decodeURIComponent(login.username) }),
    ...(login === undefined || login.password === '' ? {} : { password: decodeURIComponent(login.password) }),
  };
}

function readUrl(text: string): URL {
  try {
    const url = new URL(text.includes('://') ? text : `nats://${text}`);
    if (url.hostname !== '') return url;
  } catch {
    // Said below, without the text: it may hold a password.
  }
  throw new PhasorError('CONFIG_INVALID', 'not a NATS URL', { option: 'url' });
}

async function readLogin(options: {
  readonly user?: string | undefined;
  readonly password?: string | undefined;
  readonly token?: string;
  readonly credsFile?: string;
  readonly nkeyFile?: string;
}): Promise<{ user?: string; pass?: string; token?: string; authenticator?: Authenticator }> {
  const { user, password, token, credsFile, nkeyFile } = options;
  if (credsFile !== undefined) return { authenticator: credsAuthenticator(await readSecret(credsFile)) };
  if (nkeyFile !== undefined) return { authenticator: nkeyAuthenticator(await readSecret(nkeyFile)) };
  if (token !== undefined) return { token };
  // `nats://token@host`: a user without a password is a token.
  if (user !== undefined && password === undefined) return { token: user };
  return user === undefined || password === undefined ? {} : { user, pass: password };
}

async function readSecret(file: string): Promise<Uint8Array> {
  try {
    return new TextEncoder().encode((await readFile(file, 'utf8')).trim());
  } catch (error) {
    throw new PhasorError('CONFIG_INVALID', `cannot read ${file}`, { file }, { cause: error });
  }
}
