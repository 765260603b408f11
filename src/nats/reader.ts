/** The log's reader on NATS: an ephemeral pull consumer without acks, whose delivery sequence is checked (Rule 5). */
import { nuid } from '@nats-io/nats-core';

import { PhasorError } from '../errors/phasor-error.ts';
import type { LogSubscription, ReadOptions } from '../ports/log.ts';
import { OrderedReading } from '../ports/ordered-reading.ts';
import { parseAckReply } from './ack-reply.ts';
import { apiName, callApi, number } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { headersIn, isServerHeader } from './messages.ts';
import { Pull } from './pull.ts';
import { nanosOf } from './units.ts';

/** The server removes the consumer of a reader that is gone after this long. */
const INACTIVE_MS = 30_000;

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
  const keepHeader = extra.keepHeader ?? isServerHeader;
  return new OrderedReading({
    options,
    link: handle,
    logger: handle.logger,
    pending,
    newPulls: (reading) =>
      new Pull(handle, {
        stream,
        consumer: name,
        onMessage: ({ reply = '', subject, data, headers: sent }) => {
          const at = parseAckReply(reply);
          if (at === undefined) {
            reading.lose(`gap: not an ack subject: ${reply}`);
            return;
          }
          const { seq, timeMs } = at;
          const headers = headersIn(sent, keepHeader);
          reading.take(
            at.deliverySeq,
            headers === undefined ? { seq, timeMs, subject, data } : { seq, timeMs, subject, data, headers },
          );
        },
        onShort: () => reading.refill(),
        onNothing: () => reading.idle(),
        onEnd: (why) => reading.lose(why),
      }),
    removeConsumer: async () => {
      const subject = `$JS.API.CONSUMER.DELETE.${stream}.${name}`;
      await callApi(handle, { subject, timeoutMs: 1_000 }).catch(() => undefined);
    },
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
