/**
 * Saga: steps by dependency; forward past the pivot, else exactly undone (DESIGN §3). The log decides which.
 *
 * | phase     | input                          | what follows                                                    |
 * |-----------|--------------------------------|-----------------------------------------------------------------|
 * | forward   | done, read-only                | steps whose dependencies are done start; past the pivot (with   |
 * |           |                                | none: when all compensatable steps are done) -> committed       |
 * |           | retry, unknown, attempt due    | next attempt after back-off; when the policy ends: a `no`       |
 * |           | refused, conflict, stale, a    | -> backward. The pivot: only if known not to have run, else     |
 * |           | `no`, step due                 | attention, until a late report or a person tells                |
 * |           | cancel, run due                | -> backward; latched while the pivot is outstanding: takes      |
 * |           |                                | effect if it did not run, otherwise forward wins                |
 * | committed | done, read-only                | dependents start; all done -> ended `completed`                 |
 * |           | retry, unknown, attempt due    | next attempt after back-off; when the policy ends: attention    |
 * |           | refused, conflict, stale, due  | attention for that step, the others go on                       |
 * |           | cancel                         | nothing                                                         |
 * | backward  | execute answered or due        | no further attempt; a settled step that may have run is undone  |
 * |           |                                | once every dependent is settled and undone                      |
 * |           | compensate done, read-only     | undone; its dependencies follow; all undone -> ended            |
 * |           | compensate retry, unknown, due | next attempt by `undoRetry`; when the policy ends: attention    |
 * |           | compensate refused, conflict…  | attention for that step; the other branches go on               |
 * |           | execute done, after its undo   | noted while the undo is in flight; after its answer: undo again |
 * | any       | item retried, skipped, resolved| the item goes on as the person says; a skip ends `resolved`     |
 * |           | killed                         | -> ended `killed`, nothing is undone                            |
 * | ended     | anything                       | nothing                                                         |
 *
 * Invariants:
 *  S1 compensate is commanded only for a settled execute that may have run, and never for the pivot;
 *  S2 compensate is commanded only when everything that depends on the step is settled and undone;
 *  S3 nothing starts, and no execute gets another attempt, once `undo` has been decided;
 *  S4 once `commit` has been decided nothing is compensated.
 */
import type { Machine, MachineEvent, RunFacts, Step } from './machine.ts';
import { isDue, stay } from './machine.ts';
import { settle } from './act.ts';
import { advance } from './saga/advance.ts';
import { OVERDUE } from './saga/answers.ts';
import { effectsOf, outstanding, timers } from './saga/effects.ts';
import { executeDeadline, executeReported, failStep } from './saga/execute.ts';
import { cancelled, forced, itemResolved, itemRetried, itemSkipped, turnBack } from './saga/operate.ts';
import type { SagaState, Turn } from './saga/state.ts';
import { undoDeadline, undoReported } from './saga/undo.ts';
import { view } from './saga/view.ts';

export type { SagaState } from './saga/state.ts';

export const saga: Machine<SagaState> = {
  pattern: 'saga',
  version: 1,
  start(facts, mark) {
    const bounds = facts.plan.deadlines.run;
    const steps = facts.plan.steps.map(() => ({ status: 'waiting' }) as const);
    const deadline = bounds === undefined ? undefined : { armed: mark.at, dueMs: mark.time + bounds.lowerMs };
    const state: SagaState =
      deadline === undefined ? { phase: 'forward', steps } : { phase: 'forward', steps, deadline };
    const after = advance({ facts, state, mark });
    return { state: after, effects: effectsOf(facts, { before: undefined, after, mark }) };
  },
  step(facts: RunFacts, state: SagaState, event: MachineEvent): Step<SagaState> {
    const { mark } = event;
    const applied = apply({ facts, state, mark }, event);
    if (applied === state) return stay(state);
    const after = advance({ facts, state: applied, mark });
    return { state: after, effects: effectsOf(facts, { before: state, after, mark }) };
  },
  outstanding,
  timers,
  view,
};

function apply(turn: Turn, event: MachineEvent): SagaState {
  if (turn.state.phase === 'ended') return turn.state;
  switch (event.type) {
    case 'reported': {
      const index = turn.facts.plan.indexOf.get(event.step);
      if (index === undefined) return turn.state;
      if (event.phase === 'execute') return executeReported(turn, index, event);
      return event.phase === 'compensate' ? undoReported(turn, index, event) : turn.state;
    }
    case 'deadline_passed':
      return deadlinePassed(turn, event);
    case 'cancelled':
      return cancelled(turn, event);
    case 'item_retried':
      return itemRetried(turn, event);
    case 'item_skipped':
      return itemSkipped(turn, event);
    case 'item_resolved':
      return itemResolved(turn, event);
    case 'forced':
      return forced(turn, event);
    case 'killed': {
      const outcome = { status: 'killed', code: 'killed', message: event.reason } as const;
      return { phase: 'ended', steps: turn.state.steps, outcome };
    }
    case 'signalled':
      return turn.state;
  }
}

type DeadlinePassed = Extract<MachineEvent, { readonly type: 'deadline_passed' }>;

function deadlinePassed(turn: Turn, event: DeadlinePassed): SagaState {
  const { state, facts } = turn;
  if (event.kind === 'run') return runDeadline(turn, event);
  const index = event.step === undefined ? undefined : facts.plan.indexOf.get(event.step);
  if (index === undefined) return state;
  if (event.phase === 'execute') return executeDeadline(turn, index, event);
  return event.phase === 'compensate' ? undoDeadline(turn, index, event) : state;
}

function runDeadline(turn: Turn, event: DeadlinePassed): SagaState {
  const { state, mark } = turn;
  if (state.phase !== 'forward' && state.phase !== 'committed') return state;
  const { deadline, ...rest } = state;
  if (!isDue(deadline, { mark, armed: event.armed })) return state;
  if (rest.phase === 'forward') return turnBack(turn, rest, { status: 'compensated', ...OVERDUE });
  let stopped: SagaState = rest;
  for (const [index, entry] of rest.steps.entries()) {
    if (entry.status !== 'running') continue;
    const act = settle(entry.act);
    stopped = failStep({ ...turn, state: stopped }, { index, act, failure: OVERDUE });
  }
  return stopped;
}
