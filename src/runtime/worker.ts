/** The participant worker: pulls commands, runs handlers behind the barrier, reports (DESIGN §4, "Workers"). */
import { isId, isParticipant } from '../kernel/ids.ts';
import { streamOf, subjects, type Subject } from '../kernel/subjects.ts';
import { isOpenPhase, PATTERNS, PHASES, type Pattern, type Phase } from '../kernel/vocabulary.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Timeout } from '../ports/clock.ts';
import type { World } from '../ports/world.ts';
import { barrierBucket, type Barrier } from '../reliability/barrier.ts';
import { KvBarrier } from '../reliability/barrier-kv.ts';
import type { Termination } from '../reliability/termination.ts';
import { ServerClock } from './server-clock.ts';
import { handlerName, type Action } from './worker-call.ts';
import { Consumer } from './worker-consumer.ts';
import { Executor } from './worker-execute.ts';
import { Reports } from './worker-reports.ts';
import { openTermination } from './worker-termination.ts';

export interface WorkerOptions {
  /** The service role, `[a-z][a-z0-9-]{0,31}`, shared by all its worker processes. */
  readonly participant: string;
  /**
   * Handlers by action and phase. An action or phase without a handler here answers `retry` (`no-handler`), except
   * that `prepare` and `commit` together also serve `commit-one-phase`.
   */
  readonly actions: Readonly<Record<string, Action>>;
  /**
   * What stops duplicate, empty and late executions. `kv`: records in a bucket, effects at least once. `none`: only
   * for handlers that answer a repeated call the same and refuse an act after its undo by themselves. Or a barrier of
   * an adapter, written in the participant's own transaction.
   */
  readonly barrier: 'kv' | 'none' | Barrier;
  /** Default: those that some action has the handlers for. */
  readonly patterns?: readonly Pattern[];
  /** Calls at once, per pattern: of phases that begin work, and of those that finish or undo. Default: 64 each. */
  readonly concurrency?: { readonly open?: number; readonly close?: number };
  /**
   * A command whose worker gave no sign of life for this long goes to another one. Fixed when the consumers are
   * first made. Default: 30_000.
   */
  readonly ackWaitMs?: number;
  /** Longest a handler may take, beside the due time of its command. Default: no own limit. */
  readonly handlerTimeoutMs?: number;
  /** Life of a barrier record after its last write; acts older than half of it are not begun. Default: 7 days. */
  readonly barrierKeepMs?: number;
  /**
   * 3PC with barrier `kv`: how long a step that was prepared or precommitted waits for its coordinator before the
   * participant ends it on its own: abort from prepared, commit from precommitted. From 1_000 to half of
   * `barrierKeepMs`. Keep it well above the plan's deadlines for prepare and precommit together, and the same in every
   * worker of every participant: an own end while the coordinator is merely slow can split the transaction.
   * Default: 60_000.
   */
  readonly terminationTimeoutMs?: number;
  /** Replicas of the barrier's bucket when it is first made. Default: the server's. */
  readonly replicas?: number;
}

export interface Worker {
  readonly participant: string;
  readonly patterns: readonly Pattern[];
  /**
   * Stops pulling, finishes what runs, stores the reports, acknowledges. What is not finished after `timeoutMs`
   * (default 25_000) is aborted and comes again to another worker. Idempotent.
   */
  drain(options?: { readonly timeoutMs?: number }): Promise<void>;
}

