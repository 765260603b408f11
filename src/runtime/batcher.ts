/**
 * Natural batching (DESIGN §2): the group commit of every hop. One lane per subject.
 *
 * Invariants:
 *  B1 at most one message per subject is unanswered; what arrives meanwhile joins the next one;
 *  B2 envelopes of a subject are stored in the order of `add`, also over retries: a lane never overtakes itself;
 *  B3 a message is built once: every try sends the identical bytes, under the identical id if it has one;
 *  B4 each `stored` is called exactly once, never from within `add`.
 */
import { position, type Position } from '../kernel/position.ts';
import type { Subject } from '../kernel/subjects.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import { MAX_BODY_BYTES, MAX_ENVELOPES } from '../protocol/limits.ts';
import type { Clock, Random, Timeout } from '../ports/clock.ts';
import type { Appended, Log } from '../ports/log.ts';
import type { Logger } from '../ports/telemetry.ts';

export type StoreResult = { readonly at: Position } | { readonly error: PhasorError };
export type Stored = (result: StoreResult) => void;

export interface BatcherOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /**
   * Messages carry a `Nats-Msg-Id` and are retried identically under it (client begins, commands); otherwise they
   * carry no header at all, and a retry may store them twice: only for idempotent inputs.
   */
  readonly identified: boolean;
  /** Envelopes in one message. Default and maximum: 256. */
  readonly maxEnvelopes?: number;
  /** Bytes of one body with its brackets and commas. Default and maximum: 262_144. */
  readonly maxBytes?: number;
  /** Bytes not yet stored from which on `ready` makes callers wait. Default: 16 MiB. */
  readonly maxPendingBytes?: number;
  /**
   * Give up a message this long after its first envelope was added, with `TIMEOUT` for its callers (fresh begins:
   * inside the duplicate window, Rule 7). Default: never.
   */
  readonly giveUpAfterMs?: number;
  /**
   * What a message gets that the stream refused (missing stream, full stream): another try, more slowly, or its
   * error. Default: `retry`.
   */
  readonly onMissing?: 'retry' | 'fail';
  /** Called before every try of a message but its first. */
  readonly onRetry?: () => void;
}

/** Quick for lost answers, slow for what needs a person (a missing or full stream). Milliseconds. */
const AMBIGUOUS_BACKOFF = { firstMs: 50, maxMs: 1_000 };
const REFUSED_BACKOFF = { firstMs: 1_000, maxMs: 10_000 };
const DEFAULT_MAX_PENDING_BYTES = 16 * 1_048_576;
const DEFAULT_CLOSE_TIMEOUT_MS = 5_000;
/** Subjects are few, except those of timers: idle lanes are dropped beyond this. */
const MAX_LANES = 4_096;

interface Message {
  readonly texts: string[];
  /** By index; undefined while no envelope of the message has a callback. */
  stored: (Stored | undefined)[] | undefined;
  /** Of the body: brackets, commas and texts. */
  bytes: number;
  readonly bornMs: number;
  data: Uint8Array | undefined;
  msgId: string | undefined;
  failures: number;
  /** Some try may have been stored although it was not acknowledged. */
  ambiguous: boolean;
  /** Set by `clear`: it is not tried again. */
  dropped: PhasorError | undefined;
  settled: boolean;
}

interface Lane {
  readonly subject: Subject;
  /** Takes what is added. */
  open: Message | undefined;
  /** Full ones, oldest first, all older than `open`. */
  waiting: Message[];
  /** The one that is on the wire, or waits to be tried again (B1). */
  current: Message | undefined;
  onWire: boolean;
  backoff: Timeout | undefined;
  dirty: boolean;
}

const encoder = new TextEncoder();
const isAmbiguous = (error: unknown): boolean =>
  PhasorError.is(error, 'TIMEOUT') || PhasorError.is(error, 'CONNECTION_FAILED');
