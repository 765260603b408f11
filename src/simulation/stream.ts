/**
 * One JetStream stream: what it keeps and what it refuses (NATS.md). Knows nothing of consumers and connections.
 *
 * Invariants: 1. Sequences rise by one for every stored message, also after removals. 2. Timestamps are the leader's
 * clock at the store: they may step back when another leader takes over. 3. Within the duplicate window one message
 * id is stored once.
 */
import type { StreamSpec } from '../../streams/index.ts';

export interface StoredMessage {
  readonly seq: number;
  /** The leader's wall clock, floored to milliseconds. */
  readonly timeMs: number;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers: ReadonlyMap<string, string> | undefined;
  /** By the leader's clock; undefined: lives for ever. */
  readonly expiresMs: number | undefined;
}

export interface StreamSettings {
  readonly name: string;
  readonly subjects: readonly string[];
  /** -1: no limit. */
  readonly maxBytes: number;
  /** Body and headers; -1: no limit. */
  readonly maxMsgSize: number;
  /** -1: no limit. */
  readonly maxMsgsPerSubject: number;
  readonly discard: 'new' | 'old';
  readonly duplicateWindowMs: number;
  readonly allowMsgTtl: boolean;
  readonly metadata: Readonly<Record<string, string>>;
}

export function settingsOf(spec: StreamSpec): StreamSettings {
  const { name, subjects, maxBytes, maxMsgSize, maxMsgsPerSubject, discard, duplicateWindowMs } = spec;
  const { metadata, flags } = spec;
  return {
    ...{ name, subjects, maxBytes, maxMsgSize, maxMsgsPerSubject, discard, duplicateWindowMs, metadata },
    allowMsgTtl: flags.allowMsgTtl,
  };
}

export type StoreResult =
  | { readonly type: 'stored'; readonly message: StoredMessage; readonly duplicate: false }
  | { readonly type: 'stored'; readonly message: StoredMessage; readonly duplicate: true }
  | { readonly type: 'refused'; readonly errCode: number; readonly description: string };

export interface NewMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers?: ReadonlyMap<string, string> | undefined;
}

/** All that a restored backup brings back. */
export interface StreamSnapshot {
  readonly name: string;
  readonly created: string;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly messages: readonly (StoredMessage | undefined)[];
}

/** The server's record around subject, headers and body. */
const RECORD_OVERHEAD = 30;
const WRONG_LAST_SEQUENCE = 10071;

export class StreamModel {
  readonly settings: StreamSettings;
  created: string;
  bytes = 0;
  lastTimeMs = 0;
  #firstSeq = 1;
  /** Message `firstSeq + index`; undefined: removed. */
  #messages: (StoredMessage | undefined)[] = [];
  /** Live messages by subject, where only the newest is kept (buckets). */
  readonly #newest = new Map<string, StoredMessage>();
  readonly #ids = new Map<string, StoredMessage>();

  constructor(settings: StreamSettings, created: string) {
    this.settings = settings;
    this.created = created;
  }

  get name(): string {
    return this.settings.name;
  }

  get firstSeq(): number {
    return this.#firstSeq;
  }

  get lastSeq(): number {
    return this.#firstSeq + this.#messages.length - 1;
  }

  /** The message at `seq`, unless it was never there, was removed or has expired. */
  at(seq: number, nowMs: number): StoredMessage | undefined {
    const message = this.#messages[seq - this.#firstSeq];
    if (message === undefined || isLive(message, nowMs)) return message;
    this.#remove(message);
    return undefined;
  }

  /** The newest live message of a subject; quick where only one is kept. */
  newest(subject: string, nowMs: number): StoredMessage | undefined {
    if (this.settings.maxMsgsPerSubject !== 1) return this.#searchBack(subject, nowMs);
    const message = this.#newest.get(subject);
    if (message === undefined || isLive(message, nowMs)) return message;
    this.#remove(message);
    return undefined;
  }

