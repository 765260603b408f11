/** Core messaging: at most once, not stored. Responses and queries travel here. */
import type { Subject } from '../kernel/subjects.ts';

export interface BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Present on requests. */
  respond?(data: Uint8Array): void;
}

export interface BusSubscription {
  unsubscribe(): void;
}

export interface Bus {
  publish(subject: Subject, data: Uint8Array): void;
  subscribe(
    subject: Subject,
    onMessage: (message: BusMessage) => void,
    options?: { readonly queue?: string },
  ): BusSubscription;
  /** @throws {PhasorError} `TIMEOUT` when nobody answered in time (also when nobody listens). */
  request(subject: Subject, data: Uint8Array, options: { readonly timeoutMs: number }): Promise<Uint8Array>;
  /** Called on every change; at once with the current state. Returns the way to stop listening. */
  onConnection(listener: (state: 'connected' | 'disconnected' | 'closed') => void): () => void;
}
