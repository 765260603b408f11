import type { Msg } from '@nats-io/nats-core';

import { PhasorError } from '../errors/phasor-error.ts';
import { invariant } from '../kernel/assert.ts';
import { apiErrorOf, type ApiError } from './pub-ack.ts';
import { refusal } from './refusals.ts';
import { isNoResponders, type Replies } from './replies.ts';

export type ApiRecord = Readonly<Record<string, unknown>>;

export interface ApiCall {
  readonly subject: string;
  readonly body?: object;
  /** Default: 5_000. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 5_000;
const NAME = /^[A-Za-z0-9_-]{1,255}$/;
const encoder = new TextEncoder();

/** Stream and consumer names become subject tokens: nothing else may get in. */
export function apiName(name: string): string {
  invariant(NAME.test(name), `not a stream or consumer name: ${JSON.stringify(name)}`);
  return name;
}

export const record = (value: unknown): ApiRecord =>
  typeof value === 'object' && value !== null ? (value as ApiRecord) : {};
export const text = (value: unknown): string => (typeof value === 'string' ? value : '');
export const number = (value: unknown): number => (typeof value === 'number' ? value : 0);

export type ApiAnswer =
  { readonly type: 'ok'; readonly value: ApiRecord } | { readonly type: 'error'; readonly error: ApiError };

/** One try. @throws {PhasorError} `TIMEOUT`, `CONNECTION_FAILED`: no answer, also when JetStream has no leader. */
export async function askApi(at: { readonly replies: Replies }, call: ApiCall): Promise<ApiAnswer> {
  const { subject } = call;
  const message = await at.replies.request({
    subject,
    data: call.body === undefined ? new Uint8Array(0) : encoder.encode(JSON.stringify(call.body)),
    timeoutMs: call.timeoutMs ?? TIMEOUT_MS,
  });
  if (isNoResponders(message)) {
    throw new PhasorError('CONNECTION_FAILED', `nobody answers ${subject}`, { subject });
  }
  const value = parse(message, subject);
  return value['error'] === undefined
    ? { type: 'ok', value }
    : { type: 'error', error: apiErrorOf(value['error']) };
}

/** As `askApi`; what the server refuses is thrown, see `refusal`. */
export async function callApi(at: { readonly replies: Replies }, call: ApiCall): Promise<ApiRecord> {
  const answer = await askApi(at, call);
  if (answer.type === 'error') {
    const { subject } = call;
    throw refusal(answer.error, { what: subject, details: { subject }, otherwise: 'REQUEST_REFUSED' });
  }
  return answer.value;
}

function parse(message: Msg, subject: string): ApiRecord {
  try {
    return record(JSON.parse(message.string()));
  } catch (error) {
    throw new PhasorError('CONNECTION_FAILED', `${subject} answered no JSON`, { subject }, { cause: error });
  }
}
