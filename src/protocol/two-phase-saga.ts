/**
 * 2PS: all prepare in parallel, then all execute in parallel; 2PS-OV has a gate and a verification in between; 1.5PS
 * hands over to a 0.5PS once its steps have executed (DESIGN §3). No locks are held; the log decides.
 *
 * | phase     | input                          | what follows                                                      |
 * |-----------|--------------------------------|-------------------------------------------------------------------|
 * | forward   | begun                          | prepare to all                                                    |
 * |           | prepare done by all            | execute to all; with a gate: its delay begins                     |
 * |           | prepare read-only              | that step has no further part; if all say so -> ended `completed` |
 * |           |                                | (with `eventual`: once the gate, if there is one, is open)        |
 * |           | approved, gate due             | latched; opens the gate when all are prepared and both have come: |
 * |           |                                | verify to all                                                     |
 * |           | rejected                       | -> backward, `rejected`; also before the gate is reached          |
 * |           | verify done by all             | execute to all                                                    |
 * |           | execute done by all            | -> ended `completed`; with `eventual` -> committed                |
 * |           | retry, unknown, attempt due    | next attempt after back-off; when the policy ends: a `no`         |
 * |           | refused, conflict, stale, a    | -> backward, in whatever phase                                    |
 * |           | `no`, phase or step due        |                                                                   |
 * |           | cancel, run due                | -> backward, in whatever phase                                    |
 * | committed | begun by `eventual`            | told `completed`, scope `critical`; its child begins              |
 * |           | child done, read-only          | -> ended `completed`                                              |
 * |           | child retry, unknown           | next attempt after back-off; when the policy ends: attention      |
 * |           | child refused, conflict, stale | attention; nothing is undone                                      |
 * |           | cancel, run due                | nothing                                                           |
 * | backward  | act answered or due            | no further attempt, no further phase; undone when its turn comes  |
 * |           | turn of a step                 | `compensate` if its execute may have run, else `cancel` if it may |
 * |           |                                | be prepared, else nothing                                         |
 * |           | undo done, read-only           | the step before it in the plan has its turn; all -> ended         |
 * |           | undo retry, unknown, due       | next attempt by `undoRetry`; when the policy ends: attention      |
 * |           | undo refused, conflict, stale  | attention for that step, and the one before has its turn          |
 * |           | act done, after its undo       | noted while the undo is in flight; after its answer: undo again   |
 * |           | late effect of an act          | undone again, as often as it is told; if a person has skipped tha |
 * |           |                                | undo: attention `late-effect`                                     |
 * |           | a late no, before its undo     | there is less to undo, or nothing                                 |
 * |           | execute done, after `cancel`   | attention `contradiction`: cancel leaves it, never both           |
 * | any       | item retried, skipped, resolved| the item goes on as the person says; a skip ends `resolved`       |
 * |           | forced to complete             | committed: every item is skipped                                  |
 * |           | killed                         | -> ended `killed`, nothing is undone                              |
 * | ended     | anything                       | nothing                                                           |
 *
 * A step's own deadline bounds each of its phases, instead of the phase's. A gate that waits for its signal has no
 * deadline but the run's: whoever wants one says how long the whole may take.
 *
 * Invariants:
 *  P1 execute is commanded only when every step is prepared (and verified, behind an open gate) or read-only;
 *  P2 an undo is commanded only for a settled act, and never both `cancel` and `compensate` for one step;
 *  P3 a step is undone only when every later one is settled, and undone or in attention;
 *  P4 once `undo` has been decided nothing starts and no act gets another attempt; once `commit` has, nothing is undone.
 */
import type { Phase } from '../kernel/vocabulary.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import type { Machine, Mark } from './machine.ts';
import { allButRetriable, startAll } from './staged/advance.ts';
import { GATE_AHEAD, reachGate } from './staged/gate.ts';
import { stagedMachine } from './staged/machine.ts';
import type { Turn } from './staged/shape.ts';
import { at, reversed, succeeded, type Forward, type StagedState, type StepState } from './staged/state.ts';

export const twoPhaseSaga: Machine<StagedState> = stagedMachine({
  pattern: '2ps',
  drop: 'cancel',
  actDeadline: 'phase',
  passesStuck: true,
  gateOf: (plan) => (plan.gate === undefined ? undefined : GATE_AHEAD),
  undoneBefore: reversed,
  forward,
});

function forward(turn: Turn, state: Forward): StagedState {
  const { shape, facts, mark } = turn;
  const { plan } = facts;
  if (allButRetriable(plan, state.steps)) {
    // All read-only: nothing is executed behind the gate, but the eventual part begins behind it.
    const behind = plan.eventual === undefined ? state : atGate(plan, state, mark);
    if (plan.eventual !== undefined && behind.gate !== undefined && behind.gate.status !== 'open')
      return behind;
    return { phase: 'committed', steps: state.steps, deadline: undefined };
  }
  const taking = atBarrier(plan, state.steps);
  const first = taking?.[0];
  if (taking === undefined || first === undefined) return state;
  const phase = phaseAfter(plan, at(state.steps, first));
  if (phase !== 'verify') return startAll(turn, taking, phase);
  const reached = atGate(plan, state, mark);
  return reached.gate?.status === 'open'
    ? startAll({ shape, facts, state: reached, mark }, taking, phase)
    : reached;
}

function atGate(plan: CompiledPlan, state: Forward, mark: Mark): Forward {
  const { gate } = state;
  if (gate?.status !== 'ahead' || plan.gate === undefined) return state;
  return { ...state, gate: reachGate(plan.gate, gate, mark) };
}

/** Who takes part in the next phase; undefined while somebody is still in the one before. */
function atBarrier(plan: CompiledPlan, steps: readonly StepState[]): readonly number[] | undefined {
  const taking: number[] = [];
  for (let index = 0; index < steps.length; index += 1) {
    const entry = at(steps, index);
    if (at(plan.steps, index).kind === 'retriable' || succeeded(entry)) continue;
    if (entry.status !== 'waiting' && entry.status !== 'done') return undefined;
    taking.push(index);
  }
  return taking;
}

function phaseAfter(plan: CompiledPlan, entry: StepState): Phase {
  if (entry.status !== 'done') return 'prepare';
  return plan.gate !== undefined && entry.act?.phase === 'prepare' ? 'verify' : 'execute';
}
