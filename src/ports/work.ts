/** Durable queue-group consumers: every command goes to one worker, and comes again until acknowledged. */
import type { Subject } from '../kernel/subjects.ts';

export interface Delivery {
  readonly seq: number;
  /** Stream timestamp, floored to milliseconds. */
  readonly timeMs: number;
  readonly subject: string;
  readonly data: Uint8Array;
  /** 1 on the first delivery. */
  readonly deliveries: number;
  /** Done: never delivered again. Fire and forget: a lost ack means one more delivery. */
  ack(): void;
  /** Still at work: the ack wait starts anew. */
  working(): void;
  /** Deliver again after `delayMs`. */
  nak(delayMs?: number): void;
}

export interface WorkOptions {
  readonly stream: string;
  /** Name of the durable consumer, shared by all workers of a participant. */
  readonly durable: string;
  readonly filters: readonly Subject[];
  /** Without ack or in-progress signal for this long a delivery comes again, to any worker. */
  readonly ackWaitMs: number;
  readonly onDelivery: (delivery: Delivery) => void;
  /** Trouble that heals by itself (reconnects, a consumer re-created); for logs and health. */
  readonly onTrouble?: (why: string) => void;
}

export interface WorkSource {
  /** Asks for `messages` more deliveries in all, at most `bytes` of them together. Demand adds up. */
  request(messages: number, bytes?: number): void;
  /** Stops asking; deliveries already on their way still arrive until `close` resolves. */
  close(): Promise<void>;
}

/** How far the workers of one durable consumer have come. */
export interface WorkProgress {
  /** Sequence of the newest stored message that matches the filters; 0: there is none. Read before `ackFloor`. */
  readonly lastSeq: number;
  /** Every matching message up to this stream sequence is acknowledged; 0: none is, or there is no such consumer. */
  readonly ackFloor: number;
}

export interface Work {
  /** Creates the durable consumer when it is missing (never changes a foreign one) and attaches to it. */
  open(options: WorkOptions): Promise<WorkSource>;
  /**
   * From the leaders, never ahead of the truth: what it calls acknowledged was, and what was stored before the call
   * counts.
   *
   * @param options.filters subjects without wildcards, those of the consumer.
   * @throws {PhasorError} `STREAM_MISSING`, `CONNECTION_FAILED`, `TIMEOUT`.
   */
  progress(options: Pick<WorkOptions, 'stream' | 'durable' | 'filters'>): Promise<WorkProgress>;
}
