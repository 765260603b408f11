/** What a state implies once an event has been applied: which steps start, which are undone, whether it has ended. */
import { utf8Length, type Json } from '../../kernel/json.ts';
import { knownNotToHaveRun, settle } from '../act.ts';
import type { CompiledPlan } from '../compiled-plan.ts';
import { MAX_OUTPUTS_BYTES } from '../limits.ts';
import type { OutcomeBody } from '../machine.ts';
import { startStep } from './execute.ts';
import {
  at,
  goBack,
  inputOf,
  isSettledBackward,
  mayHaveRun,
  outputOf,
  succeeded,
  type Backward,
  type Committed,
  type Forward,
  type SagaState,
  type SagaStep,
  type Turn,
} from './state.ts';
import { startUndo } from './undo.ts';

export function advance(turn: Turn): SagaState {
  const { facts, mark } = turn;
  let { state } = turn;
  if (state.phase === 'forward') state = forward({ facts, state, mark }, state);
  if (state.phase === 'committed') state = committed({ facts, state, mark }, state);
  if (state.phase === 'backward') state = backward({ facts, state, mark }, state);
  return state;
}

function forward(turn: Turn, state: Forward): SagaState {
  const { plan } = turn.facts;
  const { latched } = state;
  if (latched !== undefined && plan.pivot !== undefined) {
    const pivot = at(state.steps, plan.pivot);
    const idle = pivot.status === 'running' && pivot.act.status === 'backing_off';
    if (idle && knownNotToHaveRun(pivot.act))
      return goBack(state.steps.with(plan.pivot, { status: 'failed', act: settle(pivot.act) }), latched);
  }
  if (isPastNoReturn(plan, state.steps)) {
    const { steps, deadline } = state;
    return deadline === undefined ? { phase: 'committed', steps } : { phase: 'committed', steps, deadline };
  }
  const ready = readySteps(plan, state.steps, (index) => at(plan.steps, index).kind !== 'retriable');
  // One step that cannot be sent turns the saga back: then none of the others starts either.
  const impossible = ready.find((index) => {
    const step = at(plan.steps, index);
    return step.pointed && inputOf(turn.facts, state.steps, step)?.ok === false;
  });
  if (impossible !== undefined) return startStep(turn, impossible);
  return startAll(turn, ready);
}

/** The pivot is done; without one, everything that could be compensated is. */
function isPastNoReturn(plan: CompiledPlan, steps: readonly SagaStep[]): boolean {
  if (plan.pivot !== undefined) return at(steps, plan.pivot).status === 'done';
  return steps.every((entry, index) => succeeded(entry) || at(plan.steps, index).kind === 'retriable');
}

function readySteps(
  plan: CompiledPlan,
  steps: readonly SagaStep[],
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

function startAll(turn: Turn, ready: readonly number[]): SagaState {
  const { facts, mark } = turn;
  let { state } = turn;
  for (const index of ready) state = startStep({ facts, state, mark }, index);
  return state;
}

function committed(turn: Turn, state: Committed): SagaState {
  const { plan } = turn.facts;
  if (state.steps.every(succeeded)) {
    const { steps } = state;
    return { phase: 'ended', steps, outcome: completedOutcome(plan, steps) };
  }
  return startAll(
    turn,
    readySteps(plan, state.steps, () => true),
  );
}

const wasSkipped = (entry: SagaStep): boolean => entry.status === 'skipped';

function completedOutcome(plan: CompiledPlan, steps: readonly SagaStep[]): OutcomeBody {
  const status = steps.some(wasSkipped) ? 'resolved' : 'completed';
  const outputs: [string, Json][] = [];
  steps.forEach((entry, index) => {
    const output = outputOf(entry);
    if (output !== undefined) outputs.push([at(plan.steps, index).step, output]);
  });
  if (outputs.length === 0) return { status };
  const body = Object.fromEntries(outputs);
  return utf8Length(JSON.stringify(body)) > MAX_OUTPUTS_BYTES ? { status } : { status, outputs: body };
}

function backward(turn: Turn, initial: Backward): SagaState {
  const { plan } = turn.facts;
  let state: SagaState = initial;
  const cleared = clearance(plan, initial.steps);
  for (const [index, entry] of initial.steps.entries()) {
    const owesUndo = (entry.status === 'done' && !entry.readOnly) || mayHaveRun(entry);
    if (owesUndo && at(plan.steps, index).dependents.every(cleared))
      state = startUndo({ ...turn, state }, index);
  }
  if (!initial.steps.every(isSettledBackward)) return state;
  return { phase: 'ended', steps: initial.steps, outcome: undoneOutcome(initial) };
}

/** Whether a step and everything that depends on it is settled and, where it may have run, undone. */
function clearance(plan: CompiledPlan, steps: readonly SagaStep[]): (index: number) => boolean {
  const known: (boolean | undefined)[] = [];
  const cleared = (index: number): boolean =>
    (known[index] ??= isSettledBackward(at(steps, index)) && at(plan.steps, index).dependents.every(cleared));
  return cleared;
}

function undoneOutcome({ steps, cause }: Backward): OutcomeBody {
  const { status, code, message, step } = cause;
  return {
    status: steps.some(wasSkipped) ? 'resolved' : status,
    code,
    ...(message === undefined ? {} : { message }),
    ...(step === undefined ? {} : { step }),
  };
}
