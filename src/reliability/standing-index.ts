/**
 * Which records of a barrier's bucket stand (3PC): one small key beside each, so that who looks for steps without a
 * coordinator reads those alone, not the bucket.
 *
 * Record and key are two writes. Invariants:
 *  N1 the key is there before its record stands: a crash between leaves a key too many, never a standing without one;
 *  N2 the key goes only once its record can never stand again, or is gone: whoever removes it may do so at any time.
 * It has no life of its own, for what stands may be written again and again for longer than any; each look removes what
 * was left behind.
 */
import type { KeyValue } from '../ports/key-value.ts';
import type { Logger } from '../ports/telemetry.ts';

const PREFIX = 'standing.';
const encoder = new TextEncoder();
const STANDS = encoder.encode('{"v":1}');
const OVER = encoder.encode('{"v":1,"over":true}');
/** The shortest life a bucket knows: it has no other way to remove a key under compare-and-set. */
const OVER_KEEP_MS = 1_000;

export class StandingIndex {
  readonly #bucket: KeyValue;
  readonly #logger: Logger;

  constructor(bucket: KeyValue, logger: Logger) {
    this.#bucket = bucket;
    this.#logger = logger;
  }

  /** The record of `key` is about to stand. @throws {PhasorError} as a write may: then it must not. */
  async add(key: string): Promise<void> {
    let written = await this.#bucket.create(`${PREFIX}${key}`, STANDS);
    // Conditional: losing it to a fellow's key means that it is there; what says it is over is vanishing.
    while (!written.won && written.current !== undefined && written.current.value.length !== STANDS.length) {
      const { revision } = written.current;
      written = await this.#bucket.update(`${PREFIX}${key}`, STANDS, { revision });
    }
  }

  /** The record of `key` will never stand again. What fails here, a later look removes. */
  async drop(key: string): Promise<void> {
    try {
      const entry = await this.#bucket.get(`${PREFIX}${key}`);
      if (entry?.value.length !== STANDS.length) return;
      // Conditional: losing it means that a fellow removed it.
      const { revision } = entry;
      await this.#bucket.update(`${PREFIX}${key}`, OVER, { revision, ttlMs: OVER_KEEP_MS });
    } catch (err) {
      this.#logger.debug({ err, key }, 'the key of a step that stands no more was not removed');
    }
  }

  /** Keys of the records that may stand. @throws {PhasorError} as a read may. */
  async keys(): Promise<readonly string[]> {
    const found = await this.#bucket.keys(PREFIX);
    return found.map((key) => key.slice(PREFIX.length));
  }
}
