/**
 * Saga: steps by dependency; forward past the pivot, else exactly undone (DESIGN §3). The log decides which.
 *
 * | phase     | input                          | what follows                                                    |
 * |-----------|--------------------------------|-----------------------------------------------------------------|
 * | forward   | begun                          | steps without dependencies start                                |
 * |           | done, read-only                | steps whose dependencies are done start; past the pivot (with   |
 * |           |                                | none: when all compensatable steps are done) -> committed       |
 * |           | retry, unknown, attempt due    | next attempt after back-off; when the policy ends: a `no`       |
 * |           | refused, conflict, stale, a    | -> backward. The pivot: only if known not to have run, else     |
 * |           | `no`, step due                 | attention, until a late report or a person tells                |
 * |           | cancel, run due                | -> backward; latched while the pivot is outstanding: takes      |
 * |           |                                | effect if it did not run, otherwise forward wins                |
 * |           | forced to undo                 | with the pivot in attention: -> backward; ends `resolved`       |
 * | committed | begun                          | with retriable steps only: those without dependencies start     |
 * |           | done, read-only                | dependents start; all done -> ended `completed`                 |
 * |           | retry, unknown, attempt due    | next attempt after back-off; when the policy ends: attention    |
 * |           | refused, conflict, stale, due  | attention for that step, the others go on                       |
 * |           | forced to complete             | every item is skipped; ends `resolved`                          |
 * |           | cancel                         | nothing                                                         |
 * | backward  | execute answered or due        | no further attempt; a settled step that may have run is undone  |
 * |           |                                | once every dependent is settled and undone                      |
 * |           | compensate done, read-only     | undone; its dependencies follow; all undone -> ended            |
 * |           | compensate retry, unknown, due | next attempt by `undoRetry`; when the policy ends: attention    |
 * |           | compensate refused, conflict…  | attention for that step; the other branches go on               |
 * |           | execute done, after its undo   | noted while the undo is in flight; after its answer: undo again |
 * |           | late effect of an execute      | undone again, as often as it is told; if a person has skipped   |
 * |           |                                | that undo: attention `late-effect`                              |
 * |           | pivot done, given up before    | attention `contradiction`: what is not undone yet waits for it  |
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
import { knownNotToHaveRun, settle } from './act.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import type { Machine } from './machine.ts';
import { allButRetriable, readySteps, startAll } from './staged/advance.ts';
import { stagedMachine } from './staged/machine.ts';
import { startStage } from './staged/stage.ts';
import type { Turn } from './staged/shape.ts';
import {
  at,
  failed,
  goBack,
  inputOf,
  type Forward,
  type StagedState,
  type StepState,
} from './staged/state.ts';

export type SagaState = StagedState;

/** One stage; a step starts when what it depends on is done, and is undone after all that depends on it. */
export const saga: Machine<SagaState> = stagedMachine({
  pattern: 'saga',
  drop: 'compensate',
  actDeadline: 'step',
  passesStuck: false,
  gateOf: () => undefined,
  undoneBefore: (plan, index) => at(plan.steps, index).dependents,
  forward,
});

function forward(turn: Turn, state: Forward): SagaState {
  const { plan } = turn.facts;
  const { latched } = state;
  if (latched !== undefined && plan.pivot !== undefined) {
    const pivot = at(state.steps, plan.pivot);
    const idle = pivot.status === 'running' && pivot.act.status === 'backing_off';
    if (idle && knownNotToHaveRun(pivot.act))
      return goBack(state.steps.with(plan.pivot, failed(pivot, settle(pivot.act))), latched);
  }
  if (isPastNoReturn(plan, state.steps)) {
    const { steps, deadline } = state;
    return { phase: 'committed', steps, deadline };
  }
  const ready = readySteps(plan, state.steps, (index) => at(plan.steps, index).kind !== 'retriable');
  // One step that cannot be sent turns the saga back: then none of the others starts either.
  const impossible = ready.find((index) => {
    const step = at(plan.steps, index);
    return step.pointed && inputOf(turn.facts, state.steps, step)?.ok === false;
  });
  if (impossible !== undefined) return startStage(turn, impossible, 'execute');
  return startAll(turn, ready, 'execute');
}

/** The pivot is done; without one, everything that could be compensated is. */
const isPastNoReturn = (plan: CompiledPlan, steps: readonly StepState[]): boolean =>
  plan.pivot === undefined ? allButRetriable(plan, steps) : at(steps, plan.pivot).status === 'done';
