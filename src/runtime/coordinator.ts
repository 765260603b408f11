/**
 * The coordinator: for each pattern, folds every shard's inputs and carries out what they imply (DESIGN §4). It keeps
 * no private truth; any number of them may run on the same streams, at worst a command goes out twice.
 */
import { shardOf } from '../kernel/hash.ts';
import { streamOf } from '../kernel/subjects.ts';
import { PATTERNS, type Pattern } from '../kernel/vocabulary.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { StreamState } from '../ports/log.ts';
import type { World } from '../ports/world.ts';
import type { ShardFacts } from '../protocol/admission.ts';
import { RunExpiry, type ExpiryStrategy } from '../reliability/adaptive-expiry.ts';
import { PhaseMonitor } from '../reliability/phase-monitor.ts';
import { Batcher } from './batcher.ts';
import { Children } from './children.ts';
import { DeadLetterBox } from './dead-letters.ts';
import { OUTCOME_BUCKET, OutcomeKeys } from './outcome-keys.ts';
import { serveQueries, type QueryService } from './query-service.ts';
import { RecentOutcomes } from './recent-outcomes.ts';
import { ServerClock } from './server-clock.ts';
import { ShardActions, type PatternResources } from './shard-actions.ts';
import { ShardRunner } from './shard-runner.ts';
import { StrayInputs } from './stray-inputs.ts';

/** Between two looks at the server's clock. */
const TIME_CHECK_MS = 5_000;

export interface CoordinatorOptions {
  /** Patterns to drive. Default: every pattern this build has a machine for. */
  readonly patterns?: readonly Pattern[];
  /**
   * Commands in one message, 1..256: smaller spreads work over more workers, larger costs less. Default: 64.
   */
  readonly commandsPerMessage?: number;
  /**
   * When a deadline passes whose plan gives it an `upper` bound: `fixed` at its lower bound; `adaptive` later, up to the
   * upper one, as twice the observed p99 of such work and the load ask for. Default: `fixed`.
   */
  readonly expiry?: ExpiryStrategy;
  /**
   * Called when a pattern had to stop: `LOG_DIVERGED`, `STREAM_MISSING`, `FOLD_FAILED`, `VERSION_UNKNOWN`. The other
   * patterns go on. Default: logs the error.
   */
  readonly onFailure?: (error: PhasorError) => void;
}

export interface Coordinator {
  readonly patterns: readonly Pattern[];
  /** Runs in memory, over all patterns. */
  readonly openRuns: number;
  /** Resolves once every shard has reached the head of its log for the first time. */
  readonly ready: Promise<void>;
  /** Stops reading, stores what was implied, within 5 s. */
  close(): Promise<void>;
}

/**
 * Starts driving transactions. Resolves once every shard is being read; replay goes on in the background.
 *
 * @throws {PhasorError} `STREAM_MISSING` (run `phasor streams apply`), `CONNECTION_FAILED`, `TIMEOUT`.
 */
export async function startCoordinator(world: World, options: CoordinatorOptions = {}): Promise<Coordinator> {
  const patterns = options.patterns ?? PATTERNS;
  const keys = new OutcomeKeys(await world.keyValue.bucket(OUTCOME_BUCKET));
  const drivers: PatternDriver[] = [];
  try {
    for (const pattern of patterns) {
      const state = await world.log.state(streamOf(pattern));
      const driver = new PatternDriver(world, { ...options, pattern, keys, state });
      drivers.push(driver);
      await driver.start(state.created);
    }
  } catch (error) {
    await Promise.all(drivers.map((driver) => driver.close()));
    throw error;
  }
  return {
    patterns,
    get openRuns() {
      return drivers.reduce((sum, driver) => sum + driver.openRuns, 0);
    },
    ready: Promise.all(drivers.map((driver) => driver.ready)).then(() => undefined),
    close: async () => {
      await Promise.all(drivers.map((driver) => driver.close()));
    },
  };
}

interface Shard {
  readonly runner: ShardRunner;
  readonly actions: ShardActions;
}

interface DriverOptions extends CoordinatorOptions {
  readonly pattern: Pattern;
  readonly keys: OutcomeKeys;
  readonly state: StreamState;
}

/** One pattern: its shards share publishers, so that one verification gate guards them all (Rule 5). */
class PatternDriver {
  readonly ready: Promise<void>;
  readonly #world: World;
  readonly #options: DriverOptions;
  readonly #commands: Batcher;
  readonly #alone: Batcher;
  readonly #inputs: Batcher;
  readonly #letters: DeadLetterBox;
  readonly #children: Children;
  readonly #monitor: PhaseMonitor;
  readonly #shards: Shard[] = [];
  readonly #unverified = new Set<number>();
  readonly #queries: QueryService;
  readonly #strays: StrayInputs;
  #failed = false;
  #closed = false;

