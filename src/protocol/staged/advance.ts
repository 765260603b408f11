/** What a state implies once an event has been applied: which stages start, what is undone, whether it has ended. */
import type { Phase } from '../../kernel/vocabulary.ts';
import type { CompiledPlan } from '../compiled-plan.ts';
import { completedOutcome, undoneOutcome } from './outcome.ts';
import { startStage } from './stage.ts';
import type { Turn } from './shape.ts';
import {
  at,
  isSettledBackward,
  owesUndo,
  succeeded,
  type Backward,
  type Committed,
  type StagedState,
  type StepState,
} from './state.ts';
import { startUndo } from './undo.ts';

export function advance(turn: Turn): StagedState {
  const { shape, facts, mark } = turn;
  let { state } = turn;
  if (state.phase === 'forward') state = shape.forward({ shape, facts, state, mark }, state);
  if (state.phase === 'committed') state = committed({ shape, facts, state, mark }, state);
  if (state.phase === 'backward') state = backward({ shape, facts, state, mark }, state);
  return state;
}

/** What may be undone has succeeded: nothing stands in the way of what cannot. */
export const allButRetriable = (plan: CompiledPlan, steps: readonly StepState[]): boolean =>
  steps.every((entry, index) => succeeded(entry) || at(plan.steps, index).kind === 'retriable');

/** Steps that have not started although all that they depend on is done. */
export function readySteps(
  plan: CompiledPlan,
  steps: readonly StepState[],
  mayStart: (index: number) => boolean,
): readonly number[] {
  const ready: number[] = [];
  for (let index = 0; index < steps.length; index += 1) {
    if (at(steps, index).status !== 'waiting' || !mayStart(index)) continue;
    if (at(plan.steps, index).after.every((dependency) => succeeded(at(steps, dependency))))
      ready.push(index);
  }
  return ready;
}

export function startAll(turn: Turn, ready: readonly number[], phase: Phase): StagedState {
  const { shape, facts, mark } = turn;
  let { state } = turn;
  for (const index of ready) state = startStage({ shape, facts, state, mark }, index, phase);
  return state;
}

function committed(turn: Turn, state: Committed): StagedState {
  const { plan } = turn.facts;
  if (state.steps.every(succeeded)) {
    const { steps } = state;
    return { phase: 'ended', steps, outcome: completedOutcome(plan, steps) };
  }
  const ready = readySteps(plan, state.steps, () => true);
  return startAll(turn, ready, 'execute');
}

function backward(turn: Turn, initial: Backward): StagedState {
  let state: StagedState = initial;
  const cleared = clearance(turn, initial.steps);
  for (const [index, entry] of initial.steps.entries()) {
    if (owesUndo(entry) && turn.shape.undoneBefore(turn.facts.plan, index).every(cleared))
      state = startUndo({ ...turn, state }, index);
  }
  if (!initial.steps.every(isSettledBackward)) return state;
  return { phase: 'ended', steps: initial.steps, outcome: undoneOutcome(initial) };
}

/** Whether a step, and everything undone before it, is settled and undone where it owes that. */
function clearance({ shape, facts }: Turn, steps: readonly StepState[]): (index: number) => boolean {
  const known: (boolean | undefined)[] = [];
  const passes = (entry: StepState): boolean =>
    isSettledBackward(entry) || (shape.passesStuck && entry.status === 'undo_stuck');
  const cleared = (index: number): boolean =>
    (known[index] ??= passes(at(steps, index)) && shape.undoneBefore(facts.plan, index).every(cleared));
  return cleared;
}
