/**
 * An ordered reader without acks (Rule 5): an ephemeral pull consumer whose delivery sequence is checked.
 *
 * Invariants: 1. `onMessage` sees deliveries 1, 2, 3 … of the consumer, or `onLost` is called once and nothing
 * follows. 2. While a returned promise is pending nothing is delivered and nothing more is asked for, so what waits
 * here is bounded by the pulls already sent.
 */
import type { Msg } from '@nats-io/nats-core';
import { nuid } from '@nats-io/nats-core';

import { PhasorError } from '../errors/phasor-error.ts';
import type { LogMessage, LogSubscription, ReadOptions } from '../ports/log.ts';
import { parseAckReply } from './ack-reply.ts';
import { apiName, callApi, number } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { headersIn, isServerHeader } from './messages.ts';
import { Pull, type ShortPull } from './pull.ts';
import { nanosOf } from './units.ts';

/** The server removes the consumer of a reader that is gone after this long. */
const INACTIVE_MS = 30_000;
const MIN_BATCH = 32;
const MAX_BATCH = 2_000;
/** What one pull asks for, about; max_bytes would end pulls early and cost a round trip each time. */
const BYTES_PER_PULL = 4 * 1024 * 1024;
const FIRST_GUESS_BYTES = 8_192;

export interface ReaderExtra {
  /** Over the consumer's usual configuration. */
  readonly config?: object;
  /** Default: `Nats-*`. */
  readonly keepHeader?: (name: string) => boolean;
}

/** @throws {PhasorError} `STREAM_MISSING`, `CONNECTION_FAILED`, `TIMEOUT`, `REQUEST_REFUSED`. */
export async function openReader(
  handle: NatsConnectionHandle,
  options: ReadOptions,
  extra: ReaderExtra = {},
): Promise<LogSubscription> {
  const stream = apiName(options.stream);
  const name = `r-${nuid.next()}`;
  const answer = await callApi(handle, {
    subject: `$JS.API.CONSUMER.CREATE.${stream}.${name}`,
    body: {
      stream_name: stream,
      action: 'create',
      config: { ...consumerConfig(name, options), ...extra.config },
    },
  });
  // The answer may have been the last thing the connection brought.
  if (handle.state !== 'connected') throw new PhasorError('CONNECTION_FAILED', 'not connected');
  const pending = number(answer['num_pending']);
  return new Reader(handle, {
    options,
    stream,
    name,
    pending,
    keepHeader: extra.keepHeader ?? isServerHeader,
  });
}

function consumerConfig(name: string, { filters, after, sinceMs }: ReadOptions): object {
  const from =
    sinceMs === undefined
      ? { deliver_policy: 'by_start_sequence', opt_start_seq: after + 1 }
      : { deliver_policy: 'by_start_time', opt_start_time: new Date(sinceMs).toISOString() };
  return {
    name,
    ...from,
    ack_policy: 'none',
    replay_policy: 'instant',
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: nanosOf(INACTIVE_MS),
    ...filterConfig(filters),
  };
}

export function filterConfig(filters: readonly string[]): object {
  if (filters.length === 1) return { filter_subject: filters[0] };
  return filters.length === 0 ? {} : { filter_subjects: [...filters].sort() };
}

interface Opened {
  readonly options: ReadOptions;
  readonly stream: string;
  readonly name: string;
  readonly pending: number;
  readonly keepHeader: (name: string) => boolean;
}

class Reader implements LogSubscription {
  readonly pending: number;
  readonly #handle: NatsConnectionHandle;
  readonly #options: ReadOptions;
  readonly #stream: string;
  readonly #name: string;
  readonly #keepHeader: (name: string) => boolean;
  readonly #pull: Pull;
  readonly #stopListening: () => void;
  /** Only filled while a handler's promise is pending. */
  #waiting: LogMessage[] = [];
  #nextWaiting = 0;
  #paused = false;
  #open = true;
  #lastDelivery = 0;
  #lastSeq = 0;
  #averageBytes = FIRST_GUESS_BYTES;