const tooLate = ({ failures }: Message, options?: ErrorOptions): PhasorError =>
  new PhasorError('TIMEOUT', 'not acknowledged in time', { tries: failures }, options);

/** @example batcher.add(subject, encodeEnvelope(report), (result) => { … }); */
export class Batcher {
  readonly #options: BatcherOptions;
  readonly #maxEnvelopes: number;
  readonly #maxBytes: number;
  readonly #maxPendingBytes: number;
  readonly #lanes = new Map<Subject, Lane>();
  #dirty: Lane[] = [];
  #scheduled = false;
  #paused = false;
  #closed = false;
  #pending = 0;
  #pendingBytes = 0;
  #roomPromise: Promise<void> | undefined;
  #announceRoom: (() => void) | undefined;
  #idlePromise: Promise<void> | undefined;
  #announceIdle: (() => void) | undefined;

  constructor(options: BatcherOptions) {
    this.#options = options;
    this.#maxEnvelopes = Math.min(options.maxEnvelopes ?? MAX_ENVELOPES, MAX_ENVELOPES);
    this.#maxBytes = Math.min(options.maxBytes ?? MAX_BODY_BYTES, MAX_BODY_BYTES);
    this.#maxPendingBytes = options.maxPendingBytes ?? DEFAULT_MAX_PENDING_BYTES;
  }

