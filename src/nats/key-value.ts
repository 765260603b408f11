/**
 * KV buckets, spoken raw: the client's update() writes without TTL, so that renewing a lease would make it eternal.
 *
 * Reads go to the stream's leader (STREAM.MSG.GET), not to any replica: after a lost compare-and-set the caller must
 * see what won, and after its own write at least that. They stay hints: only the guarded write decides.
 */
import { setTimeout as delay } from 'node:timers/promises';

import { BARRIER_BUCKET_PREFIX, barrierBucket } from '../../streams/index.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import { isParticipant } from '../kernel/ids.ts';
import {
  bucketSubject,
  GuardedBucket,
  NOTHING_HELD,
  ttlSeconds,
  type Attempt,
  type GuardedWrite,
  type Held,
} from '../ports/guarded-bucket.ts';
import type { KeyValue, KeyValueStore } from '../ports/key-value.ts';
import { apiName, askApi, callApi, record } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { headersOf, storedMessage, type StoredMessage } from './messages.ts';
import { parsePubAck } from './pub-ack.ts';
import { openReader } from './reader.ts';
import { NO_MESSAGE, refusal, STREAM_NAME_TAKEN, WRONG_LAST_SEQUENCE } from './refusals.ts';
import { isNoResponders } from './replies.ts';
import { serverConfig } from './streams-config.ts';

const ATTEMPT_TIMEOUT_MS = 2_000;

export class NatsKeyValueStore implements KeyValueStore {
  readonly #handle: NatsConnectionHandle;

  constructor(handle: NatsConnectionHandle) {
    this.#handle = handle;
  }

