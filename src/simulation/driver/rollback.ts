/**
 * A pattern's stream is put back to an earlier state, as a restored backup does. What was acknowledged is lost, so the
 * promise is another one: coordinators that had read what is gone stop with `LOG_DIVERGED` and nothing is sent; after
 * an operator's `recover` and a restart whatever begins keeps every promise.
 */
import { streamOf } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { Evidence } from '../checkers/evidence.ts';
import { judge, type Violation } from '../checkers/index.ts';
import { parsePosition } from '../../kernel/position.ts';
import type { SeededRandom } from '../random.ts';
import type { Simulation } from '../simulation.ts';
import type { OperatorDesk } from './callers.ts';

export interface RollbackOptions {
  readonly sim: Simulation;
  readonly random: SeededRandom;
  readonly pattern: Pattern;
  readonly desk: OperatorDesk;
  readonly coordinators: readonly string[];
}

const FIRST_MS = 6_000;
const LAST_MS = 12_000;
const DOWN_MS = 1_000;
/** Until everybody has connected again, looked at the log, and stopped. */
const LOOK_MS = 6_000;
/** What was stored so long before has been read by every coordinator. */
const READ_MS = 1_000;
const MAX_LOST = 40;
/** Of runs that began before, nobody promises these. */
const BY_RUN: ReadonlySet<string> = new Set([
  ...['one-decision', 'one-run', 'validity', 'agreement', 'atomic-effects', 'conservation', 'undo-order'],
  ...[
    'execute-gate',
    'never-lost',
    'hand-over',
    'nested',
    'liveness',
    'no-lost-acknowledgement',
    'told-truly',
  ],
]);

export class Rollback {
  readonly #options: RollbackOptions;
  readonly #problems: Violation[] = [];
  /** Inputs that a coordinator had read and that are gone. */
  #lost = 0;
  #recoveredSeq: number | undefined;
  #recoveredMs = 0;

  constructor(options: RollbackOptions) {
    this.#options = options;
  }

  /** @param stopped what coordinators have said as they stopped, up to now. */
  begin(stopped: () => readonly string[]): void {
    const { sim, random, pattern, coordinators } = this.#options;
    const back = 1 + random.below(MAX_LOST);
    sim.after(random.between(FIRST_MS, LAST_MS), () => {
      const stream = sim.broker.stream(streamOf(pattern));
      if (stream === undefined || stream.lastSeq <= back) return;
      const survivedSeq = stream.lastSeq - back;
      const oldMs = sim.broker.wallMs - READ_MS;
      for (const { subject, timeMs } of stream.messages(sim.broker.wallMs, survivedSeq))
        if (subject.split('.').length === INPUT_TOKENS && timeMs < oldMs) this.#lost += 1;
      sim.rollBack(stream.name, survivedSeq, { downMs: DOWN_MS });
      sim.after(DOWN_MS + LOOK_MS, () => {
        for (const name of coordinators) this.#judgeStop(name, stopped());
        this.#recover(survivedSeq);
      });
    });
  }

  get lost(): number {
    return this.#lost;
  }

  /** Promises of what began after the recovery, beside what went wrong before. */
  judge(evidence: Evidence): readonly Violation[] {
    const from = this.#recoveredSeq;
    if (from === undefined) return [...this.#problems, ...judge(evidence).violations];
    const { pattern } = this.#options;
    const isNew = (at: string): boolean => parsePosition(at).seq > from;
    const runs = evidence.history.runs.filter((run) => run.pattern !== pattern || isNew(run.begin.at));
    const history = { ...evidence.history, runs };
    const told = evidence.told.filter(({ begunMs }) => begunMs > this.#recoveredMs);
    const { violations } = judge({ ...evidence, history, told });
    return [...this.#problems, ...violations.filter(({ checker }) => BY_RUN.has(checker))];
  }

  #judgeStop(name: string, stopped: readonly string[]): void {
    if (this.#lost === 0) return;
    const said = stopped.some((text) => text.startsWith(`${name}: LOG_DIVERGED`));
    if (said) return;
    this.#problems.push({
      checker: 'rollback',
      what: `${name} went on after ${this.#lost} inputs were lost`,
    });
  }

  #recover(survivedSeq: number): void {
    const { sim, pattern, desk, coordinators } = this.#options;
    void desk.recover(pattern, `${survivedSeq}.0`).then(() => {
      this.#recoveredSeq = sim.broker.stream(streamOf(pattern))?.lastSeq;
      this.#recoveredMs = sim.nowMs;
      for (const name of coordinators) {
        sim.crash(name);
        sim.restart(name);
      }
    });
  }
}

/** `{pattern}.{sender}.{kind}.{shard}`; commands have three. */
const INPUT_TOKENS = 4;
