/** As src/nats/reader.ts: in order, with back-pressure, lost at the first doubt. */
import { PhasorError } from '../errors/phasor-error.ts';
import type { LogMessage, LogSubscription, ReadOptions } from '../ports/log.ts';
import { expectAnswer, type SimulatedConnection } from './connection.ts';
import { Pull, type DeliveryFrame } from './pull.ts';
import type { StoredMessage } from './stream.ts';

const MIN_BATCH = 32;
const MAX_BATCH = 2_000;
const BYTES_PER_PULL = 4 * 1024 * 1024;
const FIRST_GUESS_BYTES = 8_192;

/** @throws {PhasorError} `STREAM_MISSING`, `CONNECTION_FAILED`, `TIMEOUT`. */
export async function openReader(
  connection: SimulatedConnection,
  options: ReadOptions,
): Promise<LogSubscription> {
  const { stream, filters, after, sinceMs } = options;
  const name = `r-${connection.options.name}-${connection.options.random.bits().toString(16)}`;
  const answer = await connection.call({ type: 'make-reader', stream, name, filters, after, sinceMs });
  const { pending } = expectAnswer(answer, 'consumer', stream);
  if (connection.state !== 'connected') throw new PhasorError('CONNECTION_FAILED', 'not connected');
  return new Reading(connection, { options, name, pending });
}

class Reading implements LogSubscription {
  readonly pending: number;
  readonly #connection: SimulatedConnection;
  readonly #options: ReadOptions;
  readonly #name: string;
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

  constructor(
    connection: SimulatedConnection,
    { options, name, pending }: { options: ReadOptions; name: string; pending: number },
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#name = name;
    this.pending = pending;
    this.#pull = new Pull(connection, {
      stream: options.stream,
      consumer: name,
      onMessage: (delivery) => this.#take(delivery),
      onShort: () => this.#refill(),
      onNothing: () => this.#idle(),
      onEnd: (why) => this.#lose(why),
    });
    this.#stopListening = connection.onState((state) => {
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
    void this.#removeConsumer();
    this.#options.onLost(why);
  }

  async #removeConsumer(): Promise<void> {
    const { stream } = this.#options;
    const call = { type: 'drop-consumer', stream, name: this.#name } as const;
    await this.#connection.call(call, 1_000).catch(() => undefined);
  }

  #take({ message, deliverySeq }: DeliveryFrame): void {
    if (deliverySeq !== this.#lastDelivery + 1 || message.seq <= this.#lastSeq) {
      this.#lose(`gap: delivery ${deliverySeq} after ${this.#lastDelivery}`);
      return;
    }
    this.#lastDelivery = deliverySeq;
    this.#lastSeq = message.seq;
    this.#averageBytes += (message.data.length - this.#averageBytes) / 16;
    const taken = logMessageOf(message);
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
      this.#lose(`the handler failed: ${String(error)}`);
      return;
    }
    if (result === undefined) return;
    this.#paused = true;
    result.then(
      () => this.#resume(),
      (error: unknown) => this.#lose(`the handler failed: ${String(error)}`),
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

  #refill(): void {
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
      this.#lose(`the handler failed: ${String(error)}`);
    }
  }
}

export function logMessageOf({ seq, timeMs, subject, data, headers }: StoredMessage): LogMessage {
  return headers === undefined ? { seq, timeMs, subject, data } : { seq, timeMs, subject, data, headers };
}