  /** Envelopes added and neither stored nor given up. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * Sends one envelope at the end of this microtask turn, or in the next message if one of its subject is in flight.
   *
   * @param envelope its JSON text.
   * @param stored told the position once it is durable, or why it was given up. After `TIMEOUT` it may be stored.
   * @throws {PhasorError} `CLOSED`; `PAYLOAD_TOO_LARGE`: it fits no message, even alone.
   */
  add(subject: Subject, envelope: string, stored?: Stored): void {
    if (this.#closed) throw new PhasorError('CLOSED', 'the publisher is closed', { subject });
    const size = Buffer.byteLength(envelope);
    if (size + 2 > this.#maxBytes)
      throw new PhasorError('PAYLOAD_TOO_LARGE', 'the envelope fits no message', { subject, bytes: size });
    const lane = this.#lanes.get(subject) ?? this.#newLane(subject);
    let message = lane.open;
    if (
      message === undefined ||
      message.texts.length >= this.#maxEnvelopes ||
      message.bytes + size + 1 > this.#maxBytes
    ) {
      if (message !== undefined) lane.waiting.push(message);
      message = lane.open = this.#newMessage();
    }
    // The first text pays for both brackets, each later one for its comma.
    const bytes = size + (message.texts.length === 0 ? 2 : 1);
    if (stored !== undefined) (message.stored ??= [])[message.texts.length] = stored;
    message.texts.push(envelope);
    message.bytes += bytes;
    this.#pending += 1;
    this.#pendingBytes += bytes;
    if (lane.current === undefined) this.#touch(lane);
  }

  /** Undefined: go on. Otherwise resolves when the pending bytes fell below half of their bound. */
  ready(): Promise<void> | undefined {
    if (this.#pendingBytes < this.#maxPendingBytes || this.#closed) return undefined;
    this.#roomPromise ??= new Promise((resolve) => (this.#announceRoom = resolve));
    return this.#roomPromise;
  }

  /** From now on nothing is sent, retries included, until `resume` (Rule 5). Adding goes on. */
  pause(): void {
    this.#paused = true;
  }

  /** Sends what waited, at once also what waited for its next try. */
  resume(): void {
    this.#paused = false;
    for (const lane of this.#lanes.values()) {
      lane.backoff?.cancel();
      lane.backoff = undefined;
      this.#touch(lane);
    }
  }

  /** Drops everything queued, with `error` for its callers; what is on the wire is not tried again. */
  clear(error: PhasorError): void {
    for (const lane of this.#lanes.values()) {
      const { current, open, waiting } = lane;
      lane.waiting = [];
      lane.open = undefined;
      if (current !== undefined && lane.onWire) current.dropped = error;
      else if (current !== undefined) this.#giveUp(lane, current, error);
      for (const message of waiting) this.#settle(message, { error });
      if (open !== undefined) this.#settle(open, { error });
    }
  }

  /**
   * Refuses further envelopes and waits until everything is stored. What is not after `timeoutMs` (default 5_000)
   * is dropped: `CLOSED` for its callers, `TIMEOUT` if it may be stored.
   */
  async close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#closed = true;
    this.#announceRoom?.();
    if (this.#pending === 0) return;
    this.#idlePromise ??= new Promise((resolve) => (this.#announceIdle = resolve));
    const { clock } = this.#options;
    const late = clock.after(options.timeoutMs ?? DEFAULT_CLOSE_TIMEOUT_MS, () => this.#abandon());
    await this.#idlePromise;
    late.cancel();
  }

  #abandon(): void {
    this.clear(new PhasorError('CLOSED', 'closed before it could be stored'));
    for (const lane of this.#lanes.values()) {
      if (lane.current === undefined) continue;
      this.#giveUp(lane, lane.current, new PhasorError('TIMEOUT', 'closed before it was acknowledged'));
    }
  }

  #newLane(subject: Subject): Lane {
    if (this.#lanes.size >= MAX_LANES) {
      for (const lane of this.#lanes.values())
        if (lane.open === undefined && lane.current === undefined) this.#lanes.delete(lane.subject);
    }
    const lane: Lane = {
      subject,
      open: undefined,
      waiting: [],
      current: undefined,
      onWire: false,
      backoff: undefined,
      dirty: false,
    };
    this.#lanes.set(subject, lane);
    return lane;
  }

  #newMessage(): Message {
    return {
      texts: [],
      stored: undefined,
      bytes: 0,
      bornMs: this.#options.clock.monotonicMs(),
      data: undefined,
      msgId: undefined,
      failures: 0,
      ambiguous: false,
      dropped: undefined,
      settled: false,
    };
  }

  #touch(lane: Lane): void {
    if (!lane.dirty) {
      lane.dirty = true;
      this.#dirty.push(lane);
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(this.#flush);
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    const lanes = this.#dirty;
    this.#dirty = [];
    for (const lane of lanes) {
      lane.dirty = false;
      this.#send(lane);
    }
  };

  #send(lane: Lane): void {
    if (this.#paused || lane.onWire || lane.backoff !== undefined) return;
    lane.current ??= this.#next(lane);
    const message = lane.current;
    if (message === undefined) return;
    if (message.failures > 0) {
      if (this.#isTooOld(message)) {
        this.#giveUp(lane, message, tooLate(message));
        return;
      }
      this.#options.onRetry?.();
    }
    if (this.#options.identified) message.msgId ??= this.#options.random.ulid(this.#options.clock.wallMs());
    lane.onWire = true;
    this.#append(lane.subject, message).then(
      (appended) => this.#appended(lane, message, appended),
      (error: unknown) => this.#failed(lane, message, error),
    );
  }

  /** Async, so that also what `append` throws at once is an answer. */
  async #append(subject: Subject, message: Message): Promise<Appended> {
    message.data ??= encoder.encode(`[${message.texts.join(',')}]`);
    const { data, msgId } = message;
    return this.#options.log.append(subject, data, msgId === undefined ? undefined : { msgId });
  }

  /** Also gives up what became too old while it waited behind others. */
  #next(lane: Lane): Message | undefined {
    for (;;) {
      const message = lane.waiting.shift() ?? lane.open;
      if (message === undefined) return undefined;
      if (message === lane.open) lane.open = undefined;
      if (!this.#isTooOld(message)) return message;
      this.#settle(message, { error: tooLate(message) });
    }
  }

  #isTooOld({ bornMs }: Message): boolean {
    const { giveUpAfterMs, clock } = this.#options;
    return giveUpAfterMs !== undefined && clock.monotonicMs() - bornMs >= giveUpAfterMs;
  }

  #appended(lane: Lane, message: Message, { seq }: Appended): void {
    if (message.settled) return;
    lane.onWire = false;
    lane.current = undefined;
    this.#settle(message, { seq });
    if (lane.open !== undefined) this.#touch(lane);
  }

