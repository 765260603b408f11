/**
 * Workers' durable consumers (queue groups): explicit acks, raw pulls by demand.
 *
 * Invariants: 1. What was asked for and has not come is either `held` here or outstanding at the server, never lost:
 * pulls that end early give it back. 2. After trouble a new inbox is used, so pulls from before cannot bring more
 * than was asked for. 3. A delivery that nobody handled comes again after the ack wait.
 */
import { setTimeout as delay } from 'node:timers/promises';

import type { Msg, NatsConnection } from '@nats-io/nats-core';

import { PhasorError } from '../errors/phasor-error.ts';
import type { Subject } from '../kernel/subjects.ts';
import type { Delivery, Work, WorkOptions, WorkProgress, WorkSource } from '../ports/work.ts';
import { parseAckReply, type DeliveryPosition } from './ack-reply.ts';
import { apiName, askApi, number, record } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { ensureConsumer } from './durable.ts';
import { Pull, type ShortPull } from './pull.ts';
import { CONSUMER_NOT_FOUND, NO_MESSAGE, refusal } from './refusals.ts';
import { nanosOf } from './units.ts';

const encoder = new TextEncoder();
const ACK = encoder.encode('+ACK');
const WORKING = encoder.encode('+WPI');
const NAK = encoder.encode('-NAK');
const HEAL_FIRST_MS = 100;
const HEAL_MAX_MS = 2_000;
/** What a delivery counts for beyond its body: subject, ack subject, headers. */
const OVERHEAD_BYTES = 128;

export class NatsWork implements Work {
  readonly #handle: NatsConnectionHandle;

  constructor(handle: NatsConnectionHandle) {
    this.#handle = handle;
  }

