import { EMPTY_DIGEST, digestHex, fnv1a32, type Digest } from '../kernel/hash.ts';

/** What the broker did or what was done to the world, in order: the whole observable story of a seed. */
export interface TraceEvent {
  readonly atMs: number;
  readonly type: string;
  /** Where: a stream, a consumer, a node, a link. */
  readonly where: string;
  /** A sequence, a revision or a count; 0 when there is none. */
  readonly number: number;
  readonly detail?: string;
  /** Of stored messages. */
  readonly data?: Uint8Array;
}

/** Runs over every event without keeping any. Equal digests mean: bit for bit the same run. */
export class Trace {
  #digest: Digest = EMPTY_DIGEST;
  #events = 0;
  readonly #counts = new Map<string, number>();
  readonly #onEvent: ((event: TraceEvent) => void) | undefined;

  constructor(onEvent?: (event: TraceEvent) => void) {
    this.#onEvent = onEvent;
  }

  /** 16 hexadecimal digits. */
  get digest(): string {
    return digestHex(this.#digest);
  }

  get events(): number {
    return this.#events;
  }

  /** How often each type occurred. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  add(event: TraceEvent): void {
    this.#events += 1;
    this.#counts.set(event.type, (this.#counts.get(event.type) ?? 0) + 1);
    const { atMs, type, where, number, detail = '', data } = event;
    const head = fnv1a32(`${type} ${where} ${detail}`);
    const time = Math.round(atMs * 1_000);
    let { hi, lo } = this.#digest;
    lo = Math.imul(lo ^ head, 0x85ebca6b) ^ time;
    hi = Math.imul(hi ^ number ^ (time / 0x1_0000_0000), 0xc2b2ae35) ^ (lo >>> 13);
    if (data !== undefined) lo = mixBytes(lo, data);
    lo = Math.imul(lo ^ (hi >>> 15), 0x9e3779b1);
    hi = (hi + Math.imul(lo, 5)) | 0;
    this.#digest = { hi: hi | 0, lo: lo | 0 };
    this.#onEvent?.(event);
  }
}

/** FNV-1a over the bytes. */
function mixBytes(start: number, data: Uint8Array): number {
  let hash = start;
  for (const byte of data) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash;
}
