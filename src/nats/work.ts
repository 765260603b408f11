/** Workers' durable consumers (queue groups) on NATS: explicit acks, raw pulls by demand. */
import { setTimeout as delay } from 'node:timers/promises';

import type { Msg, NatsConnection } from '@nats-io/nats-core';

import type { Subject } from '../kernel/subjects.ts';
import { DemandSource } from '../ports/demand-source.ts';
import type { Delivery, Work, WorkOptions, WorkProgress, WorkSource } from '../ports/work.ts';
import { parseAckReply, type DeliveryPosition } from './ack-reply.ts';
import { apiName, askApi, number, record } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { ensureConsumer } from './durable.ts';
import { Pull } from './pull.ts';
import { CONSUMER_NOT_FOUND, NO_MESSAGE, refusal } from './refusals.ts';
import { nanosOf } from './units.ts';

const encoder = new TextEncoder();
const ACK = encoder.encode('+ACK');
const WORKING = encoder.encode('+WPI');
const NAK = encoder.encode('-NAK');

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
    const handle = this.#handle;
    const ensure = (): Promise<void> => ensureConsumer(handle, options);
    await ensure();
    const { stream, durable: consumer } = options;
    return new DemandSource<Msg>({
      options,
      link: handle,
      logger: handle.logger,
      newPulls: (events) => new Pull(handle, { stream, consumer, ...events }),
      ensureConsumer: ensure,
      pause: (ms) => delay(ms),
      deliveryOf: (message, settled) => {
        const at = parseAckReply(message.reply ?? '');
        if (at !== undefined) return new NatsDelivery({ message, at, settled, nc: handle.nc });
        handle.logger.error({ reply: message.reply }, 'nats: not an ack subject');
        return undefined;
      },
    });
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