/** Phases that a participant may be commanded in each pattern: the filters of its consumers. */
const PATTERN_PHASES: Readonly<Record<Pattern, readonly Phase[]>> = {
  '2pc': ['prepare', 'commit-one-phase', 'commit', 'abort'],
  '3pc': ['prepare', 'precommit', 'commit', 'abort'],
  saga: ['execute', 'compensate'],
  '2ps': ['prepare', 'verify', 'execute', 'cancel', 'compensate'],
  '3ps': ['reserve', 'validate', 'execute', 'release', 'compensate'],
  eventual: ['execute', 'confirm'],
};
/** What an action must have a handler for to take part in a pattern. */
const NEEDED: Readonly<Record<Pattern, readonly (keyof Action)[]>> = {
  '2pc': ['prepare', 'commit'],
  '3pc': ['prepare', 'precommit', 'commit'],
  saga: ['execute'],
  '2ps': ['prepare', 'execute'],
  '3ps': ['reserve', 'execute'],
  eventual: ['execute'],
};
type Side = 'open' | 'close';
const SIDES: readonly Side[] = ['open', 'close'];
function consumerNames(
  pattern: Pattern,
  participant: string,
  side: Side,
): { readonly durable: string; readonly filters: readonly Subject[] } {
  const phases = PATTERN_PHASES[pattern].filter((phase) => isOpenPhase(phase) === (side === 'open'));
  return {
    durable: `${pattern}-${participant}-${side}`,
    filters: phases.map((phase) => subjects.command(pattern, participant, phase)),
  };
}

const DAY_MS = 86_400_000;
const DEFAULT_DRAIN_MS = 25_000;

type Settings = Required<Omit<WorkerOptions, 'handlerTimeoutMs' | 'replicas'>> &
  Pick<WorkerOptions, 'handlerTimeoutMs' | 'replicas'> & {
    readonly concurrency: { readonly open: number; readonly close: number };
  };

/**
 * Starts a worker. Resolves once its consumers exist and it pulls.
 *
 * Delivery: every command reaches some worker of the participant at least once, until it is reported.
 *
 * @throws {PhasorError} `CONFIG_INVALID`; `STREAM_MISSING`: the streams of a pattern were not made yet;
 *   `CONNECTION_FAILED`, `TIMEOUT`.
 *
 * @example
 * const worker = await startWorker(world, {
 *   participant: 'payment',
 *   barrier: 'kv',
 *   actions: { charge: { execute: ({ input }) => done({ id: pay(input) }), compensate: ({ output }) => refund(output) } },
 * });
 * process.once('SIGTERM', () => void worker.drain());
 */
export async function startWorker(world: World, options: WorkerOptions): Promise<Worker> {
  const settings = settingsOf(options);
  const worker = new RunningWorker(world, settings);
  await worker.start();
  return worker;
}

class RunningWorker implements Worker {
  readonly participant: string;
  readonly patterns: readonly Pattern[];
  readonly #world: World;
  readonly #settings: Settings;
  readonly #server: ServerClock;
  readonly #reports: Reports;
  readonly #asking = new Map<Pattern, Promise<boolean>>();
  #ticks = 0;
  #consumers: readonly Consumer[] = [];
  #barrier: Barrier | undefined;
  #executor: Executor | undefined;
  #ticker: Timeout | undefined;
  #termination: Termination | undefined;
  #drained: Promise<void> | undefined;

  constructor(world: World, settings: Settings) {
    this.participant = settings.participant;
    this.patterns = settings.patterns;
    this.#world = { ...world, logger: world.logger.child({ participant: settings.participant }) };
    this.#settings = settings;
    this.#server = new ServerClock(world.clock);
    this.#reports = new Reports(this.#world, settings.participant);
  }

