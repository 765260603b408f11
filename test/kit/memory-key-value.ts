/** A bucket in memory, with the faults a network has: writes that are lost, and writes whose answer is lost. */
import { PhasorError } from '../../src/errors/phasor-error.ts';
import type { Entry, KeyValue, WriteOptions, Written } from '../../src/ports/key-value.ts';

export type Fault = 'none' | 'not-stored' | 'answer-lost' | 'refused';

export class MemoryKeyValue implements KeyValue {
  /** What happens to the next writes, in order; after that none fails. */
  faults: Fault[] = [];
  reads = 0;
  writes = 0;
  lists = 0;
  readonly #entries = new Map<string, Entry & { readonly untilMs?: number }>();
  readonly #nowMs: () => number;
  #revision = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  async get(key: string): Promise<Entry | undefined> {
    this.reads += 1;
    return this.#live(key);
  }

  create(key: string, value: Uint8Array, { ttlMs }: WriteOptions = {}): Promise<Written> {
    return this.#write(key, value, { expected: undefined, ttlMs });
  }

  update(
    key: string,
    value: Uint8Array,
    { revision, ttlMs }: WriteOptions & { readonly revision: number },
  ): Promise<Written> {
    return this.#write(key, value, { expected: revision, ttlMs });
  }

  async keys(prefix = ''): Promise<readonly string[]> {
    this.lists += 1;
    return [...this.#entries.keys()].filter((key) => key.startsWith(prefix) && this.#live(key) !== undefined);
  }

  /** Somebody's hand. */
  put(key: string, text: string): void {
    this.#revision += 1;
    const value = Buffer.from(text);
    this.#entries.set(key, { value, revision: this.#revision, timeMs: this.#nowMs() });
  }

  #live(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    return entry?.untilMs !== undefined && entry.untilMs <= this.#nowMs() ? undefined : entry;
  }

  async #write(
    key: string,
    value: Uint8Array,
    { expected, ttlMs }: { readonly expected: number | undefined; readonly ttlMs: number | undefined },
  ): Promise<Written> {
    this.writes += 1;
    const fault = this.faults.shift() ?? 'none';
    if (fault === 'not-stored') throw new PhasorError('TIMEOUT', 'planted: not stored');
    if (fault === 'refused') throw new PhasorError('PUBLISH_REFUSED', 'planted');
    const current = this.#live(key);
    if (current?.revision !== expected) return { won: false, current };
    this.#revision += 1;
    const timeMs = this.#nowMs();
    const until = ttlMs === undefined ? {} : { untilMs: timeMs + ttlMs };
    this.#entries.set(key, { value, revision: this.#revision, timeMs, ...until });
    if (fault === 'answer-lost') throw new PhasorError('TIMEOUT', 'planted: stored, answer lost');
    return { won: true, revision: this.#revision };
  }
}
