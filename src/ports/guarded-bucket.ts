/**
 * What every key-value port shares, whatever carries it: guarded writes that are tried until it is known who won.
 *
 * An unanswered attempt may still be stored later: the same guard is tried again, so at most one of the attempts is stored,
 * and a record with our bytes above the guard is ours. Equal bytes are taken for our own only after an unanswered attempt:
 * writers that can race must write different values.
 */
import { invariant } from '../kernel/assert.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Entry, KeyValue, WriteOptions, Written } from './key-value.ts';

const KEY = /^[-/=\w]+(?:\.[-/=\w]+)*$/;
/** A write that is still unresolved after this long is left to the caller as unknown. */
const WRITE_BUDGET_MS = 10_000;
const PAUSE_MS = 20;

/** What a key holds: `seq` is the guard for the next write, 0 when there is nothing. */
export interface Held {
  readonly seq: number;
  /** Undefined: nothing, or a tombstone or expiry marker. */
  readonly live: Entry | undefined;
}
export const NOTHING_HELD: Held = { seq: 0, live: undefined };

export interface GuardedWrite {
  readonly key: string;
  readonly value: Uint8Array;
  readonly ttlMs: number | undefined;
}

export type Attempt =
  | { readonly type: 'written'; readonly revision: number }
  | { readonly type: 'guard-failed' }
  | { readonly type: 'unknown'; readonly error: PhasorError };

/** @throws (asynchronously) where a key would be a wildcard or shift tokens. */
export function bucketSubject(bucket: string, key: string): string {
  invariant(KEY.test(key), `not a key: ${JSON.stringify(key)}`);
  return `$KV.${bucket}.${key}`;
}

/** What `Nats-TTL` takes: whole seconds, at least one, never shorter than asked. */
export const ttlSeconds = (ttlMs: number): number => Math.max(1, Math.ceil(ttlMs / 1_000));

export abstract class GuardedBucket implements KeyValue {
  protected abstract monotonicMs(): number;
  protected abstract pause(ms: number): Promise<void>;
  /** Resolves when there is a connection. */
  protected abstract connected(timeoutMs: number): Promise<void>;
  /** One try to write over exactly this guard. @throws what no other try can mend. */
  protected abstract attempt(write: GuardedWrite, guard: number): Promise<Attempt>;
  /** From the leader: at least what this side has written. */
  protected abstract held(key: string): Promise<Held>;
  abstract keys(prefix?: string): Promise<readonly string[]>;

  async get(key: string): Promise<Entry | undefined> {
    return (await this.held(key)).live;
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

  /** @param rule.next the guard for another attempt over what is held now; undefined: lost. */
  async #write(
    write: GuardedWrite,
    rule: { readonly guard: number; readonly next: (held: Held) => number | undefined },
  ): Promise<Written> {
    const giveUpAt = this.monotonicMs() + WRITE_BUDGET_MS;
    let { guard } = rule;
    let unanswered: PhasorError | undefined;
    for (;;) {
      const attempt = await this.attempt(write, guard);
      if (attempt.type === 'written') return { won: true, revision: attempt.revision };
      if (attempt.type === 'unknown') unanswered = attempt.error;
      const held = await this.#heldUntil(write.key, giveUpAt, unanswered);
      const { live } = held;
      if (unanswered !== undefined && live !== undefined && live.revision > guard) {
        if (isEqual(live.value, write.value)) return { won: true, revision: live.revision };
      }
      const next = rule.next(held);
      if (next === undefined) return { won: false, current: live };
      if (this.monotonicMs() > giveUpAt) {
        throw unanswered ?? new PhasorError('TIMEOUT', `${write.key}: other writes kept coming`);
      }
      // On replicated streams the guard also fails while another write of the key is under way.
      if (next === guard) await this.pause(PAUSE_MS);
      guard = next;
    }
  }

  /** Reads until it is answered, also across a reconnect. @throws what was unanswered first. */
  async #heldUntil(key: string, giveUpAt: number, unanswered: PhasorError | undefined): Promise<Held> {
    for (;;) {
      try {
        await this.connected(Math.max(1, giveUpAt - this.monotonicMs()));
        return await this.held(key);
      } catch (error) {
        if (!PhasorError.is(error) || !error.retryable) throw error;
        if (this.monotonicMs() > giveUpAt) throw unanswered ?? error;
        await this.pause(PAUSE_MS);
      }
    }
  }
}

const isEqual = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index]);
