/** Effects are the difference between two states, so that what is sent and what is outstanding cannot differ (M3). */
import type { Position } from '../../kernel/position.ts';
import { isUndoPhase, type Phase } from '../../kernel/vocabulary.ts';
import { actTimer, commandOf, type Act } from '../act.ts';
import { endedBy } from '../command-due.ts';
import type { CompiledStep } from '../compiled-plan.ts';
import type {
  AttentionItem,
  CommandEffect,
  Effect,
  MachineEvent,
  OutcomeBody,
  RunFacts,
  Timer,
} from '../machine.ts';
import { criticalOutcome } from './outcome.ts';
import type { Shape } from './shape.ts';
import { at, inputOf, isMoving, type Due, type StagedState, type StepState } from './state.ts';

export interface Change {
  /** Undefined when the run begins. */
  readonly before: StagedState | undefined;
  readonly after: StagedState;
  readonly mark: MachineEvent['mark'];
}

export function effectsOf(facts: RunFacts, { before, after, mark }: Change): readonly Effect[] {
  const effects: Effect[] = [];
  decided(before, after, effects);
  let earliestMs = before === undefined ? beginDueMs(after) : gateDueMs(before, after);
  for (let index = 0; index < after.steps.length; index += 1) {
    const entry = at(after.steps, index);
    const old = before?.steps[index];
    if (entry === old || after.phase === 'ended') continue;
    const step = at(facts.plan.steps, index);
    const act = actOf(entry);
    if (act !== undefined) {
      if (act.status === 'commanded' && act.attempt > attemptBefore(old, act))
        effects.push(commandFor(facts, after, step));
      // A step that comes back from attention brings its old deadline with it, which nobody watches any more.
      const armed = old?.status === entry.status ? mark.at : undefined;
      earliestMs = Math.min(earliestMs, newDueMs(act.timer, armed), newDueMs(deadlineOf(entry), armed));
    }
    if (after.phase === 'forward') earliestMs = Math.min(earliestMs, newDueMs(expiryOf(entry), mark.at));
    const item = itemOf(step, entry);
    if (item?.raised === mark.at) effects.push({ type: 'attend', item });
  }
  if (earliestMs < Infinity) effects.push({ type: 'arm', dueMs: earliestMs });
  const told = whatToTell(facts, before, after);
  if (told !== undefined) effects.push({ type: 'tell', outcome: told });
  if (after.phase === 'ended') effects.push({ type: 'end', outcome: after.outcome });
  return effects;
}

/** When a deadline is due, if it was armed there; at all, if it does not matter where. */
const newDueMs = (due: Due | undefined, armed: Position | undefined): number =>
  due === undefined || (armed !== undefined && due.armed !== armed) ? Infinity : due.dueMs;

/** The decision that this step of the log implies: once forward, or once back. */
function decided(before: StagedState | undefined, after: StagedState, effects: Effect[]): void {
  if (before !== undefined && before.phase !== 'forward') return;
  if (after.phase === 'backward') effects.push({ type: 'decide', value: 'undo', code: after.cause.code });
  else if (after.phase === 'committed') effects.push({ type: 'decide', value: 'commit' });
  else if (after.phase === 'ended' && after.outcome.status !== 'killed') {
    const { status, code } = after.outcome;
    if (status === 'completed') effects.push({ type: 'decide', value: 'commit' });
    else effects.push({ type: 'decide', value: 'undo', ...(code === undefined ? {} : { code }) });
  }
}

const beginDueMs = (state: StagedState): number =>
  state.phase === 'forward' || state.phase === 'committed' ? (state.deadline?.dueMs ?? Infinity) : Infinity;

function gateDueMs(before: StagedState, after: StagedState): number {
  if (after.phase !== 'forward' || after.gate?.due === undefined) return Infinity;
  return before.phase === 'forward' && before.gate?.due === after.gate.due ? Infinity : after.gate.due.dueMs;
}

/**
 * Told when nothing moves any more without a person, although the side of the point of no return is known. The critical
 * part of 1.5PS is told when it is done, and no second time.
 */
function whatToTell(
  facts: RunFacts,
  before: StagedState | undefined,
  after: StagedState,
): OutcomeBody | undefined {
  if (after.phase === 'ended' || after.phase === 'forward') return undefined;
  if (after.phase === 'committed' && facts.plan.eventual !== undefined)
    return before?.phase === 'committed' ? undefined : criticalOutcome(facts.plan, after.steps);
  if (isMoving(after) || (before !== undefined && !isMoving(before))) return undefined;
  if (after.phase === 'committed') return { status: 'completed', attention: true };
  const { status, code, message, step } = after.cause;
  return {
    status,
    code,
    ...(message === undefined ? {} : { message }),
    ...(step === undefined ? {} : { step }),
    attention: true,
  };
}

