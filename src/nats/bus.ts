import type { Subject } from '../kernel/subjects.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Bus, BusMessage, BusSubscription } from '../ports/bus.ts';
import type { ConnectionState } from '../ports/pulls.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { isNoResponders } from './replies.ts';

/** Core NATS. What is published while there is no connection is lost, as is everything nobody listens to. */
export class NatsBus implements Bus {
  readonly #handle: NatsConnectionHandle;

  constructor(handle: NatsConnectionHandle) {
    this.#handle = handle;
  }

  /** @throws {PhasorError} `CLOSED`; `PUBLISH_REFUSED`: above the server's `max_payload`. */
  publish(subject: Subject, data: Uint8Array): void {
    this.#send(subject, data);
  }

  subscribe(
    subject: Subject,
    onMessage: (message: BusMessage) => void,
    options?: { readonly queue?: string },
  ): BusSubscription {
    const { nc, logger } = this.#handle;
    const queue = options?.queue;
    return nc.subscribe(subject, {
      ...(queue === undefined ? {} : { queue }),
      callback: (error, message) => {
        if (error !== null) {
          logger.warn({ subject, error: error.message }, 'nats: a subscription was refused');
          return;
        }
        const { subject: published, data, reply } = message;
        // A handler that throws must not end the connection's reader.
        try {
          if (reply === undefined || reply === '') onMessage({ subject: published, data });
          else onMessage({ subject: published, data, respond: (answer) => this.#send(reply, answer) });
        } catch (thrown) {
          logger.error({ subject, error: String(thrown) }, 'nats: a subscriber failed');
        }
      },
    });
  }

  /** The server says at once when nobody listens: that is `TIMEOUT` too, without the wait. */
  async request(
    subject: Subject,
    data: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    const message = await this.#handle.replies.request({ subject, data, timeoutMs: options.timeoutMs });
    if (isNoResponders(message)) {
      throw new PhasorError('TIMEOUT', `nobody listens on ${subject}`, { subject });
    }
    return message.data;
  }

  onConnection(listener: (state: ConnectionState) => void): () => void {
    return this.#handle.onState(listener);
  }

  #send(subject: string, data: Uint8Array): void {
    try {
      this.#handle.nc.publish(subject, data);
    } catch (error) {
      const code = this.#handle.nc.isClosed() ? 'CLOSED' : 'PUBLISH_REFUSED';
      const what = `${subject}: ${(error as Error).message}`;
      throw new PhasorError(code, what, { subject }, { cause: error });
    }
  }
}
