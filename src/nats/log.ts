import type { Msg } from '@nats-io/nats-core';

import { PhasorError } from '../errors/phasor-error.ts';
import type { Subject } from '../kernel/subjects.ts';
import type { Appended, Log, LogMessage, LogSubscription, ReadOptions, StreamState } from '../ports/log.ts';
import { apiName, askApi, callApi, number, record, text, type ApiRecord } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { headersOf, logMessageOf, storedMessage } from './messages.ts';
import { parsePubAck } from './pub-ack.ts';
import { openReader } from './reader.ts';
import { NO_MESSAGE, refusal } from './refusals.ts';
import { isNoResponders } from './replies.ts';
import { msOfNanos, msOfTimestamp } from './units.ts';

const APPEND_TIMEOUT_MS = 5_000;
const LOOKUP_TIMEOUT_MS = 2_000;
const DEFAULT_DEDUP_WINDOW_MS = 86_400_000;

export interface NatsLogOptions {
  /** Default: 5_000. */
  readonly appendTimeoutMs?: number;
}

export class NatsLog implements Log {
  readonly #handle: NatsConnectionHandle;
  readonly #appendTimeoutMs: number;
  /** One look-up for all appends that found nobody on a subject at the same time. */
  readonly #lookups = new Map<string, Promise<PhasorError>>();

  constructor(handle: NatsConnectionHandle, options: NatsLogOptions = {}) {
    this.#handle = handle;
    this.#appendTimeoutMs = options.appendTimeoutMs ?? APPEND_TIMEOUT_MS;
  }

  append(subject: Subject, data: Uint8Array, options?: { readonly msgId?: string }): Promise<Appended> {
    const msgId = options?.msgId;
    return new Promise((resolve, reject) => {
      const timeoutMs = this.#appendTimeoutMs;
      const question =
        msgId === undefined
          ? { subject, data, timeoutMs }
          : { subject, data, timeoutMs, headers: headersOf({ 'Nats-Msg-Id': msgId }) };
      this.#handle.replies.ask(question, {
        onReply: (message) => this.#appended(message, { subject, resolve, reject }),
        onFail: reject,
      });
    });
  }

  #appended(
    message: Msg,
    to: {
      readonly subject: Subject;
      readonly resolve: (appended: Appended) => void;
      readonly reject: (error: PhasorError) => void;
    },
  ): void {
    const { subject } = to;
    const ack = parsePubAck(message.data);
    if (ack?.type === 'stored') {
      to.resolve({ seq: ack.seq, duplicate: ack.duplicate });
    } else if (ack?.type === 'refused') {
      const what = `append to ${subject}`;
      to.reject(refusal(ack.error, { what, details: { subject }, otherwise: 'PUBLISH_REFUSED' }));
    } else if (isNoResponders(message)) {
      void this.#nobody(subject).then(to.reject);
    } else {
      to.reject(new PhasorError('TIMEOUT', `an answer from ${subject} that is not JetStream's`, { subject }));
    }
  }

  #nobody(subject: Subject): Promise<PhasorError> {
    const running = this.#lookups.get(subject);
    if (running !== undefined) return running;
    const lookup = this.#whyNobody(subject).finally(() => this.#lookups.delete(subject));
    this.#lookups.set(subject, lookup);
    return lookup;
  }

  /** "No responders" says neither that the stream is missing nor that it lacks a leader: only a look-up tells. */
  async #whyNobody(subject: Subject): Promise<PhasorError> {
    const what = `no stream takes ${subject} now`;
    try {
      const call = {
        subject: '$JS.API.STREAM.NAMES',
        body: { subject },
        timeoutMs: LOOKUP_TIMEOUT_MS,
      };
      const names = (await callApi(this.#handle, call))['streams'];
      const isMissing = !Array.isArray(names) || names.length === 0;
      return new PhasorError(isMissing ? 'STREAM_MISSING' : 'CONNECTION_FAILED', what, { subject });
    } catch (error) {
      return new PhasorError('CONNECTION_FAILED', what, { subject }, { cause: error });
    }
  }

  async read(options: ReadOptions): Promise<LogSubscription> {
    return openReader(this.#handle, options);
  }

  /** From the stream's leader: never behind what was acknowledged. */
  async get(stream: string, seq: number): Promise<LogMessage | undefined> {
    const subject = `$JS.API.STREAM.MSG.GET.${apiName(stream)}`;
    const answer = await askApi(this.#handle, { subject, body: { seq } });
    if (answer.type === 'ok') return logMessageOf(storedMessage(record(answer.value['message'])));
    if (answer.error.errCode === NO_MESSAGE) return undefined;
    throw refusal(answer.error, { what: subject, details: { stream, seq }, otherwise: 'REQUEST_REFUSED' });
  }

  async subjects(stream: string, filter: Subject): Promise<readonly string[]> {
    const subject = `$JS.API.STREAM.INFO.${apiName(stream)}`;
    return subjectsIn(await callApi(this.#handle, { subject, body: { subjects_filter: filter } }));
  }

  async state(stream: string): Promise<StreamState> {
    return streamState(
      stream,
      await callApi(this.#handle, { subject: `$JS.API.STREAM.INFO.${apiName(stream)}` }),
    );
  }
}

function subjectsIn(info: ApiRecord): readonly string[] {
  const found = record(info['state'])['subjects'];
  return found === undefined ? [] : Object.keys(record(found));
}

function streamState(stream: string, info: ApiRecord): StreamState {
  const config = record(info['config']);
  const state = record(info['state']);
  const metadata = record(config['metadata']);
  const setting = (name: string, missing: number): number => {
    const value = metadata[name];
    if (value === undefined) return missing;
    const known = Number(value);
    if (Number.isSafeInteger(known) && known > 0) return known;
    throw new PhasorError('STREAM_MISMATCH', `stream ${stream} has an unusable ${name}`, { stream, name });
  };
  return {
    created: text(info['created']),
    firstSeq: number(state['first_seq']),
    lastSeq: number(state['last_seq']),
    lastTimeMs: msOfTimestamp(text(state['last_ts'])),
    nowMs: msOfTimestamp(text(info['ts'])),
    bytes: number(state['bytes']),
    maxBytes: number(config['max_bytes']),
    duplicateWindowMs: msOfNanos(number(config['duplicate_window'])),
    shards: setting('shards', 1),
    dedupWindowMs: setting('dedupWindow', DEFAULT_DEDUP_WINDOW_MS),
  };
}
