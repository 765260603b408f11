/** What reports and deadlines do to one step. */
import {
  deadlineAct,
  isSpent,
  reportAct,
  seedOf,
  settle,
  startAct,
  type Act,
  type ActContext,
  type Advance,
} from '../act.ts';
import type { Bounds, CompiledStep, Policy } from '../compiled-plan.ts';
import { isDue, type MachineEvent, type Mark, type Report, type RunFacts } from '../machine.ts';
import {
  at,
  failureOf,
  isPositive,
  OVERDUE,
  withStep,
  type Confirming,
  type Due,
  type EventualStep,
  type Executing,
  type Failure,
  type Running,
  type Turn,
} from './state.ts';

const dueBy = (bounds: Bounds | undefined, mark: Mark): Due | undefined =>
  bounds === undefined ? undefined : { armed: mark.at, dueMs: mark.time + bounds.lowerMs };

export function startStep(facts: RunFacts, step: CompiledStep, mark: Mark): Executing {
  const act = startAct({ phase: 'execute', mark, policy: step.retry });
  return {
    status: 'executing',
    act,
    deadline: dueBy(step.deadline ?? facts.plan.deadlines.execute, mark),
  };
}

/** The policy of an entry's current act. */
export function policyOf(step: CompiledStep, entry: Executing | Confirming): Policy {
  if (entry.status === 'executing') return step.retry;
  return entry.policy === undefined ? step.undoRetry : { ...step.undoRetry, ...entry.policy };
}

function contextOf(turn: Turn, index: number, entry: Executing | Confirming): ActContext {
  const step = at(turn.facts.plan.steps, index);
  return { mark: turn.mark, policy: policyOf(step, entry), seed: seedOf(turn.facts, step) };
}

/**
 * `heuristic` and `terminated` mean nothing here. An older attempt's `conflict` or `stale` must not settle an act whose
 * current attempt is in flight (A3).
 */
function understood(report: Report, act: Act): Report {
  const { answer, attempt } = report;
  const old = attempt < act.attempt && (answer === 'conflict' || answer === 'stale');
  return old || answer === 'heuristic' || answer === 'terminated' ? { ...report, answer: 'unknown' } : report;
}

export function reported(turn: Turn, index: number, report: Report): Running {
  const { state } = turn;
  const entry = at(state.steps, index);
  switch (entry.status) {
    case 'executing':
    case 'confirming': {
      const advance = reportAct(entry.act, understood(report, entry.act), contextOf(turn, index, entry));
      if (advance.type === 'answered' && isPositive(report)) return agreed(turn, index, report);
      return advanced(turn, { index, entry, advance, failure: failureOf(report) });
    }
    case 'dead':
    case 'stuck':
      return isLateYes(entry.act, report) ? agreed(turn, index, report) : state;
    case 'taken':
    case 'skipped':
      return state;
  }
}

/** Of an act that has settled without success: what it did all the same. */
const isLateYes = (act: Act, report: Report): boolean =>
  isPositive(report) && report.phase === act.phase && report.attempt <= act.attempt && !isSpent(act, report);

/** A yes to the entry's act. */
function agreed(turn: Turn, index: number, report: Report): Running {
  const { state, facts, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status === 'confirming' || entry.status === 'stuck')
    return withStep(state, index, { status: 'taken', output: entry.output });
  const { output } = report;
  const { confirm } = facts.plan.deadlines;
  if (confirm === undefined || report.answer === 'read-only')
    return withStep(state, index, { status: 'taken', output });
  const policy = at(facts.plan.steps, index).undoRetry;
  const act = startAct({ phase: 'confirm', mark, policy });
  const deadline = dueBy(confirm, mark);
  return withStep(state, index, { status: 'confirming', act, output, deadline, policy: undefined });
}

/** An `attempt`, `backoff` or `step` deadline. */
export function stepDeadline(
  turn: Turn,
  index: number,
  event: Extract<MachineEvent, { readonly type: 'deadline_passed' }>,
): Running {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'executing' && entry.status !== 'confirming') return state;
  if (event.phase !== entry.act.phase) return state;
  if (event.kind === 'step') {
    if (!isDue(entry.deadline, { mark, armed: event.armed })) return state;
    return withStep(state, index, failed(turn, { entry, act: entry.act, failure: OVERDUE }));
  }
  if (event.kind !== 'attempt' && event.kind !== 'backoff') return state;
  const { kind } = event;
  const advance = deadlineAct(entry.act, { ...event, kind }, contextOf(turn, index, entry));
  return advanced(turn, { index, entry, advance, failure: OVERDUE });
}

function advanced(
  turn: Turn,
  result: { index: number; entry: Executing | Confirming; advance: Advance; failure: Failure },
): Running {
  const { index, entry, advance, failure } = result;
  switch (advance.type) {
    case 'ignored':
      return turn.state;
    case 'noted':
    case 'backing_off':
    case 'commanded':
      return withStep(turn.state, index, moved(entry, advance.act));
    case 'answered':
    case 'exhausted':
      return withStep(turn.state, index, failed(turn, { entry, act: advance.act, failure }));
  }
}

function moved(entry: Executing | Confirming, act: Act): EventualStep {
  const { deadline } = entry;
  if (entry.status === 'executing') return { status: 'executing', act, deadline };
  return { status: 'confirming', act, output: entry.output, deadline, policy: entry.policy };
}

function failed(
  turn: Turn,
  result: { entry: Executing | Confirming; act: Act; failure: Failure },
): EventualStep {
  const { entry, act, failure } = result;
  if (entry.status === 'executing') return die(turn, act, failure);
  return stick(turn, { ...entry, act }, failure);
}

/** E2: effects bury what is dead since this turn. */
export const die = (turn: Turn, act: Act, failure: Failure): EventualStep => ({
  status: 'dead',
  act: settle(act),
  raised: turn.mark.at,
  failure,
});

/** A confirm that failed waits for a person; anything else stays what it is. */
export function stick(turn: Turn, entry: EventualStep, failure: Failure): EventualStep {
  if (entry.status !== 'confirming') return entry;
  const { act, output, policy } = entry;
  return { status: 'stuck', act: settle(act), output, policy, raised: turn.mark.at, failure };
}
