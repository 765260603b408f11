/**
 * Subscriptions to responses (`response.{tx}.>`) that cannot leak: each has a time to live, renewed by use and collected on
 * expiry, and their number is bounded.
 *
 * Invariants:
 *  S1 a lease ends exactly once: released, expired or closed; after that its listener hears nothing more;
 *  S2 one timer serves all, and runs only while there is something to collect.
 */
import { subjects } from '../kernel/subjects.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Bus, BusMessage, BusSubscription } from '../ports/bus.ts';
import type { Clock, Timeout } from '../ports/clock.ts';

export interface ResponseListener {
  received(message: BusMessage): void;
  /** Nobody used the lease for its time to live; it is gone. */
  expired(): void;
}

export interface Lease {
  /** Starts the time to live anew. */
  renew(): void;
  release(): void;
  readonly live: boolean;
}

export interface SubscriptionManagerOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  /** Milliseconds without use after which a lease is collected, at most a quarter late. Default: 300_000. */
  readonly ttlMs?: number;
  /** Live leases at a time. Default: 20_000. */
  readonly maxSubscriptions?: number;
}

export const DEFAULT_TTL_MS = 300_000;
const DEFAULT_MAX_SUBSCRIPTIONS = 20_000;

class Held implements Lease {
  live = true;
  usedMs: number;
  subscription: BusSubscription | undefined;

  constructor(
    private readonly manager: { readonly clock: Clock; readonly held: Set<Held> },
    readonly listener: ResponseListener,
  ) {
    this.usedMs = manager.clock.monotonicMs();
  }

  renew(): void {
    this.usedMs = this.manager.clock.monotonicMs();
  }

  release(): void {
    if (!this.live) return;
    this.live = false;
    this.manager.held.delete(this);
    this.subscription?.unsubscribe();
  }
}

export class SubscriptionManager {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #max: number;
  readonly #held = new Set<Held>();
  readonly #shared: { readonly clock: Clock; readonly held: Set<Held> };
  #sweep: Timeout | undefined;

  constructor(options: SubscriptionManagerOptions) {
    this.#bus = options.bus;
    this.#clock = options.clock;
    this.#shared = { clock: options.clock, held: this.#held };
    this.#ttlMs = options.ttlMs ?? DEFAULT_TTL_MS;
    this.#max = options.maxSubscriptions ?? DEFAULT_MAX_SUBSCRIPTIONS;
  }

  /** Live leases. */
  get size(): number {
    return this.#held.size;
  }

  /** @throws {PhasorError} `TOO_MANY_SUBSCRIPTIONS` */
  assertRoom(): void {
    if (this.#held.size >= this.#max)
      throw new PhasorError('TOO_MANY_SUBSCRIPTIONS', `${this.#max} are live`, { max: this.#max });
  }

  /**
   * Hears the responses of a transaction until released or expired. Each message renews the lease.
   *
   * @param what `outcome` listens on one literal subject only; `all` on every response of the transaction.
   * @throws {PhasorError} `TOO_MANY_SUBSCRIPTIONS`
   */
  subscribe(tx: string, listener: ResponseListener, what: 'outcome' | 'all' = 'all'): Lease {
    this.assertRoom();
    const held = new Held(this.#shared, listener);
    const subject = what === 'all' ? subjects.responsesOf(tx) : subjects.outcome(tx);
    held.subscription = this.#bus.subscribe(subject, (message) => {
      if (!held.live) return;
      held.renew();
      listener.received(message);
    });
    this.#held.add(held);
    this.#sweep ??= this.#clock.after(this.#ttlMs / 4, this.#collect);
    return held;
  }

  /** Ends every lease without telling the listeners. */
  close(): void {
    this.#sweep?.cancel();
    this.#sweep = undefined;
    for (const held of this.#held) held.release();
  }

  readonly #collect = (): void => {
    this.#sweep = undefined;
    const expiredMs = this.#clock.monotonicMs() - this.#ttlMs;
    for (const held of this.#held) {
      if (held.usedMs > expiredMs) continue;
      held.release();
      held.listener.expired();
    }
    if (this.#held.size > 0) this.#sweep ??= this.#clock.after(this.#ttlMs / 4, this.#collect);
  };
}
