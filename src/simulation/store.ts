import type { Actor, Scheduler } from './scheduler.ts';

/** A participant's own database as one node sees it: transactions are atomic, durable and one at a time. */
export interface Store<T> {
  /** What is committed now. Never change it except in `transact`. */
  readonly value: T;
  /**
   * Carries out `change` whole at its commit, some time from now, and answers a little later. When the node dies in
   * between, the change has happened or not, and nobody is told. `change` must not throw after it changed something.
   */
  transact<R>(change: (value: T) => R): Promise<R>;
}

export interface StoreHost {
  readonly scheduler: Scheduler;
  readonly actor: Actor;
  /** Drawn for the way to the commit and for the way back. */
  readonly latencyMs: () => number;
}

export class NodeStore<T> implements Store<T> {
  readonly #held: { readonly value: T };
  readonly #host: StoreHost;

  constructor(held: { readonly value: T }, host: StoreHost) {
    this.#held = held;
    this.#host = host;
  }

  get value(): T {
    return this.#held.value;
  }

  transact<R>(change: (value: T) => R): Promise<R> {
    const { scheduler, actor, latencyMs } = this.#host;
    return new Promise((resolve, reject) => {
      scheduler.after(actor, latencyMs(), () => {
        try {
          const result = change(this.#held.value);
          scheduler.after(actor, latencyMs(), () => resolve(result));
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
  }
}
