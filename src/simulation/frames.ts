/** What travels between a node's connection and the broker: the NATS protocol as far as Phasor uses it, as data. */
import type { StoredMessage } from './stream.ts';

/** Where an answer goes: a question of one session. */
export interface ReplyAddress {
  readonly session: number;
  readonly token: number;
}

export type ClientFrame =
  | {
      readonly type: 'publish';
      readonly subject: string;
      readonly data: Uint8Array;
      readonly headers?: ReadonlyMap<string, string> | undefined;
      /** Present: an answer is wanted. */
      readonly token?: number;
    }
  | { readonly type: 'respond'; readonly to: ReplyAddress; readonly data: Uint8Array }
  | {
      readonly type: 'subscribe';
      readonly sid: number;
      readonly filter: string;
      readonly queue: string | undefined;
    }
  | { readonly type: 'unsubscribe'; readonly sid: number }
  | { readonly type: 'request'; readonly token: number; readonly call: ApiCall }
  | { readonly type: 'pull'; readonly stream: string; readonly consumer: string; readonly pull: PullRequest }
  | { readonly type: 'leave'; readonly stream: string; readonly consumer: string; readonly inbox: number }
  | {
      readonly type: 'settle';
      readonly stream: string;
      readonly consumer: string;
      readonly seq: number;
      readonly how: 'ack' | 'nak' | 'working';
      readonly delayMs?: number | undefined;
    };

export interface PullRequest {
  readonly inbox: number;
  readonly token: number;
  readonly messages: number;
  readonly bytes: number | undefined;
}

export type ApiCall =
  | { readonly type: 'ping' }
  | { readonly type: 'names'; readonly subject: string }
  | { readonly type: 'stream'; readonly stream: string }
  | { readonly type: 'get'; readonly stream: string; readonly seq: number }
  | { readonly type: 'newest'; readonly stream: string; readonly subject: string }
  | { readonly type: 'subjects'; readonly stream: string; readonly filter: string }
  | { readonly type: 'make-bucket'; readonly bucket: string }
  | {
      readonly type: 'make-reader';
      readonly stream: string;
      readonly name: string;
      readonly filters: readonly string[];
      readonly after: number;
      readonly sinceMs: number | undefined;
    }
  | {
      readonly type: 'make-durable';
      readonly stream: string;
      readonly name: string;
      readonly filters: readonly string[];
      readonly ackWaitMs: number;
    }
  | { readonly type: 'drop-consumer'; readonly stream: string; readonly name: string }
  | { readonly type: 'floor'; readonly stream: string; readonly name: string };

export interface StreamInfo {
  readonly created: string;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly lastTimeMs: number;
  readonly nowMs: number;
  readonly bytes: number;
  readonly maxBytes: number;
  readonly duplicateWindowMs: number;
  readonly metadata: Readonly<Record<string, string>>;
}

export type Answer =
  | { readonly type: 'stored'; readonly seq: number; readonly duplicate: boolean }
  | { readonly type: 'refused'; readonly errCode: number; readonly description: string }
  | { readonly type: 'no-responders' }
  | { readonly type: 'reply'; readonly data: Uint8Array }
  | { readonly type: 'ok' }
  | { readonly type: 'found'; readonly stored: boolean }
  | { readonly type: 'info'; readonly info: StreamInfo }
  | { readonly type: 'message'; readonly message: StoredMessage }
  | { readonly type: 'list'; readonly subjects: readonly string[] }
  | { readonly type: 'floor'; readonly seq: number }
  | { readonly type: 'consumer'; readonly pending: number; readonly filters: readonly string[] };

export type ServerFrame =
  | { readonly type: 'answer'; readonly token: number; readonly answer: Answer }
  | {
      readonly type: 'message';
      readonly sid: number;
      readonly subject: string;
      readonly data: Uint8Array;
      readonly reply: ReplyAddress | undefined;
    }
  | {
      readonly type: 'delivery';
      readonly inbox: number;
      readonly message: StoredMessage;
      /** 1 on the first delivery of this message by this consumer. */
      readonly deliveries: number;
      /** Counts every delivery of the consumer. */
      readonly deliverySeq: number;
    }
  | { readonly type: 'status'; readonly inbox: number; readonly status: PullStatus };

export type PullStatus =
  | { readonly type: 'idle' }
  | {
      readonly type: 'short';
      readonly token: number;
      readonly messages: number;
      readonly why: 'expired' | 'too-big';
    }
  | { readonly type: 'end'; readonly why: string };

export const NO_MESSAGE = 10037;
export const STREAM_NOT_FOUND = 10059;
export const CONSUMER_NOT_FOUND = 10014;
export const WRONG_LAST_SEQUENCE = 10071;
/** Not now: JetStream without a leader. */
export const NO_LEADER = 10008;
/** Not now: too many requests. */
export const OVERRUN = 10167;
