/** The few JetStream API calls that manage streams, with errors that say what to do. */
import type { NatsConnection } from '@nats-io/nats-core';
import { setTimeout as delay } from 'node:timers/promises';
import { PhasorError } from '../errors/phasor-error.ts';
import { requireSupported } from './server/probe.ts';
import type { ServerConfig } from './streams-config.ts';

const REQUEST_TIMEOUT_MS = 5_000;
/** A cluster that is just electing answers "no responders" for some seconds. */
const ELECTION_MS = 10_000;
/** API level of nats-server 2.12; a server in between (a leaf node) may be newer than the one that stores. */
const MIN_API_LEVEL = 2;

export interface ApiFailure {
  readonly err_code: number;
  readonly code: number;
  readonly description: string;
}

export interface StreamInfo {
  readonly config: ServerConfig;
  readonly created: string;
  readonly state: {
    readonly messages: number;
    readonly bytes: number;
    readonly first_seq: number;
    readonly last_seq: number;
    readonly consumer_count: number;
  };
  readonly cluster?: { readonly leader?: string };
}

export type Answer<T> =
  ({ readonly ok: true } & { readonly value: T }) | { readonly ok: false; readonly error: ApiFailure };

/** Rejects with JETSTREAM_UNAVAILABLE when no JetStream answers, with TIMEOUT when it does not in time. */
export async function callApi<T>(nc: NatsConnection, verb: string, body?: object): Promise<Answer<T>> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const giveUpAt = performance.now() + ELECTION_MS;
  for (;;) {
    try {
      const message = await nc.request(`$JS.API.${verb}`, payload, { timeout: REQUEST_TIMEOUT_MS });
      const value = message.json<T & { error?: ApiFailure }>();
      return value.error === undefined ? { ok: true, value } : { ok: false, error: value.error };
    } catch (error) {
      if (!isNoResponders(error)) throw requestFailed(error, verb);
      const mayComeYet = nc.info?.jetstream === true && performance.now() < giveUpAt;
      if (!mayComeYet) throw noJetStream(nc, error);
    }
    await delay(250);
  }
}

function isNoResponders(error: unknown): boolean {
  return error instanceof Error && (error.name === 'NoResponders' || isNoResponders(error.cause));
}

function noJetStream(nc: NatsConnection, cause: unknown): PhasorError {
  const where = nc.getServer();
  return new PhasorError('JETSTREAM_UNAVAILABLE', `${where} has no JetStream`, { where }, { cause });
}

function requestFailed(cause: unknown, verb: string): PhasorError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const timedOut = cause instanceof Error && cause.name === 'TimeoutError';
  const code = timedOut ? 'TIMEOUT' : 'CONNECTION_FAILED';
  return new PhasorError(code, `JetStream request ${verb}: ${reason}`, { verb }, { cause });
}

const NOT_ENABLED: ReadonlySet<number> = new Set([10039, 10076]);

/**
 * @throws {PhasorError} `SERVER_TOO_OLD` below nats-server 2.12, also behind a newer leaf node;
 *   `JETSTREAM_UNAVAILABLE`.
 */
export async function requireJetStream(nc: NatsConnection): Promise<void> {
  const where = nc.getServer();
  requireSupported(nc.info?.version ?? 'unknown', where);
  const answer = await callApi<{ api?: { level?: number } }>(nc, 'INFO');
  if (!answer.ok) {
    const { err_code: apiCode, description } = answer.error;
    const what = NOT_ENABLED.has(apiCode) ? 'has no JetStream for this account' : `says: ${description}`;
    throw new PhasorError('JETSTREAM_UNAVAILABLE', `${where} ${what}`, { where, apiCode });
  }
  const level = answer.value.api?.level ?? 0;
  if (level < MIN_API_LEVEL) {
    const what = `the JetStream behind ${where} has API level ${level}, below ${MIN_API_LEVEL}`;
    throw new PhasorError('SERVER_TOO_OLD', what, { where, level });
  }
}

export const STREAM_NOT_FOUND = 10059;

/** Undefined when there is no such stream. */
export async function streamInfo(nc: NatsConnection, name: string): Promise<StreamInfo | undefined> {
  const answer = await callApi<StreamInfo>(nc, `STREAM.INFO.${name}`);
  if (answer.ok) return answer.value;
  if (answer.error.err_code === STREAM_NOT_FOUND) return undefined;
  throw refusedByServer(name, answer.error);
}

export async function streamNames(nc: NatsConnection, subject: string): Promise<string[]> {
  const names: string[] = [];
  for (;;) {
    const page = await callApi<{ total: number; streams?: string[] | null }>(nc, 'STREAM.NAMES', {
      subject,
      offset: names.length,
    });
    if (!page.ok) throw refusedByServer(subject, page.error);
    const more = page.value.streams ?? [];
    names.push(...more);
    if (more.length === 0 || names.length >= page.value.total) return names.sort();
  }
}

export function refusedByServer(stream: string, { err_code: apiCode, description }: ApiFailure): PhasorError {
  const what = `${stream}: ${description}`;
  return new PhasorError('STREAM_APPLY_FAILED', what, { stream, apiCode });
}
