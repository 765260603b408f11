/**
 * Reads one shard's inputs in order, folds them, and knows when it may act: at the head of a verified log (Rules 5, 6).
 *
 * Invariants:
 *  S1 folding resumes after the last folded message, never elsewhere; before anything is published after a lost
 *     subscription, that message has been read again and is the same (Rule 5);
 *  S2 until the head is reached nothing is sent; then what has no report is sent once: after a start all of it,
 *     after a gap only what was implied since (Rule 6).
 */
import type { Digest } from '../kernel/hash.ts';
import { subjects } from '../kernel/subjects.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { LogMessage, LogSubscription } from '../ports/log.ts';
import type { World } from '../ports/world.ts';
import type { ShardFacts } from '../protocol/admission.ts';
import type { FoldInput } from '../protocol/fold-sink.ts';
import { ShardFold } from '../protocol/fold.ts';
import { letterData } from './dead-letters.ts';
import { readInputs, shaOf, type Unreadable } from './read-inputs.ts';
import type { ShardActions } from './shard-actions.ts';

interface Folded {
  readonly seq: number;
  readonly timeMs: number;
  readonly sha: Digest;
}

export interface ShardRunnerOptions {
  readonly world: World;
  readonly stream: string;
  readonly facts: ShardFacts;
  readonly actions: ShardActions;
  /** The subscription was lost: nothing may be published for this shard. */
  readonly onLost: () => void;
  /** The log has been verified; publishing may go on. */
  readonly onVerified: () => void;
  /** This shard stops: the log is not what it was, or this build must not fold it. */
  readonly onFailure: (error: PhasorError) => void;
  /** Called with the stream time of each message. */
  readonly onTime: (timeMs: number) => void;
  /** Present while readers must wait for publishers. */
  readonly ready: () => Promise<void> | undefined;
}

const RETRY_MS = 250;
/** A server that is just starting may not know its streams yet. */
const MISSING_TRIES = 12;

export class ShardRunner {
  readonly fold: ShardFold;
  readonly #options: ShardRunnerOptions;
  #subscription: LogSubscription | undefined;
  #generation = 0;
  #created: string | undefined;
  #last: Folded | undefined;
  #closed = false;
  /** Messages folded from the current subscription, and how many make its head. */
  #foldedHere = 0;
  #headAfter: number | undefined;
  /** Everything implied up to here has been handed on; what was folded after it while not live has not (S2). */
  #actedSeq = 0;
  /** Resolves when the head is reached for the first time. */
  readonly firstHead: Promise<void>;
  #announceHead: () => void = () => undefined;

