/** The log's reader in the model: an ephemeral consumer of the broker. */
import { PhasorError } from '../errors/phasor-error.ts';
import type { LogMessage, LogSubscription, ReadOptions } from '../ports/log.ts';
import { OrderedReading } from '../ports/ordered-reading.ts';
import { expectAnswer, type SimulatedConnection } from './connection.ts';
import { Pull } from './pull.ts';
import type { StoredMessage } from './stream.ts';

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
  return new OrderedReading({
    options,
    link: connection,
    logger: connection.options.logger,
    pending,
    newPulls: (reading) =>
      new Pull(connection, {
        stream,
        consumer: name,
        onMessage: ({ message, deliverySeq }) => reading.take(deliverySeq, logMessageOf(message)),
        onShort: () => reading.refill(),
        onNothing: () => reading.idle(),
        onEnd: (why) => reading.lose(why),
      }),
    removeConsumer: async () => {
      await connection.call({ type: 'drop-consumer', stream, name }, 1_000).catch(() => undefined);
    },
  });
}

export function logMessageOf({ seq, timeMs, subject, data, headers }: StoredMessage): LogMessage {
  return headers === undefined ? { seq, timeMs, subject, data } : { seq, timeMs, subject, data, headers };
}