  constructor(world: World, options: DriverOptions) {
    this.#world = { ...world, logger: world.logger.child({ pattern: options.pattern }) };
    this.#options = options;
    const { pattern, keys, state } = options;
    const stream = streamOf(pattern);
    const publishing = { ...this.#world, onMissing: 'retry' } as const;
    this.#commands = new Batcher({
      ...publishing,
      identified: true,
      maxEnvelopes: options.commandsPerMessage ?? 64,
    });
    this.#alone = new Batcher({ ...publishing, identified: true, maxEnvelopes: 1 });
    this.#inputs = new Batcher({ ...publishing, identified: false });
    this.#letters = new DeadLetterBox(this.#world);
    this.#children = new Children({ world: this.#world, pattern, inputs: this.#inputs, keys });
    const serverClock = new ServerClock(world.clock);
    const expiry = options.expiry === 'adaptive' ? new RunExpiry(() => this.openRuns) : undefined;
    this.#monitor = new PhaseMonitor({
      clock: world.clock,
      nowMs: () => serverClock.nowMs(),
      ...(expiry === undefined ? {} : { extraMs: (run, timer) => expiry.extraMs(run, timer) }),
      fire: (run, timer) => this.#shardOf(run.facts.tx)?.actions.fire(run, timer),
    });
    const shared: PatternResources = {
      world: this.#world,
      pattern,
      dedupWindowMs: state.dedupWindowMs,
      commands: this.#commands,
      alone: this.#alone,
      inputs: this.#inputs,
      monitor: this.#monitor,
      expiry,
      keys,
      recent: new RecentOutcomes(),
      children: this.#children,
      deadLetter: (letter, stored) => {
        this.#letters.add(letter, stored);
      },
      onHalt: (why) => {
        this.#fail(new PhasorError('VERSION_UNKNOWN', why, { stream }));
      },
    };
    for (let shard = 0; shard < state.shards; shard += 1) {
      const { shards, duplicateWindowMs, dedupWindowMs } = state;
      const facts = { pattern, shard, shards, duplicateWindowMs, dedupWindowMs };
      this.#shards.push(this.#openShard(facts, shared, serverClock));
    }
    const heads = this.#shards.map(({ runner }) => runner.firstHead);
    this.ready = Promise.all(heads).then(() => undefined);
    this.#queries = serveQueries({
      world: this.#world,
      pattern,
      keys,
      recent: shared.recent,
      duplicateWindowMs: state.duplicateWindowMs,
      shards: this.#shards.map(({ runner, actions }) => ({
        fold: runner.fold,
        isLive: () => actions.live,
        lastMs: () => runner.lastMs,
      })),
    });
    this.#strays = new StrayInputs({
      world: this.#world,
      pattern,
      shards: state.shards,
      deadLetter: shared.deadLetter,
    });
    serverClock.observe(state.nowMs);
    this.#keepTime(serverClock);
  }

  /** A quiet log tells no time: ask the server, so that deadlines of waiting runs still come due. */
  #keepTime(serverClock: ServerClock): void {
    this.#world.clock.after(TIME_CHECK_MS, () => {
      if (this.#closed) return;
      const next = (): void => {
        this.#keepTime(serverClock);
      };
      if (this.openRuns === 0) {
        next();
        return;
      }
      this.#world.log
        .state(streamOf(this.#options.pattern))
        .then(({ nowMs }) => {
          serverClock.observe(nowMs);
        })
        // The reader notices a lost server by itself.
        .catch(() => undefined)
        .finally(next);
    });
  }

  #openShard(facts: ShardFacts, shared: PatternResources, serverClock: ServerClock): Shard {
    const actions = new ShardActions(shared, facts);
    const runner = new ShardRunner({
      world: this.#world,
      stream: streamOf(facts.pattern),
      facts,
      actions,
      onLost: () => {
        this.#unverified.add(facts.shard);
        this.#pause();
      },
      onVerified: () => {
        this.#unverified.delete(facts.shard);
        if (this.#unverified.size === 0 && !this.#failed) this.#resume();
      },
      onFailure: (error) => {
        this.#fail(error);
      },
      onTime: (timeMs) => {
        serverClock.observe(timeMs);
      },
      ready: () => this.#commands.ready() ?? this.#inputs.ready() ?? this.#letters.ready(),
    });
    return { runner, actions };
  }

  get #publishers(): readonly Batcher[] {
    return [this.#commands, this.#alone, this.#inputs];
  }

  get openRuns(): number {
    return this.#shards.reduce((sum, { runner }) => sum + runner.fold.runs.size, 0);
  }

  async start(created: string): Promise<void> {
    await Promise.all(this.#shards.map(({ runner }) => runner.start(created)));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#queries.close();
    await this.#strays.close();
    await Promise.all(this.#shards.map(({ runner }) => runner.close()));
    for (const { actions } of this.#shards) actions.close();
    this.#monitor.close();
    this.#children.close();
    this.#letters.close();
    await Promise.all(this.#publishers.map((publisher) => publisher.close()));
  }

  #shardOf(tx: string): { readonly actions: ShardActions } | undefined {
    return this.#shards[shardOf(tx, this.#shards.length)];
  }

  #pause(): void {
    for (const publisher of this.#publishers) publisher.pause();
  }

  #resume(): void {
    for (const publisher of this.#publishers) publisher.resume();
  }

  /** Nothing implied by a log that can no longer be trusted may go out: everything queued is dropped. */
  #fail(error: PhasorError): void {
    if (this.#failed || this.#closed) return;
    this.#failed = true;
    this.#pause();
    for (const publisher of this.#publishers) publisher.clear(error);
    this.#world.logger.error({ err: error }, 'this pattern has stopped');
    this.close().catch((err: unknown) => {
      this.#world.logger.error({ err }, 'closing after a failure');
    });
    this.#options.onFailure?.(error);
  }
}
