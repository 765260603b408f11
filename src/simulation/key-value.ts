/** As src/nats/key-value.ts: guarded writes, tried until it is known who won. */
import { PhasorError } from '../errors/phasor-error.ts';
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
import { expectAnswer, refusal, type SimulatedConnection } from './connection.ts';
import { NO_MESSAGE, WRONG_LAST_SEQUENCE } from './frames.ts';

const ATTEMPT_TIMEOUT_MS = 2_000;

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

class Bucket extends GuardedBucket {
  readonly #connection: SimulatedConnection;
  readonly #name: string;

  constructor(connection: SimulatedConnection, name: string) {
    super();
    this.#connection = connection;
    this.#name = name;
  }

  protected monotonicMs(): number {
    return this.#connection.options.clock.monotonicMs();
  }

  protected pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#connection.options.clock.afterActive(ms, resolve));
  }

  protected connected(timeoutMs: number): Promise<void> {
    return this.#connection.connected(timeoutMs);
  }

  async keys(within = ''): Promise<readonly string[]> {
    const prefix = `$KV.${this.#name}.`;
    const call = { type: 'subjects', stream: `KV_${this.#name}`, filter: `${prefix}${within}>` } as const;
    const { subjects } = expectAnswer(await this.#connection.call(call), 'list', this.#name);
    return subjects.map((subject) => subject.slice(prefix.length));
  }

  protected async attempt({ key, value, ttlMs }: GuardedWrite, guard: number): Promise<Attempt> {
    // What is under way must not change when the caller's bytes do.
    const data = value.slice();
    const subject = bucketSubject(this.#name, key);
    const headers = new Map([['Nats-Expected-Last-Subject-Sequence', String(guard)]]);
    if (ttlMs !== undefined) headers.set('Nats-TTL', String(ttlSeconds(ttlMs)));
    try {
      const answer = await this.#connection.question({
        what: subject,
        timeoutMs: ATTEMPT_TIMEOUT_MS,
        frame: (token) => ({ type: 'publish', subject, data, headers, token }),
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

  protected async held(key: string): Promise<Held> {
    const call = {
      type: 'newest',
      stream: `KV_${this.#name}`,
      subject: bucketSubject(this.#name, key),
    } as const;
    const answer = await this.#connection.call(call, ATTEMPT_TIMEOUT_MS);
    if (answer.type === 'refused' && answer.errCode === NO_MESSAGE) return NOTHING_HELD;
    const { seq, timeMs, data } = expectAnswer(answer, 'message', key).message;
    return { seq, live: { value: data, revision: seq, timeMs } };
  }
}