  #failed(lane: Lane, message: Message, cause: unknown): void {
    if (message.settled) return;
    lane.onWire = false;
    message.failures += 1;
    message.ambiguous ||= isAmbiguous(cause);
    const end = message.dropped ?? this.#endOf(lane, message, cause);
    if (end !== undefined) this.#giveUp(lane, message, end);
    else this.#tryLater(lane, message, cause);
  }

  /** The error that ends a message after this failure; undefined: it is tried again. */
  #endOf(lane: Lane, message: Message, cause: unknown): PhasorError | undefined {
    const { subject } = lane;
    if (!isAmbiguous(cause) && this.#options.onMissing === 'fail') {
      if (PhasorError.is(cause)) return cause;
      return new PhasorError('PUBLISH_REFUSED', 'the publish failed', { subject }, { cause });
    }
    return this.#isTooOld(message) ? tooLate(message, { cause }) : undefined;
  }

  #tryLater(lane: Lane, message: Message, cause: unknown): void {
    const ambiguous = isAmbiguous(cause);
    const waitMs = this.#backoffMs(message.failures, ambiguous);
    if (!ambiguous || message.failures % 10 === 1) {
      const details = { subject: lane.subject, failures: message.failures, waitMs, err: cause };
      this.#options.logger.warn(details, ambiguous ? 'publish not acknowledged' : 'publish refused');
    }
    lane.backoff = this.#options.clock.after(waitMs, () => {
      lane.backoff = undefined;
      this.#send(lane);
    });
  }

  #backoffMs(failures: number, ambiguous: boolean): number {
    const { firstMs, maxMs } = ambiguous ? AMBIGUOUS_BACKOFF : REFUSED_BACKOFF;
    const exponential = Math.min(maxMs, firstMs * 2 ** Math.min(failures - 1, 10));
    return exponential / 2 + (exponential / 2) * this.#options.random.next();
  }

  /** Ends the lane's current message without success and goes on with the next. */
  #giveUp(lane: Lane, message: Message, cause: PhasorError): void {
    lane.backoff?.cancel();
    lane.backoff = undefined;
    lane.onWire = false;
    lane.current = undefined;
    const certain = !message.ambiguous || cause.code === 'TIMEOUT';
    const error = certain ? cause : new PhasorError('TIMEOUT', 'an earlier try may be stored', {}, { cause });
    this.#settle(message, { error });
    if (lane.open !== undefined) this.#touch(lane);
  }

  #settle(message: Message, result: { readonly seq: number } | { readonly error: PhasorError }): void {
    message.settled = true;
    this.#pending -= message.texts.length;
    this.#pendingBytes -= message.bytes;
    if (message.stored !== undefined) this.#tell(message.stored, result);
    if (this.#announceRoom !== undefined && this.#pendingBytes < this.#maxPendingBytes / 2) {
      this.#announceRoom();
      this.#announceRoom = this.#roomPromise = undefined;
    }
    if (this.#pending === 0) this.#announceIdle?.();
  }

  #tell(
    stored: readonly (Stored | undefined)[],
    result: { readonly seq: number } | { readonly error: PhasorError },
  ): void {
    for (const [index, callback] of stored.entries()) {
      try {
        callback?.('seq' in result ? { at: position(result.seq, index) } : result);
      } catch (err) {
        // One caller's fault must not stop the lane that others share.
        this.#options.logger.error({ err }, 'a callback of the publisher threw');
      }
    }
  }
}