  constructor(options: ShardRunnerOptions) {
    this.#options = options;
    this.fold = new ShardFold(options.facts, options.actions);
    this.firstHead = new Promise((resolve) => (this.#announceHead = resolve));
  }

  /** Resolves once the subscription stands; replay and all later repairs go on in the background. */
  async start(created: string): Promise<void> {
    this.#created = created;
    await this.#subscribe();
  }

  /** Stream time of the last folded message. */
  get lastMs(): number {
    return this.#last?.timeMs ?? 0;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#generation += 1;
    await this.#subscription?.close();
  }

  /** False when this subscription was lost or closed while it was being made. */
  async #subscribe(): Promise<boolean> {
    const { world, stream, facts, actions } = this.#options;
    const generation = (this.#generation += 1);
    this.#foldedHere = 0;
    this.#headAfter = undefined;
    actions.live = false;
    const subscription = await world.log.read({
      stream,
      filters: [subjects.shardInputs(facts.pattern, facts.shard)],
      after: this.#last?.seq ?? 0,
      onMessage: (message) => (generation === this.#generation ? this.#onMessage(message) : undefined),
      onLost: (why) => {
        if (generation === this.#generation && !this.#closed) this.#lost(why);
      },
    });
    if (generation !== this.#generation || this.#closed) {
      await subscription.close();
      return false;
    }
    this.#subscription = subscription;
    this.#headAfter = subscription.pending;
    this.#checkHead();
    return true;
  }

  #onMessage(message: LogMessage): Promise<void> | undefined {
    const { world, onTime, ready, onFailure } = this.#options;
    world.passing(this.#headAfter === undefined || this.#foldedHere < this.#headAfter ? 'c11' : 'c1');
    const sha = shaOf(message.data);
    try {
      readInputs(message, sha, {
        onInput: (input) => this.#fold(input),
        onUnreadable: (unreadable) => this.#unreadable(message, unreadable),
      });
    } catch (cause) {
      // A broken invariant: stop before a wrong decision is carried out; the log is intact.
      this.#stop();
      const details = { seq: message.seq, subject: message.subject };
      onFailure(
        new PhasorError('FOLD_FAILED', 'the fold of an input broke an invariant', details, { cause }),
      );
      return undefined;
    }
    this.#last = { seq: message.seq, timeMs: message.timeMs, sha };
    onTime(message.timeMs);
    this.#foldedHere += 1;
    this.#checkHead();
    return ready();
  }

  #fold(input: FoldInput): void {
    this.fold.fold(input);
    const { kind } = input.address;
    if (kind === 'begin') this.#options.world.passing('c2');
    else if (kind === 'report') this.#options.world.passing('c4');
  }

  #unreadable(message: LogMessage, { index, problem, envelope }: Unreadable): void {
    const data = index === undefined ? message.data : letterData(envelope, message.data);
    const at = `${message.seq}.${index ?? 0}`;
    this.#options.actions.deadLetter({ position: at, subject: message.subject, problem, data });
  }

  #checkHead(): void {
    if (this.#options.actions.live || this.#headAfter === undefined || this.#foldedHere < this.#headAfter)
      return;
    this.#options.world.passing('c12');
    this.#options.actions.live = true;
    this.#options.actions.catchUp(this.fold, this.#actedSeq);
    this.#announceHead();
  }

  #stop(): void {
    this.#generation += 1;
    if (this.#options.actions.live) this.#actedSeq = this.#last?.seq ?? 0;
    this.#options.actions.live = false;
    this.#options.onLost();
    void this.#subscription?.close().catch(() => undefined);
    this.#subscription = undefined;
  }

  #lost(why: string): void {
    const { world, stream, facts } = this.#options;
    world.logger.warn({ stream, shard: facts.shard, why }, 'the reader was lost; resuming');
    this.#stop();
    this.#repair().catch((cause: unknown) => {
      const error = PhasorError.is(cause)
        ? cause
        : new PhasorError('FOLD_FAILED', 'the reader could not be repaired', { stream }, { cause });
      this.#options.onFailure(error);
    });
  }

  async #repair(): Promise<void> {
    for (let missing = 0; !this.#closed;) {
      try {
        await this.#verify();
        if (await this.#subscribe()) this.#options.onVerified();
        return;
      } catch (error) {
        if (PhasorError.is(error, 'STREAM_MISSING')) missing += 1;
        else if (!PhasorError.is(error, 'TIMEOUT') && !PhasorError.is(error, 'CONNECTION_FAILED'))
          throw error;
        if (missing >= MISSING_TRIES) throw error;
        await new Promise<void>((resolve) => this.#options.world.clock.after(RETRY_MS, resolve));
      }
    }
  }

  /** Rule 5: the same stream, and the last folded message is still what was folded. */
  async #verify(): Promise<void> {
    const { world, stream, facts } = this.#options;
    const { created, nowMs } = await world.log.state(stream);
    this.#options.onTime(nowMs);
    const where = { stream, shard: facts.shard };
    if (created !== this.#created) {
      throw new PhasorError('LOG_DIVERGED', `stream ${stream} was deleted and made anew`, where);
    }
    const last = this.#last;
    if (last === undefined) return;
    const again = await world.log.get(stream, last.seq);
    const sha = again === undefined ? undefined : shaOf(again.data);
    if (again?.timeMs !== last.timeMs || sha?.hi !== last.sha.hi || sha.lo !== last.sha.lo) {
      const details = { ...where, seq: last.seq, found: again !== undefined };
      throw new PhasorError(
        'LOG_DIVERGED',
        `message ${last.seq} of ${stream} is not what was folded`,
        details,
      );
    }
  }
}
