/**
 * KV buckets, spoken raw: the client's update() writes without TTL, so that renewing a lease would make it eternal.
 *
 * Reads go to the stream's leader (STREAM.MSG.GET), not to any replica: after a lost compare-and-set the caller must
 * see what won, and after its own write at least that. They stay hints: only the guarded write decides.
 */
import { setTimeout as delay } from 'node:timers/promises';

import { BARRIER_BUCKET_PREFIX, barrierBucket } from '../../streams/index.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import { invariant } from '../kernel/assert.ts';
import { isParticipant } from '../kernel/ids.ts';
import type { Entry, KeyValue, KeyValueStore, WriteOptions, Written } from '../ports/key-value.ts';
import { apiName, askApi, callApi, record } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { headersOf, storedMessage, type StoredMessage } from './messages.ts';
import { parsePubAck } from './pub-ack.ts';
import { openReader } from './reader.ts';
import { NO_MESSAGE, refusal, STREAM_NAME_TAKEN, WRONG_LAST_SEQUENCE } from './refusals.ts';
import { isNoResponders } from './replies.ts';
import { serverConfig } from './streams-config.ts';
import { ttlSeconds } from './units.ts';

const KEY = /^[-/=\w]+(?:\.[-/=\w]+)*$/;
const ATTEMPT_TIMEOUT_MS = 2_000;
/** A write that is still unresolved after this long is left to the caller as unknown. */
const WRITE_BUDGET_MS = 10_000;
const PAUSE_MS = 20;

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

/** What a key holds: `seq` is the guard for the next write, 0 when there is nothing. */
interface Held {
  readonly seq: number;
  /** Undefined: nothing, or a tombstone or expiry marker. */
  readonly live: Entry | undefined;
}
const NOTHING: Held = { seq: 0, live: undefined };

type Attempt =
  | { readonly type: 'written'; readonly revision: number }
  | { readonly type: 'guard-failed' }
  | { readonly type: 'unknown'; readonly error: PhasorError };

interface Write {
  readonly key: string;
  readonly value: Uint8Array;
  readonly ttlMs: number | undefined;
}

class Bucket implements KeyValue {
  readonly #handle: NatsConnectionHandle;
  readonly #name: string;

  constructor(handle: NatsConnectionHandle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }

  async get(key: string): Promise<Entry | undefined> {
    return (await this.#held(key)).live;
  }

  /** Guarded by "nothing here" or by the marker's revision: of several writers one wins, the rest see its record. */
  create(key: string, value: Uint8Array, options: WriteOptions = {}): Promise<Written> {
    const write = { key, value, ttlMs: options.ttlMs };
    return this.#write(write, { guard: 0, next: (held) => (held.live === undefined ? held.seq : undefined) });
  }

  /** Guarded by the revision: losing means that another writer, or the record's expiry, came first. */
  update(
    key: string,
    value: Uint8Array,
    options: WriteOptions & { readonly revision: number },
  ): Promise<Written> {
    const { revision, ttlMs } = options;
    const next = (held: Held): number | undefined =>
      held.live?.revision === revision ? revision : undefined;
    return this.#write({ key, value, ttlMs }, { guard: revision, next });
  }

  /**
   * Tries until it is known who won. An unanswered attempt may still be stored later: the same guard is tried again,
   * so at most one of the attempts is stored, and a record with our bytes above the guard is ours. Equal bytes are
   * taken for our own only after an unanswered attempt: writers that can race must write different values.
   *
   * @param rule.next the guard for another attempt over what is held now; undefined: lost.
   */
  async #write(
    write: Write,
    rule: { readonly guard: number; readonly next: (held: Held) => number | undefined },
  ): Promise<Written> {
    const giveUpAt = performance.now() + WRITE_BUDGET_MS;
    let { guard } = rule;
    let unanswered: PhasorError | undefined;
    for (;;) {
      const attempt = await this.#attempt(write, guard);
      if (attempt.type === 'written') return { won: true, revision: attempt.revision };
      if (attempt.type === 'unknown') unanswered = attempt.error;
      const held = await this.#heldUntil(write.key, giveUpAt, unanswered);
      const { live } = held;
      if (unanswered !== undefined && live !== undefined && live.revision > guard) {
        if (Buffer.compare(live.value, write.value) === 0) return { won: true, revision: live.revision };
      }
      const next = rule.next(held);
      if (next === undefined) return { won: false, current: live };
      if (performance.now() > giveUpAt) {
        throw unanswered ?? new PhasorError('TIMEOUT', `${write.key}: other writes kept coming`);
      }
      // On replicated streams the guard also fails while another write of the key is under way.
      if (next === guard) await delay(PAUSE_MS);
      guard = next;
    }
  }

  async #attempt({ key, value, ttlMs }: Write, guard: number): Promise<Attempt> {
    const subject = this.#subject(key);
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

  /** Reads until it is answered, also across a reconnect. @throws what was unanswered first. */
  async #heldUntil(key: string, giveUpAt: number, unanswered: PhasorError | undefined): Promise<Held> {
    for (;;) {
      try {
        await this.#handle.connected(Math.max(1, giveUpAt - performance.now()));
        return await this.#held(key);
      } catch (error) {
        if (!PhasorError.is(error) || !error.retryable) throw error;
        if (performance.now() > giveUpAt) throw unanswered ?? error;
        await delay(PAUSE_MS);
      }
    }
  }

  async #held(key: string): Promise<Held> {
    const subject = `$JS.API.STREAM.MSG.GET.KV_${this.#name}`;
    const body = { last_by_subj: this.#subject(key) };
    const answer = await askApi(this.#handle, { subject, body, timeoutMs: ATTEMPT_TIMEOUT_MS });
    if (answer.type === 'ok') return heldBy(storedMessage(record(answer.value['message'])));
    if (answer.error.errCode === NO_MESSAGE) return NOTHING;
    const details = { bucket: this.#name, key };
    throw refusal(answer.error, { what: subject, details, otherwise: 'REQUEST_REFUSED' });
  }

  /** The last message of each subject, headers only, up to what the bucket held when asked and still holds. */
  async keys(): Promise<readonly string[]> {
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
          filter_subject: `${prefix}>`,
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

  #subject(key: string): string {
    invariant(KEY.test(key), `not a key: ${JSON.stringify(key)}`);
    return `$KV.${this.#name}.${key}`;
  }
}

const TOMBSTONES: ReadonlySet<string | undefined> = new Set(['DEL', 'PURGE']);

function heldBy({ seq, timeMs, data, headers }: StoredMessage): Held {
  const isMarker = TOMBSTONES.has(headers?.get('KV-Operation')) || headers?.has('Nats-Marker-Reason');
  return { seq, live: isMarker === true ? undefined : { value: data, revision: seq, timeMs } };
}
