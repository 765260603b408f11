/**
 * The bare wire of the floor: raw publishes with one inbox for acknowledgements, raw pulls, natural batching. Its own
 * code on purpose: the floor must not inherit a cost of the product.
 */
import { createInbox, type Msg, type NatsConnection } from '@nats-io/nats-core';

const MAX_ENVELOPES = 256;

interface Lane {
  parts: string[];
  inFlight: boolean;
}

/** One message per subject in flight; what arrives meanwhile joins the next. No retries, no checks. */
export class RawPublisher {
  readonly #nc: NatsConnection;
  readonly #inbox = createInbox();
  readonly #lanes = new Map<string, Lane>();
  readonly #waiting = new Map<string, Lane & { subject: string }>();
  #next = 0;
  #dirty: string[] = [];

  constructor(nc: NatsConnection) {
    this.#nc = nc;
    nc.subscribe(`${this.#inbox}.*`, {
      callback: (_, message) => {
        const lane = this.#waiting.get(message.subject);
        if (lane === undefined) return;
        this.#waiting.delete(message.subject);
        lane.inFlight = false;
        if (lane.parts.length > 0) this.#send(lane.subject, lane);
      },
    });
  }

  add(subject: string, part: string): void {
    let lane = this.#lanes.get(subject) as (Lane & { subject: string }) | undefined;
    if (lane === undefined) {
      lane = { subject, parts: [], inFlight: false };
      this.#lanes.set(subject, lane);
    }
    lane.parts.push(part);
    if (lane.inFlight || lane.parts.length > 1) return;
    if (this.#dirty.push(subject) === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const subject of dirty) {
      const lane = this.#lanes.get(subject) as Lane & { subject: string };
      if (!lane.inFlight && lane.parts.length > 0) this.#send(subject, lane);
    }
  }

  #send(subject: string, lane: Lane & { subject: string }): void {
    const parts = lane.parts.length <= MAX_ENVELOPES ? lane.parts : lane.parts.slice(0, MAX_ENVELOPES);
    lane.parts = parts === lane.parts ? [] : lane.parts.slice(MAX_ENVELOPES);
    lane.inFlight = true;
    const reply = `${this.#inbox}.${(this.#next += 1)}`;
    this.#waiting.set(reply, lane);
    this.#nc.publish(subject, `[${parts.join(',')}]`, { reply });
  }
}

export interface ConsumerSpec {
  readonly stream: string;
  readonly filters: readonly string[];
  /** Durable with explicit acks, or ephemeral without. */
  readonly durable?: string;
}

const PULL = 1_000;

/** Calls `onMessage` for every message of the filters, pulling ahead so that the flow never stalls. */
export async function consume(
  nc: NatsConnection,
  spec: ConsumerSpec,
  onMessage: (message: Msg) => void,
): Promise<void> {
  const name = spec.durable ?? `floor-${Math.random().toString(36).slice(2)}`;
  const config = {
    ...(spec.durable === undefined
      ? { name, ack_policy: 'none', mem_storage: true, inactive_threshold: 60_000_000_000 }
      : { durable_name: name, ack_policy: 'explicit', max_ack_pending: 10_000 }),
    deliver_policy: 'all',
    filter_subjects: spec.filters,
  };
  const create = `$JS.API.CONSUMER.CREATE.${spec.stream}.${name}`;
  await nc.request(create, JSON.stringify({ stream_name: spec.stream, config }));
  const inbox = createInbox();
  const next = `$JS.API.CONSUMER.MSG.NEXT.${spec.stream}.${name}`;
  const request = JSON.stringify({ batch: PULL, expires: 600_000_000_000 });
  let left = 0;
  const pull = (): void => {
    left += PULL;
    nc.publish(next, request, { reply: inbox });
  };
  nc.subscribe(inbox, {
    callback: (_, message) => {
      if (message.headers !== undefined && message.headers.code > 0) return;
      left -= 1;
      if (left < PULL / 2) pull();
      onMessage(message);
    },
  });
  pull();
}