  /**
   * @throws {PhasorError} `STREAM_MISSING`; `STREAM_MISMATCH`: a consumer of that name that cannot serve;
   *   `CONNECTION_FAILED`, `TIMEOUT`.
   */
  async open(options: WorkOptions): Promise<WorkSource> {
    await ensureConsumer(this.#handle, options);
    return new Source(this.#handle, options);
  }

  async progress(options: Pick<WorkOptions, 'stream' | 'durable' | 'filters'>): Promise<WorkProgress> {
    const { stream, durable, filters } = options;
    // The stream first: what is acknowledged afterwards is at most more.
    const newest = await Promise.all(filters.map((filter) => this.#newest(stream, filter)));
    const subject = `$JS.API.CONSUMER.INFO.${apiName(stream)}.${apiName(durable)}`;
    const answer = await askApi(this.#handle, { subject });
    const lastSeq = Math.max(0, ...newest);
    if (answer.type === 'ok')
      return { lastSeq, ackFloor: number(record(answer.value['ack_floor'])['stream_seq']) };
    if (answer.error.errCode === CONSUMER_NOT_FOUND) return { lastSeq, ackFloor: 0 };
    throw refusal(answer.error, {
      what: subject,
      details: { stream, durable },
      otherwise: 'REQUEST_REFUSED',
    });
  }

  async #newest(stream: string, filter: Subject): Promise<number> {
    const subject = `$JS.API.STREAM.MSG.GET.${apiName(stream)}`;
    const answer = await askApi(this.#handle, { subject, body: { last_by_subj: filter } });
    if (answer.type === 'ok') return number(record(answer.value['message'])['seq']);
    if (answer.error.errCode === NO_MESSAGE) return 0;
    throw refusal(answer.error, { what: subject, details: { stream, filter }, otherwise: 'REQUEST_REFUSED' });
  }
}

class Source implements WorkSource {
  readonly #handle: NatsConnectionHandle;
  readonly #options: WorkOptions;
  readonly #stopListening: () => void;
  #pull: Pull | undefined;
  #held = 0;
  #byteBound: number | undefined;
  #unsettled = 0;
  #unsettledBytes = 0;
  /** The next message is larger than the room left: nothing is asked for until enough of what is in hand is settled. */
  #tooBig = false;
  #flushDue = false;
  #healing = false;
  #closing = false;

  constructor(handle: NatsConnectionHandle, options: WorkOptions) {
    this.#handle = handle;
    this.#options = options;
    this.#pull = this.#newPull();
    this.#stopListening = handle.onState((state) => {
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
    return new Pull(this.#handle, {
      stream,
      consumer: durable,
      onMessage: (message) => this.#deliver(message),
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

  /**
   * Asks when at least half of the demand is here: the server still has the other half to send meanwhile, and a
   * worker with many slots has a few pulls waiting there, not one per slot (a consumer takes 512 from all workers).
   */
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

  #deliver(message: Msg): void {
    const at = parseAckReply(message.reply ?? '');
    if (at === undefined) {
      this.#handle.logger.error({ reply: message.reply }, 'nats: not an ack subject');
      return;
    }
    const bytes = message.data.length + message.subject.length + OVERHEAD_BYTES;
    this.#unsettled += 1;
    this.#unsettledBytes += bytes;
    const settled = (): void => this.#settled(bytes);
    const delivery = new NatsDelivery({ message, at, settled, nc: this.#handle.nc });
    try {
      this.#options.onDelivery(delivery);
    } catch (error) {
      this.#handle.logger.error({ seq: at.seq, error: String(error) }, 'nats: a delivery handler failed');
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

  /** Until it works or is closed: a consumer that has vanished is made again, from the stream's start (`durableConfig`). */
  async #heal(): Promise<void> {
    this.#healing = true;
    let lastProblem = '';
    for (let waitMs = 0; !this.#isClosing(); waitMs = nextWait(waitMs)) {
      await delay(waitMs);
      try {
        await this.#handle.connected(HEAL_MAX_MS);
        if (this.#isClosing()) break;
        await ensureConsumer(this.#handle, this.#options);
        if (this.#handle.state !== 'connected') continue;
        break;
      } catch (error) {
        if (PhasorError.is(error, 'CLOSED')) break;
        const problem = PhasorError.is(error) ? error.what : String(error);
        if (problem !== lastProblem) this.#options.onTrouble?.(problem);
        lastProblem = problem;
      }
    }
    this.#healing = false;
    if (this.#isClosing() || this.#handle.state === 'closed') return;
    this.#pull = this.#newPull();
    this.#flush();
  }

  /** A method, so that the compiler does not take the field for unchanged across an await. */
  #isClosing(): boolean {
    return this.#closing;
  }
}

const nextWait = (waitMs: number): number => Math.min(HEAL_MAX_MS, Math.max(HEAL_FIRST_MS, waitMs * 2));

interface Delivered {
  readonly message: Msg;
  readonly at: DeliveryPosition;
  readonly nc: NatsConnection;
  readonly settled: () => void;
}

class NatsDelivery implements Delivery {
  readonly seq: number;
  readonly timeMs: number;
  readonly deliveries: number;
  readonly subject: string;
  readonly data: Uint8Array;
  readonly #reply: string;
  readonly #nc: NatsConnection;
  readonly #settled: () => void;
  #isSettled = false;

  constructor({ message, at, nc, settled }: Delivered) {
    this.seq = at.seq;
    this.timeMs = at.timeMs;
    this.deliveries = at.deliveries;
    this.subject = message.subject;
    this.data = message.data;
    this.#reply = message.reply ?? '';
    this.#nc = nc;
    this.#settled = settled;
  }

  ack(): void {
    this.#settle(ACK);
  }

  nak(delayMs?: number): void {
    const wait = delayMs === undefined || delayMs <= 0 ? undefined : nanosOf(delayMs);
    this.#settle(wait === undefined ? NAK : encoder.encode(`-NAK {"delay": ${wait}}`));
  }

  working(): void {
    if (!this.#isSettled) this.#send(WORKING);
  }

  #settle(answer: Uint8Array): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#send(answer);
    this.#settled();
  }

  /** Fire and forget: with the connection closed or draining the delivery comes again. */
  #send(answer: Uint8Array): void {
    if (!this.#nc.isClosed() && !this.#nc.isDraining()) this.#nc.publish(this.#reply, answer);
  }
}