  async bucket(name: string): Promise<KeyValue> {
    await callApi(this.#handle, { subject: `$JS.API.STREAM.INFO.KV_${apiName(name)}` });
    return new Bucket(this.#handle, name);
  }

  async ensureBucket(name: string, options: { readonly replicas?: number }): Promise<KeyValue> {
    const subject = `$JS.API.STREAM.CREATE.KV_${apiName(name)}`;
    const body = bucketConfig(name, options.replicas ?? 1);
    const answer = await askApi(this.#handle, { subject, body });
    // Made before, perhaps with other replicas or limits: it is used as it is, see `streams diff`.
    if (answer.type === 'error' && answer.error.errCode !== STREAM_NAME_TAKEN) {
      throw refusal(answer.error, { what: subject, details: { bucket: name }, otherwise: 'REQUEST_REFUSED' });
    }
    return this.bucket(name);
  }
}

/** A participant's barrier is as streams/ says; one revision a key, else an older one would come back to life. */
function bucketConfig(name: string, replicas: number): object {
  const participant = name.startsWith(BARRIER_BUCKET_PREFIX) ? name.slice(BARRIER_BUCKET_PREFIX.length) : '';
  if (isParticipant(participant)) return serverConfig(barrierBucket(participant), { replicas });
  return {
    name: `KV_${name}`,
    subjects: [`$KV.${name}.>`],
    storage: 'file',
    retention: 'limits',
    discard: 'new',
    max_msgs_per_subject: 1,
    num_replicas: replicas,
    allow_direct: true,
    allow_rollup_hdrs: true,
    allow_msg_ttl: true,
    deny_delete: true,
  };
}

class Bucket extends GuardedBucket {
  readonly #handle: NatsConnectionHandle;
  readonly #name: string;

  constructor(handle: NatsConnectionHandle, name: string) {
    super();
    this.#handle = handle;
    this.#name = name;
  }

  protected monotonicMs(): number {
    return performance.now();
  }

  protected async pause(ms: number): Promise<void> {
    await delay(ms);
  }

  protected connected(timeoutMs: number): Promise<void> {
    return this.#handle.connected(timeoutMs);
  }

  protected async attempt({ key, value, ttlMs }: GuardedWrite, guard: number): Promise<Attempt> {
    const subject = bucketSubject(this.#name, key);
    const headers = headersOf({
      'Nats-Expected-Last-Subject-Sequence': String(guard),
      ...(ttlMs === undefined ? {} : { 'Nats-TTL': String(ttlSeconds(ttlMs)) }),
    });
    const question = { subject, data: value, headers, timeoutMs: ATTEMPT_TIMEOUT_MS };
    let message;
    try {
      message = await this.#handle.replies.request(question);
    } catch (error) {
      if (PhasorError.is(error, 'TIMEOUT') || PhasorError.is(error, 'CONNECTION_FAILED')) {
        return { type: 'unknown', error };
      }
      throw error;
    }
    const ack = parsePubAck(message.data);
    if (ack?.type === 'stored') return { type: 'written', revision: ack.seq };
    if (ack?.type === 'refused') {
      if (WRONG_LAST_SEQUENCE.includes(ack.error.errCode)) return { type: 'guard-failed' };
      const refused = refusal(ack.error, {
        what: `write of ${subject}`,
        details: { key, bucket: this.#name },
        otherwise: 'PUBLISH_REFUSED',
      });
      if (refused.retryable) return { type: 'unknown', error: refused };
      throw refused;
    }
    const what = isNoResponders(message) ? `nobody stores ${subject} now` : `no answer for ${subject}`;
    return { type: 'unknown', error: new PhasorError('CONNECTION_FAILED', what, { key }) };
  }

  protected async held(key: string): Promise<Held> {
    const subject = `$JS.API.STREAM.MSG.GET.KV_${this.#name}`;
    const body = { last_by_subj: bucketSubject(this.#name, key) };
    const answer = await askApi(this.#handle, { subject, body, timeoutMs: ATTEMPT_TIMEOUT_MS });
    if (answer.type === 'ok') return heldBy(storedMessage(record(answer.value['message'])));
    if (answer.error.errCode === NO_MESSAGE) return NOTHING_HELD;
    const details = { bucket: this.#name, key };
    throw refusal(answer.error, { what: subject, details, otherwise: 'REQUEST_REFUSED' });
  }

  /** The last message of each subject, headers only, up to what the bucket held when asked and still holds. */
  async keys(within = ''): Promise<readonly string[]> {
    const prefix = `$KV.${this.#name}.`;
    const found: string[] = [];
    let seen = 0;
    let settle: (lost?: string) => void = () => undefined;
    const ended = new Promise<string | undefined>((resolve) => (settle = resolve));
    const reader = await openReader(
      this.#handle,
      {
        stream: `KV_${this.#name}`,
        filters: [],
        after: 0,
        onMessage: ({ subject, headers, ...message }) => {
          seen += 1;
          const stored = { subject, ...message, ...(headers === undefined ? {} : { headers }) };
          if (heldBy(stored).live !== undefined) found.push(subject.slice(prefix.length));
          if (seen >= reader.pending) settle();
        },
        onIdle: () => settle(),
        onLost: (why) => settle(why),
      },
      {
        config: {
          deliver_policy: 'last_per_subject',
          opt_start_seq: undefined,
          filter_subject: `${prefix}${within}>`,
          headers_only: true,
        },
        keepHeader: () => true,
      },
    );
    if (reader.pending === 0) settle();
    const lost = await ended;
    await reader.close();
    if (lost === undefined) return found;
    throw new PhasorError('CONNECTION_FAILED', `reading the keys of ${this.#name}: ${lost}`);
  }
}

const TOMBSTONES: ReadonlySet<string | undefined> = new Set(['DEL', 'PURGE']);

function heldBy({ seq, timeMs, data, headers }: StoredMessage): Held {
  const isMarker = TOMBSTONES.has(headers?.get('KV-Operation')) || headers?.has('Nats-Marker-Reason');
  return { seq, live: isMarker === true ? undefined : { value: data, revision: seq, timeMs } };
}