  #searchBack(subject: string, nowMs: number): StoredMessage | undefined {
    for (let seq = this.lastSeq; seq >= this.#firstSeq; seq -= 1) {
      const message = this.at(seq, nowMs);
      if (message?.subject === subject) return message;
    }
    return undefined;
  }

  /** What matches, from `after` on, in order. */
  *messages(nowMs: number, after = 0): Generator<StoredMessage> {
    for (let seq = Math.max(after + 1, this.#firstSeq); seq <= this.lastSeq; seq += 1) {
      const message = this.at(seq, nowMs);
      if (message !== undefined) yield message;
    }
  }

  store({ subject, data, headers }: NewMessage, nowMs: number): StoreResult {
    const { maxMsgSize, maxMsgsPerSubject } = this.settings;
    const time = Math.floor(nowMs);
    const id = headers?.get('Nats-Msg-Id');
    const known = id === undefined ? undefined : this.#remembered(id, time);
    if (known !== undefined) return { type: 'stored', message: known, duplicate: true };
    const size = sizeOf(subject, data, headers);
    if (maxMsgSize >= 0 && size - RECORD_OVERHEAD - subject.length > maxMsgSize)
      return refused(10054, 'message size exceeds maximum allowed');
    const expected = headers?.get('Nats-Expected-Last-Subject-Sequence');
    if (expected !== undefined && (this.newest(subject, nowMs)?.seq ?? 0) !== Number(expected))
      return refused(WRONG_LAST_SEQUENCE, 'wrong last sequence');
    const ttl = headers?.get('Nats-TTL');
    if (ttl !== undefined && !this.settings.allowMsgTtl) return refused(10166, 'per-message TTL is disabled');
    if (!this.#makeRoom(size)) return refused(10077, 'maximum bytes exceeded');
    const expiresMs = ttl === undefined ? undefined : time + Number(ttl) * 1_000;
    const message = { seq: this.lastSeq + 1, timeMs: time, subject, data, headers, expiresMs };
    this.#messages.push(message);
    this.bytes += size;
    this.lastTimeMs = time;
    if (id !== undefined) this.#ids.set(id, message);
    if (maxMsgsPerSubject === 1) {
      const before = this.#newest.get(subject);
      if (before !== undefined) this.#remove(before);
      this.#newest.set(subject, message);
    }
    return { type: 'stored', message, duplicate: false };
  }

  remove(seq: number): void {
    const message = this.#messages[seq - this.#firstSeq];
    if (message !== undefined) this.#remove(message);
  }

  /** Drops every message above `seq`, as an OS crash with unsynced writes does. */
  truncate(seq: number): void {
    this.restore({ ...this.snapshot(), lastSeq: Math.max(this.#firstSeq - 1, Math.min(seq, this.lastSeq)) });
  }

  snapshot(): StreamSnapshot {
    const { name, created, firstSeq, lastSeq } = this;
    return { name, created, firstSeq, lastSeq, messages: [...this.#messages] };
  }

  restore({ created, firstSeq, lastSeq, messages }: StreamSnapshot): void {
    this.created = created;
    this.#firstSeq = firstSeq;
    this.#messages = messages.slice(0, lastSeq - firstSeq + 1);
    this.bytes = 0;
    this.#newest.clear();
    this.#ids.clear();
    for (const message of this.#messages) {
      if (message === undefined) continue;
      this.bytes += sizeOf(message.subject, message.data, message.headers);
      this.lastTimeMs = message.timeMs;
      const id = message.headers?.get('Nats-Msg-Id');
      if (id !== undefined) this.#ids.set(id, message);
      if (this.settings.maxMsgsPerSubject === 1) this.#newest.set(message.subject, message);
    }
  }

  #remembered(id: string, nowMs: number): StoredMessage | undefined {
    const known = this.#ids.get(id);
    if (known === undefined || nowMs - known.timeMs <= this.settings.duplicateWindowMs) return known;
    this.#ids.delete(id);
    return undefined;
  }

  #makeRoom(size: number): boolean {
    const { maxBytes, discard } = this.settings;
    if (maxBytes < 0 || this.bytes + size <= maxBytes) return true;
    if (discard === 'new' || size > maxBytes) return false;
    while (this.bytes + size > maxBytes && this.#messages.length > 0) {
      const [oldest] = this.#messages;
      if (oldest !== undefined) this.#remove(oldest);
      this.#messages.shift();
      this.#firstSeq += 1;
    }
    return true;
  }

  #remove(message: StoredMessage): void {
    const index = message.seq - this.#firstSeq;
    if (this.#messages[index] !== message) return;
    this.#messages[index] = undefined;
    this.bytes -= sizeOf(message.subject, message.data, message.headers);
    if (this.#newest.get(message.subject) === message) this.#newest.delete(message.subject);
  }
}

const refused = (errCode: number, description: string): StoreResult => ({
  type: 'refused',
  errCode,
  description,
});

const isLive = ({ expiresMs }: StoredMessage, nowMs: number): boolean =>
  expiresMs === undefined || nowMs < expiresMs;

function sizeOf(subject: string, data: Uint8Array, headers: ReadonlyMap<string, string> | undefined): number {
  let size = RECORD_OVERHEAD + subject.length + data.length;
  for (const [name, value] of headers ?? []) size += name.length + value.length + 4;
  return size;
}
