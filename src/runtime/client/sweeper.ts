/**
 * Outcomes that were told while nobody could hear them (a coordinator restarted, a connection was lost) are asked for:
 * one sweeper, one timer, questions in batches per shard.
 *
 * Invariants:
 *  W1 whoever waits is asked for at growing intervals, at most 15 s apart, and at once after a reconnect;
 *  W2 at most one question per shard is under way.
 */
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { Bus } from '../../ports/bus.ts';
import type { Clock, Timeout } from '../../ports/clock.ts';
import type { Logger } from '../../ports/telemetry.ts';
import { MAX_QUERY_TXS, type FoundRun } from '../../protocol/query.ts';
import { askShard } from './ask-shard.ts';

/** Something that waits for what a coordinator may know. Times are monotonic milliseconds. */
export interface Swept {
  readonly pattern: Pattern;
  readonly shard: number;
  readonly tx: string;
  /** When to ask; Infinity: not yet. */
  askAtMs: number;
  askEveryMs: number;
  /** Does what is due by itself (time-outs, renewals); returns when it wants to be called again at the latest. */
  turn(nowMs: number): number;
  /** What a coordinator said about `tx`. */
  found(runs: readonly FoundRun[]): void;
}

export const FIRST_ASK_MS = 1_000;
const MAX_ASK_EVERY_MS = 15_000;
/** The timer is not set closer than this. */
const MIN_TURN_MS = 50;
const ASK_TIMEOUT_MS = 2_000;
const BUSY_WAIT_MS = 250;

export class Sweeper {
  readonly #bus: Bus;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #waiting = new Set<Swept>();
  readonly #busy = new Set<string>();
  #timer: Timeout | undefined;
  #wakeAtMs = Infinity;

  constructor(world: { readonly bus: Bus; readonly clock: Clock; readonly logger: Logger }) {
    this.#bus = world.bus;
    this.#clock = world.clock;
    this.#logger = world.logger;
  }

  get size(): number {
    return this.#waiting.size;
  }

  add(swept: Swept): void {
    this.#waiting.add(swept);
    this.wake(swept.askAtMs);
  }

  delete(swept: Swept): void {
    this.#waiting.delete(swept);
  }

  has(swept: Swept): boolean {
    return this.#waiting.has(swept);
  }

  [Symbol.iterator](): IterableIterator<Swept> {
    return this.#waiting.values();
  }

  askNow(swept: Swept): void {
    swept.askAtMs = this.#clock.monotonicMs();
    swept.askEveryMs = FIRST_ASK_MS;
    this.wake(swept.askAtMs);
  }

  /** After a reconnect: anything may have been told meanwhile. */
  askAll(): void {
    for (const swept of this.#waiting) if (swept.askAtMs !== Infinity) this.askNow(swept);
  }

  /** Makes sure that there is a turn at `atMs` or before, though never sooner than a moment from now. */
  wake(atMs: number): void {
    if (atMs === Infinity || atMs >= this.#wakeAtMs) return;
    this.#timer?.cancel();
    const nowMs = this.#clock.monotonicMs();
    this.#wakeAtMs = Math.max(atMs, nowMs + MIN_TURN_MS);
    this.#timer = this.#clock.after(this.#wakeAtMs - nowMs, this.#turn);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#waiting.clear();
  }

  readonly #turn = (): void => {
    this.#timer = undefined;
    this.#wakeAtMs = Infinity;
    const nowMs = this.#clock.monotonicMs();
    const due = new Map<string, Swept[]>();
    let nextMs = Infinity;
    for (const swept of this.#waiting) {
      const turnMs = swept.turn(nowMs);
      if (swept.askAtMs <= nowMs) this.#plan(swept, due, nowMs);
      nextMs = Math.min(nextMs, turnMs, swept.askAtMs);
    }
    for (const [shard, swept] of due) void this.#ask(shard, swept);
    if (this.#waiting.size > 0) this.wake(nextMs);
  };

  #plan(swept: Swept, due: Map<string, Swept[]>, nowMs: number): void {
    const shard = `${swept.pattern}/${swept.shard}`;
    if (this.#busy.has(shard)) {
      swept.askAtMs = nowMs + BUSY_WAIT_MS;
      return;
    }
    swept.askAtMs = nowMs + swept.askEveryMs;
    swept.askEveryMs = Math.min(MAX_ASK_EVERY_MS, swept.askEveryMs * 2);
    const together = due.get(shard);
    if (together === undefined) due.set(shard, [swept]);
    else together.push(swept);
  }

  async #ask(shard: string, swept: readonly Swept[]): Promise<void> {
    this.#busy.add(shard);
    try {
      for (let i = 0; i < swept.length; i += MAX_QUERY_TXS)
        await this.#askSome(swept.slice(i, i + MAX_QUERY_TXS));
    } catch (err) {
      // Nobody serves the shard just now: asked again when due (W1).
      this.#logger.debug({ err, shard }, 'no answer to a query');
    } finally {
      this.#busy.delete(shard);
    }
  }

  async #askSome(swept: readonly Swept[]): Promise<void> {
    const [first] = swept;
    if (first === undefined) return;
    const txs = [...new Set(swept.map(({ tx }) => tx))];
    const { pattern, shard } = first;
    const { found, left } = await askShard(this.#bus, { pattern, shard, txs, timeoutMs: ASK_TIMEOUT_MS });
    const byTx = new Map<string, FoundRun[]>();
    for (const run of found) byTx.set(run.tx, [...(byTx.get(run.tx) ?? []), run]);
    for (const one of swept) {
      if (!this.#waiting.has(one)) continue;
      if (left?.includes(one.tx) === true) this.askNow(one);
      one.found(byTx.get(one.tx) ?? []);
    }
  }
}
