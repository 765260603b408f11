import { headers as newHeaders, type MsgHdrs } from '@nats-io/nats-core';

import { invariant } from '../kernel/assert.ts';
import type { LogMessage } from '../ports/log.ts';
import { number, text, type ApiRecord } from './api.ts';
import { msOfTimestamp } from './units.ts';

type Headers = ReadonlyMap<string, string>;

/** Printable ASCII up to 1 KiB: the client lets NUL and UTF-8 pass. */
const HEADER_VALUE = /^[\x20-\x7e]{1,1024}$/;

/** Fresh for every publish: the client may change what it is given. */
export function headersOf(values: Readonly<Record<string, string>>): MsgHdrs {
  const made = newHeaders();
  for (const [name, value] of Object.entries(values)) {
    invariant(HEADER_VALUE.test(value), `not a header value: ${JSON.stringify(value)}`);
    made.append(name, value);
  }
  return made;
}

/** Only the server's own headers are a log reader's business (Rule 8). */
export const isServerHeader = (name: string): boolean => name.toLowerCase().startsWith('nats-');

/** Of a delivered message, the headers that `keep` names. */
export function headersIn(
  headers: MsgHdrs | undefined,
  keep: (name: string) => boolean,
): Headers | undefined {
  if (headers === undefined) return undefined;
  const found = new Map<string, string>();
  for (const name of headers.keys()) if (keep(name)) found.set(name, headers.get(name));
  return found;
}

export interface StoredMessage {
  readonly seq: number;
  readonly timeMs: number;
  readonly subject: string;
  readonly data: Uint8Array;
  /** All headers; undefined when there are none. */
  readonly headers?: Headers;
}

/** The `message` of a STREAM.MSG.GET answer. */
export function storedMessage(answer: ApiRecord): StoredMessage {
  const headers = text(answer['hdrs']);
  return {
    seq: number(answer['seq']),
    timeMs: msOfTimestamp(text(answer['time'])),
    subject: text(answer['subject']),
    data: Buffer.from(text(answer['data']), 'base64'),
    ...(headers === '' ? {} : { headers: parseHeaders(Buffer.from(headers, 'base64').toString()) }),
  };
}

export function logMessageOf({ headers, ...message }: StoredMessage): LogMessage {
  if (headers === undefined) return message;
  return { ...message, headers: new Map([...headers].filter(([name]) => isServerHeader(name))) };
}

/** A header block as stored: the first line is the version. The first of several equal names counts. */
function parseHeaders(block: string): Headers {
  const found = new Map<string, string>();
  for (const line of block.split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const name = line.slice(0, colon);
    if (!found.has(name)) found.set(name, line.slice(colon + 1).trim());
  }
  return found;
}
