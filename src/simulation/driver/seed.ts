/** One seed from its first message to its verdict. */
import { PhasorError } from '../../errors/phasor-error.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { CrashPoint } from '../../ports/crash-points.ts';
import { startCoordinator, type Coordinator } from '../../runtime/coordinator.ts';
import { startWorker } from '../../runtime/worker.ts';
import { newBook, type Book } from '../checkers/book.ts';
import { keyOf, type Evidence } from '../checkers/evidence.ts';
import { hasRun, historyOf, outcomeOf } from '../checkers/history.ts';
import { judge, type Violation } from '../checkers/index.ts';
import { SeededRandom } from '../random.ts';
import { Simulation } from '../simulation.ts';
import type { TraceEvent } from '../trace.ts';
import { OperatorDesk, runClient, type Record } from './callers.ts';
import { branchesOf } from './coverage.ts';
import { drawFaults, Faults, isWorkFault, type Fault } from './faults.ts';
import { PATTERNS_OF, type Kind } from './kinds.ts';
import { Rollback } from './rollback.ts';
import { participantAction } from './participant.ts';
import { Witness } from './witness.ts';
import { PLENTY, SCARCE, workFaults, workload } from './workload.ts';

export interface SeedOptions {
  readonly seed: number;
  readonly kind: Kind;
  /** Only these of the seed's own faults. Default: all of them. */
  readonly onlyFaults?: readonly Fault[];
  /** Only these transactions, by index. Default: all of them. */
  readonly onlyTransactions?: readonly number[];
  /** A stream is put back to an earlier state: only detection and attention are promised. Default: false. */
  readonly rollback?: boolean;
  /** For printing. */
  readonly onEvent?: (event: TraceEvent) => void;
}

export interface SeedResult {
  readonly seed: number;
  readonly kind: Kind;
  /** Equal for two runs of the same options: bit for bit the same. */
  readonly digest: string;
  readonly violations: readonly Violation[];
  readonly expectedSplits: readonly string[];
  /** Kinds that could strike, and how often each did. */
  readonly faults: readonly Fault[];
  readonly struck: ReadonlyMap<Fault, number>;
  readonly crashedAt: ReadonlyMap<CrashPoint, number>;
  readonly branches: ReadonlyMap<string, number>;
  /** Indices of the transactions that took part. */
  readonly items: readonly number[];
  readonly virtualMs: number;
  /** Rollback mode: inputs that are gone although every coordinator had had the time to read them. */
  readonly lostInputs: number;
  /** Rollback mode: reports that came after the recovery and answer what is gone. */
  readonly lostReports: number;
}

/** Begins are made and faults strike in the first phase; then everything is healed. */
const SAFETY_MS = 30_000;
const SPREAD_MS = 20_000;
/** Longest until every caller has heard, and everything else has come to rest. */
const CONVERGE_MS = 900_000;
const LOOK_EVERY_MS = 5_000;
/** 3PC: what participants wait for a silent coordinator; above the plans' prepare and precommit together. */
const TERMINATION_MS = 25_000;
const BARRIER_KEEP_MS = 86_400_000;

/** Plays one seed. Rejects only for a bug of the simulator itself. */
export async function simulateSeed(options: SeedOptions): Promise<SeedResult> {
  const stage = new Stage(options);
  return stage.play();
}

class Stage {
  readonly #options: SeedOptions;
  readonly #sim: Simulation;
  readonly #patterns: readonly Pattern[];
  readonly #participants: readonly string[];
  readonly #drawn: readonly Fault[];
  readonly #records: readonly Record[];
  readonly #faults: Faults;
  readonly #desk: OperatorDesk;
  readonly #rollback: Rollback | undefined;
  readonly #witness = new Witness();
  readonly #coordinators = new Map<string, Coordinator>();
  readonly #stopped: string[] = [];
  readonly #safetyMs: number;
  readonly #attention = new Set<string>();

