/** Workers' durable consumers in the model: acks that are fire and forget. */
import { PhasorError } from '../errors/phasor-error.ts';
import { DemandSource } from '../ports/demand-source.ts';
import type { Delivery, Work, WorkOptions, WorkProgress, WorkSource } from '../ports/work.ts';
import { expectAnswer, type SimulatedConnection } from './connection.ts';
import { NO_MESSAGE } from './frames.ts';
import { Pull, type DeliveryFrame } from './pull.ts';

export class SimulatedWork implements Work {
  readonly #connection: SimulatedConnection;

  constructor(connection: SimulatedConnection) {
    this.#connection = connection;
  }

  async open(options: WorkOptions): Promise<WorkSource> {
    const connection = this.#connection;
    const ensure = (): Promise<void> => ensureConsumer(connection, options);
    await ensure();
    const { stream, durable } = options;
    const { logger, clock } = connection.options;
    return new DemandSource<DeliveryFrame>({
      options,
      link: connection,
      logger,
      newPulls: (events) => new Pull(connection, { stream, consumer: durable, ...events }),
      ensureConsumer: ensure,
      pause: (ms) => new Promise((resolve) => clock.afterActive(ms, resolve)),
      deliveryOf: (frame, settled) => new SimulatedDelivery(frame, { connection, stream, durable, settled }),
    });
  }

  async progress(options: Pick<WorkOptions, 'stream' | 'durable' | 'filters'>): Promise<WorkProgress> {
    const { stream, durable, filters } = options;
    // The stream first: what is acknowledged afterwards is at most more.
    const newest = await Promise.all(filters.map((filter) => this.#newest(stream, filter)));
    const answer = await this.#connection.call({ type: 'floor', stream, name: durable });
    const { seq } = expectAnswer(answer, 'floor', `${stream}/${durable}`);
    return { lastSeq: Math.max(0, ...newest), ackFloor: seq };
  }

  async #newest(stream: string, subject: string): Promise<number> {
    const answer = await this.#connection.call({ type: 'newest', stream, subject });
    if (answer.type === 'refused' && answer.errCode === NO_MESSAGE) return 0;
    return expectAnswer(answer, 'message', stream).message.seq;
  }
}

/** @throws {PhasorError} `STREAM_MISSING`; `STREAM_MISMATCH`: a consumer of that name with other filters. */
async function ensureConsumer(connection: SimulatedConnection, options: WorkOptions): Promise<void> {
  const { stream, durable, filters, ackWaitMs } = options;
  const answer = await connection.call({ type: 'make-durable', stream, name: durable, filters, ackWaitMs });
  const theirs = expectAnswer(answer, 'consumer', `${stream}/${durable}`).filters;
  if (theirs.length === filters.length && filters.every((filter) => theirs.includes(filter))) return;
  const what = `consumer ${durable} of ${stream} has other filters: ${theirs.join(', ')}`;
  throw new PhasorError('STREAM_MISMATCH', what, { stream, consumer: durable });
}

interface DeliveredAt {
  readonly connection: SimulatedConnection;
  readonly stream: string;
  readonly durable: string;
  readonly settled: () => void;
}

class SimulatedDelivery implements Delivery {
  readonly seq: number;
  readonly timeMs: number;
  readonly deliveries: number;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly #at: DeliveredAt;
  #isSettled = false;

  constructor({ message, deliveries }: DeliveryFrame, at: DeliveredAt) {
    this.seq = message.seq;
    this.timeMs = message.timeMs;
    this.deliveries = deliveries;
    this.subject = message.subject;
    this.data = message.data;
    this.#at = at;
  }

  ack(): void {
    this.#settle('ack');
  }

  nak(delayMs?: number): void {
    this.#settle('nak', delayMs);
  }

  working(): void {
    if (!this.#isSettled) this.#send('working');
  }

  #settle(how: 'ack' | 'nak', delayMs?: number): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#send(how, delayMs);
    this.#at.settled();
  }

  /** Fire and forget: without a connection the delivery comes again. */
  #send(how: 'ack' | 'nak' | 'working', delayMs?: number): void {
    const { connection, stream, durable: consumer } = this.#at;
    connection.send({ type: 'settle', stream, consumer, seq: this.seq, how, delayMs });
  }
}
