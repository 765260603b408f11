import { Durable, Reader, type Consumer, type ConsumerHost, type Receiver } from './consumer.ts';
import { CONSUMER_NOT_FOUND, NO_MESSAGE, STREAM_NOT_FOUND, type Answer, type ApiCall } from './frames.ts';
import { subjectMatches } from './routing.ts';
import type { StreamModel } from './stream.ts';

export interface ApiTarget {
  readonly entry: (
    stream: string,
  ) => { readonly model: StreamModel; readonly consumers: Map<string, Consumer> } | undefined;
  readonly takes: (subject: string) => boolean;
  readonly wallMs: () => number;
  readonly host: () => ConsumerHost;
  readonly makeBucket: (bucket: string) => boolean;
  readonly note: (type: string, where: string, number: number) => void;
}

type Entry = NonNullable<ReturnType<ApiTarget['entry']>>;
type StreamCall = Extract<ApiCall, { readonly stream: string }>;

/** The JetStream API: what is answered from what is there. */
export class BrokerApi {
  readonly #at: ApiTarget;

  constructor(at: ApiTarget) {
    this.#at = at;
  }

  answer(call: ApiCall, asker: Receiver): Answer {
    switch (call.type) {
      case 'ping':
        return { type: 'ok' };
      case 'names':
        return { type: 'found', stored: this.#at.takes(call.subject) };
      case 'make-bucket':
        this.#at.makeBucket(call.bucket);
        return { type: 'ok' };
      default: {
        const entry = this.#at.entry(call.stream);
        if (entry !== undefined) return this.#ofStream(call, entry, asker);
        return { type: 'refused', errCode: STREAM_NOT_FOUND, description: 'stream not found' };
      }
    }
  }

  #ofStream(call: StreamCall, entry: Entry, asker: Receiver): Answer {
    const { model } = entry;
    const nowMs = this.#at.wallMs();
    switch (call.type) {
      case 'stream':
        return { type: 'info', info: infoOf(model, nowMs) };
      case 'get':
        return found(model.at(call.seq, nowMs));
      case 'newest':
        return found(model.newest(call.subject, nowMs));
      case 'subjects': {
        const seen = new Set<string>();
        for (const { subject } of model.messages(nowMs))
          if (!seen.has(subject) && subjectMatches(call.filter, subject)) seen.add(subject);
        return { type: 'list', subjects: [...seen] };
      }
      case 'make-reader':
        return this.#makeReader(call, entry, asker);
      case 'make-durable':
        return this.#makeDurable(call, entry);
      case 'floor': {
        const consumer = entry.consumers.get(call.name);
        return { type: 'floor', seq: consumer instanceof Durable ? consumer.ackFloor : 0 };
      }
      case 'drop-consumer': {
        const consumer = entry.consumers.get(call.name);
        consumer?.stop();
        entry.consumers.delete(call.name);
        return consumer === undefined
          ? { type: 'refused', errCode: CONSUMER_NOT_FOUND, description: 'consumer not found' }
          : { type: 'ok' };
      }
    }
  }

  #makeReader(
    call: StreamCall & { type: 'make-reader' },
    { model, consumers }: Entry,
    owner: Receiver,
  ): Answer {
    const { name, filters, sinceMs } = call;
    const after = sinceMs === undefined ? call.after : this.#before(model, sinceMs);
    const reader = new Reader(name, filters, { stream: model, host: this.#at.host(), after, owner });
    consumers.set(name, reader);
    return { type: 'consumer', pending: reader.pending, filters };
  }

  /** Never changes a consumer that is there: its filters tell whose it is. */
  #makeDurable(call: StreamCall & { type: 'make-durable' }, { model, consumers }: Entry): Answer {
    const { name, ackWaitMs } = call;
    const there = consumers.get(name);
    if (there !== undefined) return { type: 'consumer', pending: 0, filters: there.filter.filters };
    const made = new Durable(name, call.filters, { stream: model, host: this.#at.host(), ackWaitMs });
    consumers.set(name, made);
    this.#at.note('consumer', made.where, 0);
    return { type: 'consumer', pending: 0, filters: call.filters };
  }

  #before(model: StreamModel, sinceMs: number): number {
    for (const { seq, timeMs } of model.messages(this.#at.wallMs())) if (timeMs >= sinceMs) return seq - 1;
    return model.lastSeq;
  }
}

const found = (message: ReturnType<StreamModel['at']>): Answer =>
  message === undefined
    ? { type: 'refused', errCode: NO_MESSAGE, description: 'no message found' }
    : { type: 'message', message };

function infoOf(model: StreamModel, nowMs: number): Extract<Answer, { type: 'info' }>['info'] {
  const { created, firstSeq, lastSeq, lastTimeMs, bytes, settings } = model;
  const { maxBytes, duplicateWindowMs, metadata } = settings;
  return {
    ...{ created, firstSeq, lastSeq, lastTimeMs, bytes },
    ...{ nowMs: Math.floor(nowMs), maxBytes, duplicateWindowMs, metadata },
  };
}
