/** A bucket in memory, with the faults a network has: writes that are lost, and writes whose answer is lost. */
import { PhasorError } from '../../src/errors/phasor-error.ts';
import type { Entry, KeyValue, WriteOptions, Written } from '../../src/ports/key-value.ts';

export type Fault = 'none' | 'not-stored' | 'answer-lost' | 'refused';

export class MemoryKeyValue implements KeyValue {
  /** What happens to the next writes, in order; after that none fails. */
  faults: Fault[] = [];
  reads = 0;
  writes = 0;
  readonly #entries = new Map<string, Entry>();
  readonly #nowMs: () => number;
  #revision = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  async get(key: string): Promise<Entry | undefined> {
    this.reads += 1;
    return this.#entries.get(key);
  }

  create(key: string, value: Uint8Array, _options?: WriteOptions): Promise<Written> {
    return this.#write(key, value, undefined);
  }

  update(
    key: string,
    value: Uint8Array,
    { revision }: WriteOptions & { readonly revision: number },
  ): Promise<Written> {
    return this.#write(key, value, revision);
  }

  async keys(): Promise<readonly string[]> {
    return [...this.#entries.keys()];
  }

  /** Somebody's hand. */
  put(key: string, text: string): void {
    this.#revision += 1;
    const value = Buffer.from(text);
    this.#entries.set(key, { value, revision: this.#revision, timeMs: this.#nowMs() });
  }

  async #write(key: string, value: Uint8Array, expected: number | undefined): Promise<Written> {
    this.writes += 1;
    const fault = this.faults.shift() ?? 'none';
    if (fault === 'not-stored') throw new PhasorError('TIMEOUT', 'planted: not stored');
    if (fault === 'refused') throw new PhasorError('PUBLISH_REFUSED', 'planted');
    const current = this.#entries.get(key);
    if (current?.revision !== expected) return { won: false, current };
    this.#revision += 1;
    this.#entries.set(key, { value, revision: this.#revision, timeMs: this.#nowMs() });
    if (fault === 'answer-lost') throw new PhasorError('TIMEOUT', 'planted: stored, answer lost');
    return { won: true, revision: this.#revision };
  }
}
