/**
 * What every log port shares, whatever carries it: reading in order, with back-pressure, lost at the first doubt (Rule 5).
 *
 * Invariants: 1. `onMessage` sees deliveries 1, 2, 3 … of the consumer, or `onLost` is called once and nothing
 * follows. 2. While a returned promise is pending nothing is delivered and nothing more is asked for, so what waits
 * here is bounded by the pulls already sent.
 */
import type { LogMessage, LogSubscription, ReadOptions } from './log.ts';
import type { Link, Pulls } from './pulls.ts';
import type { Logger } from './telemetry.ts';

const MIN_BATCH = 32;
const MAX_BATCH = 2_000;
/** What one pull asks for, about; max_bytes would end pulls early and cost a round trip each time. */
const BYTES_PER_PULL = 4 * 1024 * 1024;
const FIRST_GUESS_BYTES = 8_192;

/** How one world carries the pulls of an ephemeral consumer. */
export interface ReadingCarrier {
  readonly options: ReadOptions;
  readonly link: Link;
  readonly logger: Logger;
  /** Matching messages when the consumer was made. */
  readonly pending: number;
  newPulls(reading: OrderedReading): Pulls;
  /** Best effort: what cannot be removed now the server removes by itself. */
  removeConsumer(): Promise<void>;
}

export class OrderedReading implements LogSubscription {
  readonly pending: number;
  readonly #carrier: ReadingCarrier;
  readonly #options: ReadOptions;
  readonly #pulls: Pulls;
  readonly #stopListening: () => void;
  /** Only filled while a handler's promise is pending. */
  #waiting: LogMessage[] = [];
  #nextWaiting = 0;
  #paused = false;
  #open = true;
  #lastDelivery = 0;
  #lastSeq = 0;
  #averageBytes = FIRST_GUESS_BYTES;

  constructor(carrier: ReadingCarrier) {
    this.#carrier = carrier;
    this.#options = carrier.options;
    this.pending = carrier.pending;
    this.#pulls = carrier.newPulls(this);
    this.#stopListening = carrier.link.onState((state) => {
      if (state !== 'connected') this.lose(`connection ${state}`);
    });
    this.refill();
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#stop();
    await this.#carrier.removeConsumer();
  }

  /** What the carrier brought. @param deliverySeq counts every delivery of the consumer. */
  take(deliverySeq: number, message: LogMessage): void {
    if (deliverySeq !== this.#lastDelivery + 1 || message.seq <= this.#lastSeq) {
      this.lose(`gap: delivery ${deliverySeq} after ${this.#lastDelivery}`);
      return;
    }
    this.#lastDelivery = deliverySeq;
    this.#lastSeq = message.seq;
    this.#averageBytes += (message.data.length - this.#averageBytes) / 16;
    if (this.#paused) {
      this.#waiting.push(message);
      return;
    }
    this.#deliver(message);
    this.refill();
  }

  /** The server has nothing to send. */
  idle(): void {
    if (!this.#canDeliver()) return;
    try {
      this.#options.onIdle?.();
    } catch (error) {
      this.#handlerFailed(error);
    }
  }

  /** Asks again at half, so that the server never waits for this side. */
  refill(): void {
    if (!this.#canDeliver()) return;
    const fitting = Math.floor(BYTES_PER_PULL / Math.max(1, this.#averageBytes));
    const messages = Math.min(MAX_BATCH, Math.max(MIN_BATCH, fitting));
    if (this.#pulls.outstanding <= messages / 2) this.#pulls.send({ messages });
  }

  lose(why: string): void {
    if (!this.#open) return;
    this.#stop();
    this.#carrier.logger.debug({ stream: this.#options.stream, why }, 'a reader was lost');
    void this.#carrier.removeConsumer();
    this.#options.onLost(why);
  }

  #stop(): void {
    this.#open = false;
    this.#waiting = [];
    this.#pulls.close();
    this.#stopListening();
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
    this.refill();
  }

  #canDeliver(): boolean {
    return this.#open && !this.#paused;
  }

  #handlerFailed(error: unknown): void {
    this.#carrier.logger.error({ stream: this.#options.stream, error: String(error) }, 'a reader failed');
    this.lose(`the handler failed: ${String(error)}`);
  }
}