/** The act whose answer is awaited, if its attempt has been sent. */
function inFlight(entry: StepState): Act | undefined {
  const act = actOf(entry);
  return act?.status === 'commanded' ? act : undefined;
}

export function actOf(entry: StepState): Act | undefined {
  if (entry.status === 'running') return entry.act;
  return entry.status === 'undoing' ? entry.undo.command : undefined;
}

function attemptBefore(old: StepState | undefined, command: Act): number {
  if (old === undefined) return 0;
  const undo = 'undo' in old ? old.undo : undefined;
  const act = undo?.command ?? ('act' in old ? old.act : undefined);
  return act?.phase === command.phase ? act.attempt : 0;
}

/** The command of a step in flight, as last sent. */
function commandFor(facts: RunFacts, state: StagedState, step: CompiledStep): CommandEffect {
  const entry = at(state.steps, step.index);
  const resolved = inputOf(facts, state.steps, step);
  const input = resolved?.ok === true ? resolved.value : undefined;
  if (entry.status === 'undoing') {
    const { command, earlier, output, deadline } = entry.undo;
    const ran = entry.undo.ran || earlier.length > 0;
    const bounds = facts.plan.deadlines[command.phase];
    return endedBy(commandOf(step, command, { input, ran, output }), deadline, bounds);
  }
  const { act, output, deadline } = entry as StepState & { readonly status: 'running' };
  const bounds = step.deadline ?? facts.plan.deadlines[act.phase];
  return endedBy(commandOf(step, act, { input, output }), deadline, bounds);
}

export function outstanding(facts: RunFacts, state: StagedState): readonly CommandEffect[] {
  if (state.phase === 'ended') return [];
  return facts.plan.steps
    .filter(({ index }) => inFlight(at(state.steps, index)) !== undefined)
    .map((step) => commandFor(facts, state, step));
}

export function timers(shape: Shape, facts: RunFacts, state: StagedState): readonly Timer[] {
  if (state.phase === 'ended') return [];
  const armed: Timer[] = [];
  for (const step of facts.plan.steps) {
    const entry = at(state.steps, step.index);
    stepTimers(shape, { step, entry, armed });
    const expires = state.phase === 'forward' ? expiryOf(entry) : undefined;
    if (expires !== undefined) armed.push({ kind: 'reservation', step: step.step, ...expires });
  }
  if (state.phase === 'backward') return armed;
  if (state.phase === 'forward' && state.gate?.due !== undefined)
    armed.push({ kind: 'gate', ...state.gate.due });
  if (state.deadline !== undefined) armed.push({ kind: 'run', ...state.deadline });
  return armed;
}

/** The deadline of an act, while it is under way. */
function deadlineOf(entry: StepState): Due | undefined {
  if (entry.status === 'running') return entry.deadline;
  return entry.status === 'undoing' ? entry.undo.deadline : undefined;
}

/** While the step is reserved and its execute has not been commanded. */
export const expiryOf = (entry: StepState): Due | undefined =>
  entry.status === 'running' || entry.status === 'done' ? entry.expires : undefined;

function stepTimers(
  shape: Shape,
  { step, entry, armed }: { step: CompiledStep; entry: StepState; armed: Timer[] },
): void {
  const act = actOf(entry);
  if (act === undefined) return;
  const { phase } = act;
  const timer = actTimer(step.step, act);
  if (timer !== undefined) armed.push(timer);
  const deadline = deadlineOf(entry);
  if (deadline === undefined) return;
  const kind = isUndoPhase(phase) || step.deadline !== undefined ? 'step' : shape.actDeadline;
  armed.push({ kind, step: step.step, phase, ...deadline });
}

export type ItemEntry = Extract<StepState, { readonly status: 'stuck' | 'undo_stuck' }>;

export const itemPhase = (entry: ItemEntry): Phase =>
  entry.status === 'stuck' ? (entry.act?.phase ?? 'execute') : entry.undo.command.phase;

export function itemOf(step: CompiledStep, entry: StepState): AttentionItem | undefined {
  if (entry.status !== 'stuck' && entry.status !== 'undo_stuck') return undefined;
  const { raised, code, message } = entry.item;
  const phase = itemPhase(entry);
  return { raised, step: step.step, phase, code, ...(message === undefined ? {} : { message }) };
}
