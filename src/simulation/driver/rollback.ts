/**
 * A pattern's stream is put back to an earlier state, as a restored backup does. What was acknowledged is lost, so the
 * promise is another one: coordinators that had read what is gone stop with `LOG_DIVERGED` and nothing is sent; after
 * an operator's `recover` and a restart whatever begins keeps every promise, and a report that answers what is gone is
 * never passed over: the audit shows it as attention `lost-log` of its run, or a dead letter does when that is gone, too.
 */
import { streamOf } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { Story } from '../../runtime/audit.ts';
import type { Evidence } from '../checkers/evidence.ts';
import { entriesOf, isBody, text, type LogEntry } from '../checkers/history.ts';
import { judge, type Violation } from '../checkers/index.ts';
import { comparePositions, parsePosition } from '../../kernel/position.ts';
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
  #stories: readonly Story[] | undefined;
  #lostReports = 0;

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

  /** Reports that answer what is gone, and came after the recovery. */
  get lostReports(): number {
    return this.#lostReports;
  }

  /** At the end: reads the log as an operator does who looks for what needs attention. */
  async audit(): Promise<void> {
    const { sim, desk, pattern } = this.#options;
    let over = false;
    void desk
      .audit(pattern)
      .then((stories) => (this.#stories = stories))
      .finally(() => (over = true));
    await sim.run({ until: () => over, untilMs: sim.nowMs + AUDIT_MS });
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
    const silent = this.#silent(evidence).map((what) => ({ checker: 'rollback', what }));
    return [...this.#problems, ...silent, ...violations.filter(({ checker }) => BY_RUN.has(checker))];
  }

  #silent({ history }: Evidence): readonly string[] {
    const { sim, pattern } = this.#options;
    const stories = this.#stories;
    if (stories === undefined) return ['the log could not be audited'];
    const raised = new Set(
      stories
        .filter(({ view }) => view.attention.some(({ code }) => code === LOST_LOG))
        .flatMap(({ events }) => events.filter(({ detail }) => detail === LOST_LOG).map(({ at }) => at)),
    );
    const letters = new Set(
      history.letters
        .filter((letter) => letter.pattern === pattern && text(letter.body['problem']).startsWith(LOST_LOG))
        .map(({ body }) => body['position']),
    );
    const messages = sim.broker.stream(streamOf(pattern))?.messages(sim.broker.wallMs) ?? [];
    const lost = lostReports(entriesOf(pattern, messages));
    this.#lostReports = lost.length;
    return lost
      .filter(({ at }) => !raised.has(at) && !letters.has(at))
      .map(
        ({ at, body }) => `a report at ${at} on ${text(body['tx'])} answers what is gone, and nobody says so`,
      );
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

const LOST_LOG = 'lost-log';
const AUDIT_MS = 60_000;

/** After the recovery of every shard: whose cause lay above what survived, and was stored before. */
function lostReports(entries: readonly LogEntry[]): readonly LogEntry[] {
  const recoveries = entries.filter(({ kind, party }) => party === 'operator' && kind === 'recover');
  const last = recoveries.at(-1);
  const survived = text(last?.body['survived']);
  const beforeMs = Math.min(...recoveries.map(({ timeMs }) => timeMs));
  if (last === undefined) return [];
  return entries.filter(({ kind, order, body: { cause } }) => {
    if (kind !== 'report' || order < last.order || !isBody(cause)) return false;
    return Number(cause['time']) < beforeMs && comparePositions(text(cause['at']), survived) > 0;
  });
}

/** `{pattern}.{sender}.{kind}.{shard}`; commands have three. */
const INPUT_TOKENS = 4;
