/** As src/nats/key-value.ts: guarded writes, tried until it is known who won. */
import { PhasorError } from '../errors/phasor-error.ts';
import { invariant } from '../kernel/assert.ts';
import type { Entry, KeyValue, KeyValueStore, WriteOptions, Written } from '../ports/key-value.ts';
import { expectAnswer, refusal, type SimulatedConnection } from './connection.ts';
import { NO_MESSAGE, WRONG_LAST_SEQUENCE } from './frames.ts';

const KEY = /^[-/=\w]+(?:\.[-/=\w]+)*$/;
const ATTEMPT_TIMEOUT_MS = 2_000;
const WRITE_BUDGET_MS = 10_000;
const PAUSE_MS = 20;

export class SimulatedKeyValueStore implements KeyValueStore {
  readonly #connection: SimulatedConnection;

  constructor(connection: SimulatedConnection) {
    this.#connection = connection;
  }

  async bucket(name: string): Promise<KeyValue> {
    expectAnswer(await this.#connection.call({ type: 'stream', stream: `KV_${name}` }), 'info', name);
    return new Bucket(this.#connection, name);
  }

  async ensureBucket(name: string): Promise<KeyValue> {
    expectAnswer(await this.#connection.call({ type: 'make-bucket', bucket: name }), 'ok', name);
    return this.bucket(name);
  }
}

/** What a key holds: `seq` is the guard for the next write, 0 when there is nothing. */
interface Held {
  readonly seq: number;
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
  readonly #connection: SimulatedConnection;
  readonly #name: string;

  constructor(connection: SimulatedConnection, name: string) {
    this.#connection = connection;
    this.#name = name;
  }

  async get(key: string): Promise<Entry | undefined> {
    return (await this.#held(key)).live;
  }

  create(key: string, value: Uint8Array, options: WriteOptions = {}): Promise<Written> {
    const write = { key, value: value.slice(), ttlMs: options.ttlMs };
    return this.#write(write, { guard: 0, next: (held) => (held.live === undefined ? held.seq : undefined) });
  }

  update(
    key: string,
    value: Uint8Array,
    options: WriteOptions & { readonly revision: number },
  ): Promise<Written> {
    const { revision, ttlMs } = options;
    const next = (held: Held): number | undefined =>
      held.live?.revision === revision ? revision : undefined;
    return this.#write({ key, value: value.slice(), ttlMs }, { guard: revision, next });
  }

  async keys(): Promise<readonly string[]> {
    const prefix = `$KV.${this.#name}.`;
    const call = { type: 'subjects', stream: `KV_${this.#name}`, filter: `${prefix}>` } as const;
    const { subjects } = expectAnswer(await this.#connection.call(call), 'list', this.#name);
    return subjects.map((subject) => subject.slice(prefix.length));
  }

  async #write(
    write: Write,
    rule: { readonly guard: number; readonly next: (held: Held) => number | undefined },
  ): Promise<Written> {
    const { clock } = this.#connection.options;
    const giveUpAt = clock.monotonicMs() + WRITE_BUDGET_MS;
    let { guard } = rule;
    let unanswered: PhasorError | undefined;
    for (;;) {
      const attempt = await this.#attempt(write, guard);
      if (attempt.type === 'written') return { won: true, revision: attempt.revision };
      if (attempt.type === 'unknown') unanswered = attempt.error;
      const held = await this.#heldUntil(write.key, giveUpAt, unanswered);
      const { live } = held;
      if (unanswered !== undefined && live !== undefined && live.revision > guard) {
        if (isEqual(live.value, write.value)) return { won: true, revision: live.revision };
      }
      const next = rule.next(held);
      if (next === undefined) return { won: false, current: live };
      if (clock.monotonicMs() > giveUpAt)
        throw unanswered ?? new PhasorError('TIMEOUT', `${write.key}: other writes kept coming`);
      if (next === guard) await this.#pause();
      guard = next;
    }
  }

  async #attempt({ key, value, ttlMs }: Write, guard: number): Promise<Attempt> {
    const subject = this.#subject(key);
    const headers = new Map([['Nats-Expected-Last-Subject-Sequence', String(guard)]]);
    if (ttlMs !== undefined) headers.set('Nats-TTL', String(ttlSeconds(ttlMs)));
    try {
      const answer = await this.#connection.question({
        what: subject,
        timeoutMs: ATTEMPT_TIMEOUT_MS,
        frame: (token) => ({ type: 'publish', subject, data: value, headers, token }),
      });
      if (answer.type === 'stored') return { type: 'written', revision: answer.seq };
      if (answer.type !== 'refused') {
        const error = new PhasorError('CONNECTION_FAILED', `nobody stores ${subject} now`, { key });
        return { type: 'unknown', error };
      }
      if (answer.errCode === WRONG_LAST_SEQUENCE) return { type: 'guard-failed' };
      const refused = refusal(answer, `write of ${subject}`, 'PUBLISH_REFUSED');
      if (refused.retryable) return { type: 'unknown', error: refused };
      throw refused;
    } catch (error) {
      const isUnknown = PhasorError.is(error, 'TIMEOUT') || PhasorError.is(error, 'CONNECTION_FAILED');
      if (isUnknown) return { type: 'unknown', error };
      throw error;
    }
  }

  /** Reads until it is answered, also across a reconnect. @throws what was unanswered first. */
  async #heldUntil(key: string, giveUpAt: number, unanswered: PhasorError | undefined): Promise<Held> {
    const { clock } = this.#connection.options;
    for (;;) {
      try {
        await this.#connection.connected(Math.max(1, giveUpAt - clock.monotonicMs()));
        return await this.#held(key);
      } catch (error) {
        if (!PhasorError.is(error) || !error.retryable) throw error;
        if (clock.monotonicMs() > giveUpAt) throw unanswered ?? error;
        await this.#pause();
      }
    }
  }

  async #held(key: string): Promise<Held> {
    const call = { type: 'newest', stream: `KV_${this.#name}`, subject: this.#subject(key) } as const;
    const answer = await this.#connection.call(call, ATTEMPT_TIMEOUT_MS);
    if (answer.type === 'refused' && answer.errCode === NO_MESSAGE) return NOTHING;
    const { seq, timeMs, data } = expectAnswer(answer, 'message', key).message;
    return { seq, live: { value: data, revision: seq, timeMs } };
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#connection.options.clock.afterActive(PAUSE_MS, resolve));
  }

  #subject(key: string): string {
    invariant(KEY.test(key), `not a key: ${JSON.stringify(key)}`);
    return `$KV.${this.#name}.${key}`;
  }
}

/** What `Nats-TTL` takes: whole seconds, at least one, never shorter than asked. */
const ttlSeconds = (ttlMs: number): number => Math.max(1, Math.ceil(ttlMs / 1_000));

const isEqual = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index]);
