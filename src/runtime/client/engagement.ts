/**
 * What a client has under way: begins that wait for their outcome, watches, and what they hold.
 *
 * Invariants:
 *  E1 who will hear an outcome subscribes before the begin is published;
 *  E2 a slot is held from before the begin until its outcome, its failure, or its subscription's expiry; once.
 */
import { parseRun } from '../../kernel/position.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { countOf, durationMs } from '../../errors/options.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { World } from '../../ports/world.ts';
import type { OutcomeEnvelope } from '../../protocol/envelopes.ts';
import { DEFAULT_TTL_MS, SubscriptionManager } from '../../reliability/subscription-manager.ts';
import type { StoreResult } from '../batcher.ts';
import type { BeginRequest, CheckedBegin } from './begin-request.ts';
import { ClockOffset } from './clock-offset.ts';
import { PendingRun, type PendingHost } from './pending-run.ts';
import { Routes, type Route } from './routes.ts';
import { Slots } from './slots.ts';
import { FIRST_ASK_MS, Sweeper } from './sweeper.ts';
import { TransactionHandle, type OutcomeSource } from './transaction-handle.ts';
import { Watch, type WatchHost } from './watch.ts';

const DEFAULT_MAX_IN_FLIGHT = 10_000;

/** A request that was checked, has a slot and a way to its stream. */
export interface Admitted {
  readonly route: Route;
  readonly request: BeginRequest;
  readonly checked: CheckedBegin;
}

export class Engagement implements PendingHost, WatchHost, OutcomeSource {
  readonly routes: Routes;
  readonly slots: Slots;
  readonly #world: World;
  readonly #clockOffset: ClockOffset;
  readonly #subscriptions: SubscriptionManager;
  readonly #sweeper: Sweeper;
  readonly #stopListening: () => void;
  /** Those that hold a slot. */
  readonly #inFlight = new Set<PendingRun>();
  readonly #watches = new Set<Watch>();
  #wasConnected = false;
  #over: PhasorError | undefined;