  constructor(options: SeedOptions) {
    this.#options = options;
    const { seed, kind } = options;
    this.#sim = new Simulation({ seed, onEvent: (event) => this.#saw(event) });
    this.#patterns = PATTERNS_OF[kind];
    const random = new SeededRandom(`${seed}/${kind}`);
    this.#participants = Array.from({ length: 2 + random.below(3) }, (_, index) => `p${index}`);
    const drawn = drawFaults(random.fork('faults'));
    // A rollback is fault enough: nothing else may hide that it was noticed.
    const possible = options.rollback === true ? drawn.filter((f) => isWorkFault(f)) : drawn;
    this.#drawn = possible.filter((fault) => options.onlyFaults?.includes(fault) ?? true);
    const clients = 1 + random.below(2);
    const items = workload({
      ...{ kind, clients, participants: this.#participants, spreadMs: SPREAD_MS },
      random: random.fork('workload'),
      transactions: 10 + random.below(8),
      faults: new Set(this.#drawn),
    });
    this.#records = items
      .filter(({ index }) => options.onlyTransactions?.includes(index) ?? true)
      .map((item) => ({
        ...{
          item,
          tried: false,
          tx: undefined,
          begunAt: undefined,
          begunMs: 0,
          settled: false,
          outcomes: [],
        },
      }));
    // Only what lasts longer than participants wait can split a 3PC.
    const longMs = kind === '3pc' ? 2.4 * TERMINATION_MS : TERMINATION_MS;
    this.#safetyMs = kind === '3pc' ? SAFETY_MS + longMs : SAFETY_MS;
    this.#faults = new Faults({
      ...{ sim: this.#sim, seed, patterns: this.#patterns, untilMs: this.#safetyMs, longMs },
      random: random.fork('world'),
      faults: new Set(this.#drawn),
    });
    this.#desk = new OperatorDesk({ records: this.#records, nowMs: () => this.#sim.nowMs });
    this.#addNodes(clients, random);
    const of = { sim: this.#sim, desk: this.#desk, coordinators: COORDINATORS };
    if (options.rollback === true)
      this.#rollback = new Rollback({
        ...{ ...of, random: random.fork('rollback'), pattern: PATTERNS_OF[kind][0] ?? '2pc' },
      });
  }

  #saw(event: TraceEvent): void {
    this.#witness.see(event, this.#sim.broker.wallMs);
    this.#options.onEvent?.(event);
  }