  constructor(handle: NatsConnectionHandle, opened: Opened) {
    const { options, stream, name, pending } = opened;
    this.#keepHeader = opened.keepHeader;
    this.#handle = handle;
    this.#options = options;
    this.#stream = stream;
    this.#name = name;
    this.pending = pending;
    this.#pull = new Pull(handle, {
      stream,
      consumer: name,
      onMessage: (message) => this.#take(message),
      onShort: (short) => this.#refill(short),
      onNothing: () => this.#idle(),
      onEnd: (why) => this.#lose(why),
    });
    this.#stopListening = handle.onState((state) => {
      if (state !== 'connected') this.#lose(`connection ${state}`);
    });
    this.#refill();
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#stop();
    await this.#removeConsumer();
  }

  #stop(): void {
    this.#open = false;
    this.#waiting = [];
    this.#pull.close();
    this.#stopListening();
  }

  #lose(why: string): void {
    if (!this.#open) return;
    this.#stop();
    this.#handle.logger.debug({ stream: this.#stream, why }, 'nats: reader lost');
    void this.#removeConsumer();
    this.#options.onLost(why);
  }

  /** Best effort: what cannot be removed now the server removes by itself. */
  async #removeConsumer(): Promise<void> {
    const subject = `$JS.API.CONSUMER.DELETE.${this.#stream}.${this.#name}`;
    await callApi(this.#handle, { subject, timeoutMs: 1_000 }).catch(() => undefined);
  }

  #take(message: Msg): void {
    const at = parseAckReply(message.reply ?? '');
    if (at?.deliverySeq !== this.#lastDelivery + 1 || at.seq <= this.#lastSeq) {
      this.#lose(`gap: delivery ${at?.deliverySeq ?? '?'} after ${this.#lastDelivery}`);
      return;
    }
    this.#lastDelivery = at.deliverySeq;
    this.#lastSeq = at.seq;
    const { data } = message;
    this.#averageBytes += (data.length - this.#averageBytes) / 16;
    const headers = headersIn(message.headers, this.#keepHeader);
    const { seq, timeMs } = at;
    const { subject } = message;
    const taken: LogMessage =
      headers === undefined ? { seq, timeMs, subject, data } : { seq, timeMs, subject, data, headers };
    if (this.#paused) {
      this.#waiting.push(taken);
      return;
    }
    this.#deliver(taken);
    this.#refill();
  }

  #deliver(message: LogMessage): void {
    let result: void | Promise<void>;
    try {
      result = this.#options.onMessage(message);
    } catch (error) {
      this.#handlerFailed(error);
      return;
    }
    if (result === undefined) return;
    this.#paused = true;
    result.then(
      () => this.#resume(),
      (error: unknown) => this.#handlerFailed(error),
    );
  }

  #resume(): void {
    this.#paused = false;
    while (this.#canDeliver()) {
      const message = this.#waiting[this.#nextWaiting];
      if (message === undefined) {
        this.#waiting = [];
        this.#nextWaiting = 0;
        break;
      }
      this.#nextWaiting += 1;
      this.#deliver(message);
    }
    this.#refill();
  }

  #canDeliver(): boolean {
    return this.#open && !this.#paused;
  }

  #handlerFailed(error: unknown): void {
    this.#handle.logger.error({ stream: this.#stream, error: String(error) }, 'nats: a reader failed');
    this.#lose(`the handler failed: ${String(error)}`);
  }

  /** Asks again at half, so that the server never waits for this side. */
  #refill(_short?: ShortPull): void {
    if (!this.#canDeliver()) return;
    const fitting = Math.floor(BYTES_PER_PULL / Math.max(1, this.#averageBytes));
    const messages = Math.min(MAX_BATCH, Math.max(MIN_BATCH, fitting));
    if (this.#pull.outstanding <= messages / 2) this.#pull.send({ messages });
  }

  #idle(): void {
    if (!this.#canDeliver()) return;
    try {
      this.#options.onIdle?.();
    } catch (error) {
      this.#handlerFailed(error);
    }
  }
}
