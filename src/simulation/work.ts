/** As src/nats/work.ts: demand that adds up, acks that are fire and forget, healing by itself. */
import { PhasorError } from '../errors/phasor-error.ts';
import type { Delivery, Work, WorkOptions, WorkProgress, WorkSource } from '../ports/work.ts';
import { expectAnswer, type SimulatedConnection } from './connection.ts';
import { NO_MESSAGE } from './frames.ts';
import { Pull, type DeliveryFrame, type ShortPull } from './pull.ts';

const HEAL_FIRST_MS = 100;
const HEAL_MAX_MS = 2_000;
/** What a delivery counts for beyond its body: subject, ack subject, headers. */
const OVERHEAD_BYTES = 128;

export class SimulatedWork implements Work {
  readonly #connection: SimulatedConnection;

  constructor(connection: SimulatedConnection) {
    this.#connection = connection;
  }

  async open(options: WorkOptions): Promise<WorkSource> {
    await ensureConsumer(this.#connection, options);
    return new Source(this.#connection, options);
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

class Source implements WorkSource {
  readonly #connection: SimulatedConnection;
  readonly #options: WorkOptions;
  readonly #stopListening: () => void;
  #pull: Pull | undefined;
  #held = 0;
  #byteBound: number | undefined;
  #unsettled = 0;
  #unsettledBytes = 0;
  /** The next message is larger than the room left. */
  #tooBig = false;
  #flushDue = false;
  #healing = false;
  #closing = false;

  constructor(connection: SimulatedConnection, options: WorkOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#pull = this.#newPull();
    this.#stopListening = connection.onState((state) => {
      if (state === 'disconnected') this.#trouble('connection lost');
      else if (state === 'closed') void this.close();
    });
  }

  request(messages: number, bytes?: number): void {
    if (this.#closing) return;
    this.#held += messages;
    this.#byteBound = bytes ?? this.#byteBound;
    this.#flushSoon();
  }

  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#stopListening();
    await this.#pull?.drain();
  }

  #newPull(): Pull {
    const { stream, durable } = this.#options;
    return new Pull(this.#connection, {
      stream,
      consumer: durable,
      onMessage: (delivery) => this.#deliver(delivery),
      onShort: (short) => this.#comesShort(short),
      onEnd: (why) => this.#trouble(why),
    });
  }

  /** Requests of one tick travel together. */
  #flushSoon(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    queueMicrotask(() => {
      this.#flushDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    const pull = this.#pull;
    if (pull === undefined || this.#closing || this.#held === 0 || this.#held < pull.outstanding) return;
    const isIdle = this.#unsettled === 0 && pull.outstanding === 0;
    if (this.#tooBig) {
      if (isIdle) this.#askForOne(pull);
      return;
    }
    const bound = this.#byteBound;
    const bytes = bound === undefined ? undefined : isIdle ? bound : bound - this.#unsettledBytes;
    if (bytes !== undefined && bytes <= 0) return;
    const messages = this.#held;
    this.#held = 0;
    pull.send(bytes === undefined ? { messages } : { messages, bytes });
  }

  /** It fits in no room that there is: it comes alone, without a bound. */
  #askForOne(pull: Pull): void {
    this.#tooBig = false;
    this.#held -= 1;
    pull.send({ messages: 1 });
  }

  #comesShort({ messages, why }: ShortPull): void {
    this.#held += messages;
    if (why === 'too-big') this.#tooBig = true;
    this.#flushSoon();
  }

  #deliver(frame: DeliveryFrame): void {
    const bytes = frame.message.data.length + frame.message.subject.length + OVERHEAD_BYTES;
    this.#unsettled += 1;
    this.#unsettledBytes += bytes;
    const { stream, durable } = this.#options;
    const delivery = new SimulatedDelivery(frame, {
      connection: this.#connection,
      stream,
      durable,
      settled: () => this.#settled(bytes),
    });
    try {
      this.#options.onDelivery(delivery);
    } catch (error) {
      const { logger } = this.#connection.options;
      logger.error({ seq: delivery.seq, error: String(error) }, 'simulation: a delivery handler failed');
    }
    if (this.#held > 0) this.#flushSoon();
  }

  #settled(bytes: number): void {
    this.#unsettled -= 1;
    this.#unsettledBytes -= bytes;
    const bound = this.#byteBound ?? Infinity;
    // Trying sooner would be refused again and again, once per settled message.
    if (this.#tooBig && this.#unsettled > 0 && bound - this.#unsettledBytes >= bound / 2)
      this.#tooBig = false;
    if (this.#held > 0) this.#flushSoon();
  }

  #trouble(why: string): void {
    this.#held += this.#pull?.outstanding ?? 0;
    this.#pull?.close();
    this.#pull = undefined;
    if (this.#closing || this.#healing) return;
    this.#options.onTrouble?.(why);
    void this.#heal();
  }

  async #heal(): Promise<void> {
    this.#healing = true;
    let lastProblem = '';
    for (let waitMs = 0; !this.#isClosing(); waitMs = nextWait(waitMs)) {
      await this.#delay(waitMs);
      try {
        await this.#connection.connected(HEAL_MAX_MS);
        if (this.#isClosing()) break;
        await ensureConsumer(this.#connection, this.#options);
        if (this.#connection.state !== 'connected') continue;
        break;
      } catch (error) {
        if (PhasorError.is(error, 'CLOSED')) break;
        const problem = PhasorError.is(error) ? error.what : String(error);
        if (problem !== lastProblem) this.#options.onTrouble?.(problem);
        lastProblem = problem;
      }
    }
    this.#healing = false;
    if (this.#isClosing() || this.#connection.state === 'closed') return;
    this.#pull = this.#newPull();
    this.#flush();
  }

  #delay(waitMs: number): Promise<void> {
    return new Promise((resolve) => this.#connection.options.clock.afterActive(waitMs, resolve));
  }

  /** A method, so that the compiler does not take the field for unchanged across an await. */
  #isClosing(): boolean {
    return this.#closing;
  }
}

const nextWait = (waitMs: number): number => Math.min(HEAL_MAX_MS, Math.max(HEAL_FIRST_MS, waitMs * 2));

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