  constructor(
    world: World,
    options: {
      readonly sender: string;
      readonly maxInFlight?: number;
      readonly maxSubscriptions?: number;
      readonly subscriptionTtlMs?: number;
    },
  ) {
    const { bus, clock } = world;
    const maxInFlight = countOf(options.maxInFlight, 'maxInFlight', DEFAULT_MAX_IN_FLIGHT);
    const maxSubscriptions = countOf(options.maxSubscriptions, 'maxSubscriptions', maxInFlight * 2);
    const ttlMs = durationMs(options.subscriptionTtlMs, 'subscriptionTtlMs', DEFAULT_TTL_MS);
    this.#world = world;
    this.#clockOffset = new ClockOffset(clock);
    this.routes = new Routes(world, {
      sender: options.sender,
      observed: (timeMs) => this.#clockOffset.observe(timeMs),
    });
    this.slots = new Slots(maxInFlight);
    this.#subscriptions = new SubscriptionManager({
      bus,
      clock,
      maxSubscriptions,
      ttlMs,
    });
    this.#sweeper = new Sweeper(world);
    this.#stopListening = bus.onConnection((state) => this.#connection(state));
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  assertOpen(): void {
    if (this.#over !== undefined) throw this.#over;
  }

  /** Resolves once the begin is durable. Takes over the caller's slot. */
  begin(admitted: Admitted): Promise<TransactionHandle> {
    return new Promise((resolve, reject) => {
      const pending = this.#pendingRun(admitted);
      pending.onStored = (at) => resolve(new TransactionHandle(this, pending, at));
      this.#start(pending, admitted, reject);
    });
  }

  /** Resolves with the outcome; the time-out counts once the begin is durable. Takes over the caller's slot. */
  run(admitted: Admitted, giveUpAtMs: number): Promise<OutcomeEnvelope> {
    const pending = this.#pendingRun(admitted);
    const outcome = pending.wait(giveUpAtMs);
    this.#start(pending, admitted, (error) => pending.fail(error));
    return outcome;
  }

  #pendingRun({ route, request, checked }: Admitted): PendingRun {
    const tx = request.tx ?? this.#world.random.ulid(Math.max(0, Math.floor(this.serverNowMs())));
    const { pattern } = route;
    return new PendingRun(this, { pattern, tx, shard: route.shardOf(tx), checked });
  }

  #start(
    pending: PendingRun,
    { route, request, checked }: Admitted,
    failed: (error: PhasorError) => void,
  ): void {
    const { tx } = pending;
    const isTold = request.reply === undefined || request.reply.includes('outcome');
    this.#inFlight.add(pending);
    try {
      this.assertOpen();
      if (isTold) this.#subscriptions.assertRoom();
      const subject = route.beginSubjects[pending.shard];
      if (subject === undefined) throw new PhasorError('STREAM_MISMATCH', 'no such shard', { tx });
      route.begins.add(subject, checked.text(tx, route.shards), (result) => {
        const error = this.#begun(pending, result, isTold);
        if (error !== undefined) failed(error);
      });
      // E1: the batcher publishes once this turn is over. Listening first would cost a socket write of its own.
      if (isTold) this.#listen(pending);
    } catch (error) {
      this.#letGo(pending);
      failed(error as PhasorError);
    }
  }

  async outcome(pending: PendingRun, timeoutMs: number): Promise<OutcomeEnvelope> {
    this.assertOpen();
    if (!this.#sweeper.has(pending)) this.#askFor(pending);
    const giveUpAtMs = this.#world.clock.monotonicMs() + timeoutMs;
    const outcome = pending.wait(giveUpAtMs);
    this.#sweeper.wake(giveUpAtMs);
    this.#world.passing('k2');
    return outcome;
  }

  /** Subscribes at once; where to ask is looked up meanwhile. */
  watch(pattern: Pattern, tx: string): Watch {
    this.assertOpen();
    const watch = new Watch({ pattern, tx, firstAskMs: FIRST_ASK_MS }, this);
    watch.lease = this.#subscriptions.subscribe(tx, watch);
    this.#watches.add(watch);
    this.routes.open(pattern).then(
      (route) => {
        watch.shard = route.shardOf(tx);
        if (this.#watches.has(watch)) this.#sweeper.add(watch);
      },
      (error: unknown) => watch.fail(error as PhasorError),
    );
    return watch;
  }

  async close(timeoutMs: number): Promise<void> {
    const closed = new PhasorError('CLOSED', 'the client is closed');
    this.#over ??= closed;
    this.slots.close(this.#over);
    await this.routes.close(timeoutMs);
    this.#fail(closed);
    this.#stopListening();
    this.#sweeper.close();
    this.#subscriptions.close();
  }

  serverNowMs(): number {
    return this.#clockOffset.nowMs();
  }

  wallMs(): number {
    return this.#world.clock.wallMs();
  }

  ended(pending: PendingRun): void {
    this.#letGo(pending);
    const { outcome, at, sentMs, ackedMs } = pending;
    if (outcome === undefined || at === undefined || !outcome.run.startsWith(`${at}.`)) return;
    // The run's name holds the stream time of its begin, whenever the outcome was told.
    this.#clockOffset.learn(parseRun(outcome.run).timeMs, { sentMs, ackedMs });
  }

  lapsed(pending: PendingRun): void {
    this.#letGo(pending);
  }

  over(watch: Watch): void {
    watch.lease?.release();
    this.#watches.delete(watch);
    this.#sweeper.delete(watch);
  }

  doubtful(waiting: PendingRun | Watch): void {
    this.#sweeper.add(waiting);
    this.#sweeper.askNow(waiting);
  }

  #begun(pending: PendingRun, result: StoreResult, isTold: boolean): PhasorError | undefined {
    if ('error' in result) {
      // Already known to be stored by its outcome.
      if (pending.at !== undefined) return undefined;
      this.#letGo(pending);
      return result.error;
    }
    this.#world.passing('k1');
    pending.stored(result.at);
    if (isTold) {
      if (pending.outcome === undefined) this.#expect(pending);
    } else if (pending.isAwaited) this.#askFor(pending);
    else this.#letGo(pending);
    return undefined;
  }

  #expect(pending: PendingRun): void {
    if (this.#sweeper.has(pending)) return;
    pending.askAtMs = this.#world.clock.monotonicMs() + FIRST_ASK_MS;
    pending.askEveryMs = FIRST_ASK_MS * 2;
    this.#sweeper.add(pending);
    this.#sweeper.wake(pending.giveUpAtMs);
    if (pending.isAwaited) this.#world.passing('k2');
  }

  /** Collected while nobody waited, or never told: from now on it is asked for. */
  #askFor(pending: PendingRun): void {
    if (pending.lease === undefined) this.#listen(pending);
    this.#sweeper.add(pending);
    this.#sweeper.askNow(pending);
    this.#sweeper.wake(pending.giveUpAtMs);
  }

  #listen(pending: PendingRun): void {
    pending.lease = this.#subscriptions.subscribe(pending.tx, pending, 'outcome');
  }

  #letGo(pending: PendingRun): void {
    pending.lease?.release();
    pending.lease = undefined;
    this.#sweeper.delete(pending);
    if (this.#inFlight.delete(pending)) this.slots.give();
  }

  #connection(state: 'connected' | 'disconnected' | 'closed'): void {
    if (state === 'connected') {
      if (this.#wasConnected) this.#sweeper.askAll();
      this.#wasConnected = true;
    } else if (state === 'closed' && this.#over === undefined) {
      this.#over = new PhasorError('CONNECTION_FAILED', 'the connection has ended');
      this.slots.close(this.#over);
      this.#fail(this.#over);
      void this.routes.close(0);
    }
  }

  #fail(error: PhasorError): void {
    for (const watch of [...this.#watches]) watch.fail(error);
    for (const swept of [...this.#sweeper]) if (swept instanceof PendingRun) swept.fail(error);
  }
}
