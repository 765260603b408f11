/** A bucket of small records with compare-and-set and per-record life. Revisions only rise: they are fencing tokens. */
export interface Entry {
  readonly value: Uint8Array;
  readonly revision: number;
  /** When the server stored this revision (its clock, floored to milliseconds): the age of a claim needs no local clock. */
  readonly timeMs: number;
}

export interface WriteOptions {
  /** The record's life from this write on; every write must name it again. Without it: for ever. */
  readonly ttlMs?: number;
}

/** A compare-and-set that lost carries what won, when it could be read. */
export type Written =
  | { readonly won: true; readonly revision: number }
  | { readonly won: false; readonly current: Entry | undefined };

export interface KeyValue {
  get(key: string): Promise<Entry | undefined>;
  /**
   * Writes only where no live record is. An answer that got lost is resolved by reading back: the caller never
   * sees its own write as a defeat.
   *
   * @throws {PhasorError} `TIMEOUT`, `CONNECTION_FAILED`: unknown whether written.
   */
  create(key: string, value: Uint8Array, options?: WriteOptions): Promise<Written>;
  /** Writes only over exactly `revision`. Same read-back and errors as `create`. */
  update(
    key: string,
    value: Uint8Array,
    options: WriteOptions & { readonly revision: number },
  ): Promise<Written>;
  /**
   * Live keys, in no particular order. For tools, audits and looks now and then, never in a hot path: it costs what it
   * finds.
   *
   * @param prefix whole tokens, ending with a dot: only keys that begin so. Default: all.
   */
  keys(prefix?: string): Promise<readonly string[]>;
}

export interface KeyValueStore {
  /** Opens a bucket that exists. @throws {PhasorError} `STREAM_MISSING`. */
  bucket(name: string): Promise<KeyValue>;
  /** Makes the bucket of one participant's barrier, or opens it. */
  ensureBucket(name: string, options: { readonly replicas?: number }): Promise<KeyValue>;
}
