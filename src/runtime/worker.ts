/** The participant worker: pulls commands, runs handlers behind the barrier, reports (DESIGN §4, "Workers"). */
import { streamOf, subjects, type Subject } from '../kernel/subjects.ts';
import { isOpenPhase, type Pattern, type Phase } from '../kernel/vocabulary.ts';
import { durationMs } from '../errors/options.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Timeout } from '../ports/clock.ts';
import type { World } from '../ports/world.ts';
import { barrierBucket, type Barrier } from '../reliability/barrier.ts';
import { KvBarrier } from '../reliability/barrier-kv.ts';
import type { Termination } from '../reliability/termination.ts';
import { ServerClock } from './server-clock.ts';
import { Consumer } from './worker-consumer.ts';
import { Executor } from './worker-execute.ts';
import { Reports } from './worker-reports.ts';
import { workerSettings, type WorkerOptions, type WorkerSettings } from './worker-settings.ts';
import { openTermination } from './worker-termination.ts';

export type { WorkerOptions };

export interface Worker {
  readonly participant: string;
  readonly patterns: readonly Pattern[];
  /**
   * Stops pulling, finishes what runs, stores the reports, acknowledges. What is not finished after `timeoutMs`
   * (default 25_000) is aborted and comes again to another worker. Idempotent.
   *
   * @throws {PhasorError} `CONFIG_INVALID`: `timeoutMs` is no duration.
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

const DEFAULT_DRAIN_MS = 25_000;

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
  const settings = workerSettings(options);
  const worker = new RunningWorker(world, settings);
  await worker.start();
  return worker;
}

class RunningWorker implements Worker {
  readonly participant: string;
  readonly patterns: readonly Pattern[];
  readonly #world: World;
  readonly #settings: WorkerSettings;
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

  constructor(world: World, settings: WorkerSettings) {
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

  async drain(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', DEFAULT_DRAIN_MS);
    this.#drained ??= this.#drain(timeoutMs);
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
