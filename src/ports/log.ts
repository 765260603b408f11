/** The log as the engine sees it: ordered streams that keep what they acknowledged. */
import type { Subject } from '../kernel/subjects.ts';

export interface LogMessage {
  readonly seq: number;
  /** Stream timestamp, floored to milliseconds. */
  readonly timeMs: number;
  readonly subject: string;
  readonly data: Uint8Array;
  /** Values of `Nats-*` headers by name; undefined when the message has no headers at all. */
  readonly headers?: ReadonlyMap<string, string>;
}

export interface Appended {
  readonly seq: number;
  /** The server had stored a message with the same id before: `seq` is that one's. */
  readonly duplicate: boolean;
}

export interface StreamState {
  /** Creation time as the server prints it: another value means another stream under the same name. */
  readonly created: string;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly lastTimeMs: number;
  /** The server's wall clock when it answered. */
  readonly nowMs: number;
  readonly bytes: number;
  readonly maxBytes: number;
  readonly duplicateWindowMs: number;
  /** Fixed when the stream was made (`shards`, `dedupWindow` in its metadata). */
  readonly shards: number;
  readonly dedupWindowMs: number;
}

export interface ReadOptions {
  readonly stream: string;
  /** Subject filters. */
  readonly filters: readonly Subject[];
  /** Only messages above this sequence; 0 reads from the start. */
  readonly after: number;
  /** Only messages stored at or after this stream time; mutually exclusive with `after` above 0. */
  readonly sinceMs?: number;
  /**
   * In stream order, each matching message once, without gaps. While a returned promise is pending no further
   * message is delivered: back-pressure.
   */
  readonly onMessage: (message: LogMessage) => void | Promise<void>;
  /**
   * Every matching message stored so far has been delivered; said within seconds, again and again, while nothing new
   * comes. What counts to `pending` and vanishes (expired, purged) is never delivered: only this tells that it is over.
   */
  readonly onIdle?: () => void;
  /**
   * The subscription is over and nothing more will be delivered: a gap in the delivery sequence, a lost
   * connection, a deleted consumer, missed heartbeats. The caller opens another one after its last folded message.
   */
  readonly onLost: (why: string) => void;
}

export interface LogSubscription {
  /**
   * Matching messages that were stored when the subscription was made: the head is reached after that many, or
   * earlier, at `onIdle`, when some vanish meanwhile.
   */
  readonly pending: number;
  close(): Promise<void>;
}

export interface Log {
  /**
   * One try to store one message. Resolves once it is durable.
   *
   * @param options.msgId `Nats-Msg-Id`: the same id within the duplicate window is stored once.
   * @throws {PhasorError} `TIMEOUT` or `CONNECTION_FAILED`: it may or may not be stored. `PUBLISH_REFUSED`: it is
   *   not (stream full, too large). `STREAM_MISSING`: no stream takes the subject.
   */
  append(subject: Subject, data: Uint8Array, options?: { readonly msgId?: string }): Promise<Appended>;
  /** @throws {PhasorError} `STREAM_MISSING`, `CONNECTION_FAILED`, `TIMEOUT`. */
  read(options: ReadOptions): Promise<LogSubscription>;
  /** The message at `seq`, or undefined when the stream does not hold it. */
  get(stream: string, seq: number): Promise<LogMessage | undefined>;
  state(stream: string): Promise<StreamState>;
  /** The subjects of a stream's messages that match the filter, in no particular order. */
  subjects(stream: string, filter: Subject): Promise<readonly string[]>;
}