  async start(): Promise<void> {
    const { clock, logger, passing } = this.#world;
    const { actions, barrierKeepMs, handlerTimeoutMs, patterns, terminationTimeoutMs } = this.#settings;
    this.#barrier = await this.#openBarrier();
    const kv = this.#barrier instanceof KvBarrier ? this.#barrier : undefined;
    const executor = new Executor({
      terminationTimeoutMs: kv === undefined ? undefined : terminationTimeoutMs,
      actions,
      barrier: this.#barrier,
      barrierKeepMs,
      handlerTimeoutMs,
      clock,
      server: this.#server,
      confirmTime: (pattern) => this.#confirmTime(pattern),
      logger,
      passing,
    });
    this.#executor = executor;
    this.#consumers = patterns.flatMap((pattern) => [
      this.#consumer(pattern, 'open', executor),
      this.#consumer(pattern, 'close', executor),
    ]);
    this.#tick();
    try {
      for (const consumer of this.#consumers) await consumer.open();
    } catch (error) {
      await this.drain({ timeoutMs: 0 });
      throw error;
    }
    this.#termination =
      kv === undefined || !patterns.includes('3pc')
        ? undefined
        : openTermination(this.#world, {
            barrier: kv,
            executor,
            reports: this.#reports,
            server: this.#server,
            timeoutMs: terminationTimeoutMs,
            consumers: SIDES.map((side) => consumerNames('3pc', this.participant, side)),
          });
    this.#termination?.start();
    logger.info({ patterns, barrier: this.#barrier?.name ?? 'none' }, 'worker started');
  }

  drain(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    this.#drained ??= this.#drain(options.timeoutMs ?? DEFAULT_DRAIN_MS);
    return this.#drained;
  }

  async #drain(timeoutMs: number): Promise<void> {
    const { clock, logger } = this.#world;
    let timer: Timeout | undefined;
    const deadline = clock.monotonicMs() + timeoutMs;
    const late = new Promise<'late'>((resolve) => {
      timer = clock.after(timeoutMs, () => resolve('late'));
    });
    const finished = this.#finish().catch((err: unknown) => {
      logger.warn({ err }, 'the worker could not stop in good order');
      return 'late' as const;
    });
    const result = await Promise.race([finished, late]);
    timer?.cancel();
    if (result === 'late') {
      logger.warn({ timeoutMs }, 'unfinished calls were aborted; their commands come again');
      this.#executor?.abort(new PhasorError('CLOSED', 'the worker stops'));
      for (const consumer of this.#consumers) consumer.abandon();
    }
    if (this.#barrier instanceof KvBarrier) this.#barrier.close();
    this.#ticker?.cancel();
    await this.#reports.close(Math.max(0, deadline - clock.monotonicMs()));
  }

  async #finish(): Promise<'finished'> {
    await Promise.all([this.#termination?.close(), ...this.#consumers.map((consumer) => consumer.stop())]);
    await Promise.all(this.#consumers.map((consumer) => consumer.idle()));
    return 'finished';
  }

  #tick(): void {
    this.#ticker = this.#world.clock.after(this.#settings.ackWaitMs / 3, () => {
      for (const consumer of this.#consumers) consumer.signal();
      this.#ticks += 1;
      const pattern = this.patterns[this.#ticks % this.patterns.length];
      if (pattern !== undefined && !this.#server.isCorrected) void this.#confirmTime(pattern);
      this.#tick();
    });
  }

  /** Never rejects; one question at a time to each stream. */
  #confirmTime(pattern: Pattern): Promise<boolean> {
    const { log, logger } = this.#world;
    const asked = this.#asking.get(pattern);
    if (asked !== undefined) return asked;
    const asking = log
      .state(streamOf(pattern))
      .then(
        ({ nowMs }) => {
          this.#server.correct(nowMs);
          return true;
        },
        (err: unknown) => {
          logger.debug({ err, pattern }, 'the server did not tell its time');
          return false;
        },
      )
      .finally(() => this.#asking.delete(pattern));
    this.#asking.set(pattern, asking);
    return asking;
  }

  #consumer(pattern: Pattern, side: Side, executor: Executor): Consumer {
    const { participant, concurrency, ackWaitMs } = this.#settings;
    const { work, logger, passing } = this.#world;
    return new Consumer({
      pattern,
      ...consumerNames(pattern, participant, side),
      slots: concurrency[side],
      ackWaitMs,
      work,
      executor,
      reports: this.#reports,
      server: this.#server,
      logger,
      passing,
    });
  }

  async #openBarrier(): Promise<Barrier | undefined> {
    const { barrier, participant, barrierKeepMs: keepMs, ackWaitMs, replicas } = this.#settings;
    if (barrier === 'none') return undefined;
    if (barrier !== 'kv') return barrier;
    const { keyValue, clock, random, logger, passing } = this.#world;
    const bucket = await keyValue.ensureBucket(
      barrierBucket(participant),
      replicas === undefined ? {} : { replicas },
    );
    const owner = random.ulid(clock.wallMs());
    // Shorter than the ack wait: when a dead worker's command comes again, its claim is dead too.
    const leaseMs = Math.floor((ackWaitMs * 2) / 3);
    const server = this.#server;
    const kv = new KvBarrier({ bucket, clock, logger, passing, server, owner, keepMs, leaseMs });
    // Without it a restarted worker would know the time of old commands only, and take the claims of its dead
    // predecessor for living ones.
    server.observe(await kv.serverTimeMs());
    return kv;
  }
}

