import type { Subject } from '../kernel/subjects.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Bus, BusMessage, BusSubscription } from '../ports/bus.ts';
import type { ConnectionState } from '../ports/pulls.ts';
import { MAX_PAYLOAD, type SimulatedConnection } from './connection.ts';

/** As src/nats/bus.ts: what is published while there is no connection is lost. */
export class SimulatedBus implements Bus {
  readonly #connection: SimulatedConnection;

  constructor(connection: SimulatedConnection) {
    this.#connection = connection;
  }

  publish(subject: Subject, data: Uint8Array): void {
    this.#requireSendable(subject, data);
    this.#connection.send({ type: 'publish', subject, data: data.slice() });
  }

  subscribe(
    subject: Subject,
    onMessage: (message: BusMessage) => void,
    options?: { readonly queue?: string },
  ): BusSubscription {
    const connection = this.#connection;
    const unsubscribe = connection.subscribe({
      filter: subject,
      queue: options?.queue,
      onMessage: ({ subject: published, data, reply }) => {
        const respond = (answer: Uint8Array): void => {
          this.#requireSendable(subject, answer);
          if (reply !== undefined) connection.send({ type: 'respond', to: reply, data: answer.slice() });
        };
        try {
          onMessage({ subject: published, data, ...(reply === undefined ? {} : { respond }) });
        } catch (thrown) {
          const { logger } = connection.options;
          logger.error({ subject, error: String(thrown) }, 'simulation: a subscriber failed');
        }
      },
    });
    return { unsubscribe };
  }

  async request(
    subject: Subject,
    data: Uint8Array,
    options: { readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    const sent = data.slice();
    const answer = await this.#connection.question({
      what: subject,
      timeoutMs: options.timeoutMs,
      frame: (token) => ({ type: 'publish', subject, data: sent, token }),
    });
    if (answer.type === 'reply') return answer.data;
    throw new PhasorError('TIMEOUT', `nobody listens on ${subject}`, { subject });
  }

  onConnection(listener: (state: ConnectionState) => void): () => void {
    return this.#connection.onState(listener);
  }

  #requireSendable(subject: string, data: Uint8Array): void {
    if (this.#connection.state === 'closed')
      throw new PhasorError('CLOSED', `${subject}: the connection is closed`, { subject });
    if (data.length > MAX_PAYLOAD)
      throw new PhasorError('PUBLISH_REFUSED', `${subject}: above max_payload`, { subject });
  }
}