  async play(): Promise<SeedResult> {
    this.#faults.begin();
    this.#rollback?.begin(() => this.#stopped);
    const sim = this.#sim;
    const crashed: Violation[] = [];
    try {
      await sim.run({ untilMs: this.#safetyMs });
      this.#faults.heal();
      await this.#converge();
      await this.#rollback?.audit();
    } catch (error) {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      crashed.push({ checker: 'no-crash', what });
    }
    const evidence = this.#evidence();
    const judged = judge(evidence);
    const violations = this.#rollback?.judge(evidence) ?? [...this.#nodeProblems(), ...judged.violations];
    const { seed, kind } = this.#options;
    return {
      ...{ seed, kind, faults: this.#drawn, digest: sim.trace.digest },
      expectedSplits: judged.expectedSplits,
      violations: [...crashed, ...violations],
      struck: new Map([...this.#faults.struck, ...workFaults(this.#records.map(({ item }) => item))]),
      crashedAt: this.#faults.crashedAt,
      branches: branchesOf(evidence, sim.trace),
      items: this.#records.map(({ item }) => item.index),
      virtualMs: sim.nowMs,
      lostInputs: this.#rollback?.lost ?? 0,
      lostReports: this.#rollback?.lostReports ?? 0,
    };
  }

  #addNodes(clients: number, random: SeededRandom): void {
    const sim = this.#sim;
    for (const name of COORDINATORS)
      sim.addNode(name, { main: ({ world }) => this.#coordinate(name, world) });
    const barrier = this.#options.kind !== '3pc' && random.chance(0.3) ? 'none' : 'kv';
    this.#participants.forEach((participant, index) => {
      const start = index === 0 ? SCARCE : PLENTY;
      const trusting = barrier === 'kv' && random.fork(`handlers of ${participant}`).chance(0.5);
      if (trusting) this.#witness.trusts(participant);
      for (const replica of ['x', 'y'])
        sim.addNode(`${participant}-${replica}`, {
          main: async (life) => {
            const { world, name: node } = life;
            const move = participantAction({
              book: life.store(participant, () => newBook(start)),
              clock: world.clock,
              trusting,
              nowMs: () => sim.nowMs,
              watch: ({ operationId: key, phase, attempt }) =>
                barrier === 'none'
                  ? undefined
                  : this.#witness.called({ key, phase, attempt, node, startMs: sim.nowMs }),
            });
            await startWorker(world, {
              ...{ participant, barrier, actions: { move }, patterns: this.#patterns },
              ...{ ackWaitMs: 2_000, barrierKeepMs: BARRIER_KEEP_MS, terminationTimeoutMs: TERMINATION_MS },
            });
          },
        });
    });
    for (let index = 0; index < clients; index += 1) {
      const records = this.#records.filter(({ item }) => item.client === index);
      sim.addNode(`client-${index}`, {
        main: ({ world }) => runClient(world, `teller-${index}`, { records, nowMs: () => sim.nowMs }),
      });
    }
    sim.addNode('operator', { main: ({ world }) => this.#desk.run(world) });
  }

  async #coordinate(name: string, world: Parameters<typeof startCoordinator>[0]): Promise<void> {
    const coordinator = await startCoordinator(world, {
      patterns: this.#patterns,
      onFailure: (error) => {
        this.#stopped.push(`${name}: ${error.code} ${error.message}`);
      },
    });
    this.#coordinators.set(name, coordinator);
  }

  /** Runs until every caller has heard and every run has ended or waits for a person who has tried once more. */
  async #converge(): Promise<void> {
    const sim = this.#sim;
    const giveUpMs = sim.nowMs + CONVERGE_MS;
    const retried = new Set<string>();
    while (sim.nowMs < giveUpMs) {
      await sim.run({ untilMs: sim.nowMs + LOOK_EVERY_MS });
      const open = this.#openRuns();
      if (open.length === 0 && this.#records.every(({ settled }) => settled) && this.#atRest()) break;
      if (sim.nowMs < this.#safetyMs + 2 * LOOK_EVERY_MS) continue;
      await this.#attend(open, retried);
      const waiting = open.every((run) => this.#attention.has(keyOf(run)));
      if (waiting && open.every((run) => retried.has(keyOf(run))) && this.#callersAreDone()) break;
    }
    // What was answered late is still on its way.
    await sim.run({ untilMs: sim.nowMs + 2 * LOOK_EVERY_MS });
  }

  #callersAreDone(): boolean {
    return this.#records.every(
      ({ settled, tx }) => settled || [...this.#attention].some((key) => key.includes(`/${tx ?? ''}/`)),
    );
  }

  /** Asks about every open run and, once, retries what waits. */
  async #attend(
    open: readonly ReturnType<typeof historyOf>['runs'][number][],
    retried: Set<string>,
  ): Promise<void> {
    const sim = this.#sim;
    let asking = 0;
    this.#attention.clear();
    for (const run of open) {
      asking += 1;
      const ask = async (): Promise<void> => {
        const found = await this.#desk.describe(run.pattern, run.tx);
        if (found?.run !== run.run || found.attention.length === 0) return;
        this.#attention.add(keyOf(run));
        if (retried.has(keyOf(run))) return;
        retried.add(keyOf(run));
        await this.#desk.retry(found);
      };
      void ask().finally(() => (asking -= 1));
    }
    await sim.run({ until: () => asking === 0, untilMs: sim.nowMs + 4 * LOOK_EVERY_MS });
  }

  #openRuns(): readonly ReturnType<typeof historyOf>['runs'][number][] {
    return this.#history().runs.filter((run) => hasRun(run) && outcomeOf(run) === undefined);
  }

  #atRest(): boolean {
    return [...this.#coordinators.values()].every(({ openRuns }) => openRuns === 0);
  }

  #history(): ReturnType<typeof historyOf> {
    const { broker } = this.#sim;
    return historyOf((stream) => broker.stream(stream)?.messages(broker.wallMs) ?? []);
  }

  #evidence(): Evidence {
    const books = new Map<string, Book>();
    for (const participant of this.#participants) {
      const book = this.#sim.stored(participant);
      if (book !== undefined) books.set(participant, book as Book);
    }
    const told = this.#records.flatMap(({ item, tx, begunAt, begunMs, outcomes }) =>
      tx === undefined ? [] : [{ pattern: item.pattern, tx, begunAt, begunMs, outcomes }],
    );
    const openRuns = new Map([...this.#coordinators].map(([name, { openRuns: count }]) => [name, count]));
    const mayHaveSplit = SPLITTING.some((fault) => (this.#faults.struck.get(fault) ?? 0) > 0);
    return {
      ...{ history: this.#history(), books, told, openRuns, attention: this.#attention, mayHaveSplit },
      barriers: this.#witness.evidence(this.#sim.nowMs),
    };
  }

  #nodeProblems(): Violation[] {
    const failed = this.#sim.failures
      .filter(({ error }) => !(PhasorError.is(error) && error.retryable))
      .map(({ node, error }) => `${node}: ${String(error)}`);
    return [...failed, ...this.#stopped].map((what) => ({ checker: 'no-stop', what }));
  }
}

const COORDINATORS = ['coordinator-a', 'coordinator-b'] as const;

/** DESIGN §3: 3PC can split when participants cannot hear their coordinator in time. */
const SPLITTING: readonly Fault[] = ['pause', 'partition', 'one-way', 'broker-pause'];