function settingsOf(options: WorkerOptions): Settings {
  const settings: Settings = {
    ackWaitMs: 30_000,
    barrierKeepMs: 7 * DAY_MS,
    terminationTimeoutMs: Math.min(60_000, Math.floor((options.barrierKeepMs ?? 7 * DAY_MS) / 2)),
    ...options,
    patterns: options.patterns ?? servedPatterns(options.actions),
    concurrency: { open: options.concurrency?.open ?? 64, close: options.concurrency?.close ?? 64 },
  };
  const problem = problemOf(settings);
  if (problem !== undefined) throw new PhasorError('CONFIG_INVALID', problem);
  return settings;
}

function servedPatterns(actions: Readonly<Record<string, Action>>): Pattern[] {
  const served = (pattern: Pattern): boolean =>
    Object.values(actions).some((action) =>
      NEEDED[pattern].every((handler) => action[handler] !== undefined),
    );
  return PATTERNS.filter(served);
}

function problemOf(settings: Settings): string | undefined {
  const { participant, actions, barrier, patterns, concurrency } = settings;
  if (!isParticipant(participant))
    return `participant: ${JSON.stringify(participant)} is no name of a participant`;
  const chosen: unknown = barrier;
  if (chosen !== 'kv' && chosen !== 'none' && (typeof chosen !== 'object' || chosen === null))
    return 'barrier: choose kv or none, or pass a barrier';
  for (const [name, action] of Object.entries(actions)) {
    if (!isId(name)) return `actions: ${JSON.stringify(name)} is no name of an action`;
    const known: ReadonlySet<string> = new Set(PHASES.map(handlerName));
    for (const [phase, handler] of Object.entries(action)) {
      if (!known.has(phase)) return `actions.${name}: there is no phase ${JSON.stringify(phase)}`;
      if (handler !== undefined && typeof handler !== 'function')
        return `actions.${name}.${phase}: is no function`;
    }
  }
  if (patterns.length === 0) return 'patterns: the handlers serve none; name them';
  const unknown = patterns.find((pattern) => !PATTERNS.includes(pattern));
  if (unknown !== undefined) return `patterns: there is no pattern ${JSON.stringify(unknown)}`;
  if (patterns.includes('3pc') && barrier === 'none')
    return 'barrier: 3pc needs a durable one, none keeps no record to end a step from when its coordinator is silent';
  return (
    numberProblem('concurrency.open', concurrency.open, { min: 1, max: 100_000 }) ??
    numberProblem('concurrency.close', concurrency.close, { min: 1, max: 100_000 }) ??
    numberProblem('ackWaitMs', settings.ackWaitMs, { min: 100, max: 3_600_000 }) ??
    numberProblem('terminationTimeoutMs', settings.terminationTimeoutMs, {
      min: 1_000,
      max: settings.barrierKeepMs / 2,
    }) ??
    numberProblem('barrierKeepMs', settings.barrierKeepMs, { min: 60_000, max: 365 * DAY_MS }) ??
    (settings.handlerTimeoutMs === undefined
      ? undefined
      : numberProblem('handlerTimeoutMs', settings.handlerTimeoutMs, { min: 1, max: DAY_MS }))
  );
}

function numberProblem(
  name: string,
  value: number,
  { min, max }: { readonly min: number; readonly max: number },
): string | undefined {
  return Number.isInteger(value) && value >= min && value <= max
    ? undefined
    : `${name}: must be a whole number from ${min} to ${max}`;
}
