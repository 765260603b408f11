import { PhasorError } from '../errors/phasor-error.ts';
import type { WorkOptions } from '../ports/work.ts';
import { apiName, askApi, number, record, text, type ApiRecord } from './api.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { filterConfig } from './reader.ts';
import { CONSUMER_NAME_TAKEN, CONSUMER_NOT_FOUND, refusal } from './refusals.ts';
import { nanosOf } from './units.ts';

const MAX_ACK_PENDING = 10_000;
const MAX_WAITING = 2_048;

/**
 * A pure function of the options: every worker of a participant asks for the very same consumer.
 *
 * It begins at the stream's start: a participant must not miss what was commanded before its first worker came. So one
 * that was deleted and made again delivers all commands once more, years-old ones too. The barrier makes that safe:
 * what it remembers it answers from its record, and without a record an act or a finish older than half of what it
 * keeps is `stale` (barrier-table.ts); reports about ended runs are dropped. Barrier `none` leaves old finishes and
 * undos to its handlers, which answer a repeated call the same.
 */
export function durableConfig({ durable, filters, ackWaitMs }: WorkOptions): ApiRecord {
  return {
    name: durable,
    durable_name: durable,
    deliver_policy: 'all',
    ack_policy: 'explicit',
    replay_policy: 'instant',
    ack_wait: nanosOf(ackWaitMs),
    max_deliver: -1,
    max_ack_pending: MAX_ACK_PENDING,
    max_waiting: MAX_WAITING,
    ...filterConfig(filters),
  };
}

/**
 * Looks first: a worker whose consumer was made for it needs no permission to make one. `action: create` never
 * changes an existing consumer; losing that race means another worker made it.
 */
export async function ensureConsumer(handle: NatsConnectionHandle, options: WorkOptions): Promise<void> {
  const stream = apiName(options.stream);
  const durable = apiName(options.durable);
  const found = await consumerConfig(handle, stream, durable);
  if (found !== undefined) {
    requireUsable(handle, found, options);
    return;
  }
  const subject = `$JS.API.CONSUMER.CREATE.${stream}.${durable}`;
  const body = { stream_name: stream, action: 'create', config: durableConfig(options) };
  const answer = await askApi(handle, { subject, body });
  if (answer.type === 'ok') return;
  if (CONSUMER_NAME_TAKEN.includes(answer.error.errCode)) {
    const theirs = await consumerConfig(handle, stream, durable);
    if (theirs !== undefined) {
      requireUsable(handle, theirs, options);
      return;
    }
  }
  const details = { stream, consumer: durable };
  throw refusal(answer.error, { what: subject, details, otherwise: 'REQUEST_REFUSED' });
}

async function consumerConfig(
  handle: NatsConnectionHandle,
  stream: string,
  durable: string,
): Promise<ApiRecord | undefined> {
  const subject = `$JS.API.CONSUMER.INFO.${stream}.${durable}`;
  const answer = await askApi(handle, { subject });
  if (answer.type === 'ok') return record(answer.value['config']);
  if (answer.error.errCode === CONSUMER_NOT_FOUND) return undefined;
  const details = { stream, consumer: durable };
  throw refusal(answer.error, { what: subject, details, otherwise: 'REQUEST_REFUSED' });
}

/** A foreign configuration is kept; only one that would lose or misdirect messages is refused. */
function requireUsable(handle: NatsConnectionHandle, found: ApiRecord, options: WorkOptions): void {
  const { stream, durable } = options;
  const problem = unusable(found, options);
  if (problem !== undefined) {
    const what = `consumer ${durable} of ${stream} ${problem}`;
    throw new PhasorError('STREAM_MISMATCH', what, { stream, consumer: durable });
  }
  const wanted = durableConfig(options);
  const other = ['ack_wait', 'max_deliver'].filter((name) => number(found[name]) !== number(wanted[name]));
  if (other.length > 0) {
    handle.logger.warn({ stream, durable, other }, 'nats: the consumer was made with other settings');
  }
}

function unusable(found: ApiRecord, { filters }: WorkOptions): string | undefined {
  if (text(found['deliver_subject']) !== '') return 'is a push consumer';
  if (found['ack_policy'] !== 'explicit') return 'does not take explicit acks';
  const several = found['filter_subjects'];
  const single = text(found['filter_subject']);
  const theirs = Array.isArray(several) ? several.map(text) : single === '' ? [] : [single];
  const same = theirs.length === filters.length && filters.every((filter) => theirs.includes(filter));
  return same ? undefined : `has other filters: ${theirs.join(', ')}`;
}
