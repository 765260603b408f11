/** Effects are the difference between two states, so that what is sent and what is outstanding cannot differ (M3). */
import { actTimer, commandOf, type Act } from '../act.ts';
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
import { at, inputOf, isMoving, type Due, type SagaState, type SagaStep } from './state.ts';

export interface Change {
  /** Undefined when the run begins. */
  readonly before: SagaState | undefined;
  readonly after: SagaState;
  readonly mark: MachineEvent['mark'];
}

export function effectsOf(facts: RunFacts, { before, after, mark }: Change): readonly Effect[] {
  const effects: Effect[] = [];
  decided(before, after, effects);
  let earliestMs = Infinity;
  if (before === undefined && 'deadline' in after) earliestMs = after.deadline?.dueMs ?? Infinity;
  for (let index = 0; index < after.steps.length; index += 1) {
    const entry = at(after.steps, index);
    const old = before?.steps[index];
    if (entry === old || after.phase === 'ended') continue;
    const step = at(facts.plan.steps, index);
    const command = inFlight(entry);
    if (command !== undefined && command.attempt > attemptBefore(old, command))
      effects.push(commandFor(facts, after, step));
    // A step that comes back from attention brings its old deadline with it, which nobody watches any more.
    const isBack = old?.status !== entry.status;
    const isNew = (due: Due | undefined): due is Due =>
      due !== undefined && (due.armed === mark.at || isBack);
    const { timer } = actOf(entry) ?? IDLE;
    const deadline = deadlineOf(entry);
    if (isNew(timer)) earliestMs = Math.min(earliestMs, timer.dueMs);
    if (isNew(deadline)) earliestMs = Math.min(earliestMs, deadline.dueMs);
    const item = itemOf(step, entry);
    if (item?.raised === mark.at) effects.push({ type: 'attend', item });
  }
  if (earliestMs < Infinity) effects.push({ type: 'arm', dueMs: earliestMs });
  const told = whatToTell(before, after);
  if (told !== undefined) effects.push({ type: 'tell', outcome: told });
  if (after.phase === 'ended') effects.push({ type: 'end', outcome: after.outcome });
  return effects;
}

/** The decision that this step of the log implies: once forward, or once back. */
function decided(before: SagaState | undefined, after: SagaState, effects: Effect[]): void {
  if (before !== undefined && before.phase !== 'forward') return;
  if (after.phase === 'backward') effects.push({ type: 'decide', value: 'undo', code: after.cause.code });
  else if (after.phase === 'committed') effects.push({ type: 'decide', value: 'commit' });
  else if (after.phase === 'ended' && after.outcome.status !== 'killed') {
    const { status, code } = after.outcome;
    if (status === 'completed') effects.push({ type: 'decide', value: 'commit' });
    else effects.push({ type: 'decide', value: 'undo', ...(code === undefined ? {} : { code }) });
  }
}

/** Told when nothing moves any more without a person, although the side of the point of no return is known. */
function whatToTell(before: SagaState | undefined, after: SagaState): OutcomeBody | undefined {
  if (after.phase === 'ended' || after.phase === 'forward' || isMoving(after)) return undefined;
  if (before !== undefined && !isMoving(before)) return undefined;
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
function inFlight(entry: SagaStep): Act | undefined {
  const act = actOf(entry);
  return act?.status === 'commanded' ? act : undefined;
}

export function actOf(entry: SagaStep): Act | undefined {
  if (entry.status === 'running') return entry.act;
  return entry.status === 'undoing' ? entry.undo.command : undefined;
}

function attemptBefore(old: SagaStep | undefined, command: Act): number {
  if (old === undefined) return 0;
  if (command.phase === 'compensate') return 'undo' in old ? old.undo.command.attempt : 0;
  return 'act' in old ? (old.act?.attempt ?? 0) : 0;
}

/** The command of a step in flight, as last sent. */
function commandFor(facts: RunFacts, state: SagaState, step: CompiledStep): CommandEffect {
  const entry = at(state.steps, step.index);
  const resolved = inputOf(facts, state.steps, step);
  const input = resolved?.ok === true ? resolved.value : undefined;
  if (entry.status === 'undoing') {
    const { command, ran, output, deadline } = entry.undo;
    return within(commandOf(step, command, { input, ran, output }), deadline);
  }
  const running = entry.status === 'running' ? entry : undefined;
  return within(commandOf(step, (running as typeof running & object).act, { input }), running?.deadline);
}

/** A step's own deadline may end the attempt sooner. */
const within = (command: CommandEffect, deadline: Due | undefined): CommandEffect =>
  deadline === undefined || deadline.dueMs >= (command.due ?? Infinity)
    ? command
    : { ...command, due: deadline.dueMs };

export function outstanding(facts: RunFacts, state: SagaState): readonly CommandEffect[] {
  if (state.phase === 'ended') return [];
  return facts.plan.steps
    .filter(({ index }) => inFlight(at(state.steps, index)) !== undefined)
    .map((step) => commandFor(facts, state, step));
}

export function timers(facts: RunFacts, state: SagaState): readonly Timer[] {
  if (state.phase === 'ended') return [];
  const armed = facts.plan.steps.flatMap((step) => stepTimers(step, at(state.steps, step.index)));
  if (state.phase === 'backward' || state.deadline === undefined) return armed;
  return [...armed, { kind: 'run', ...state.deadline }];
}

const NO_TIMERS: readonly Timer[] = [];
const IDLE: Pick<Act, 'timer'> = {};

/** A step's own deadline, while its act is under way. */
function deadlineOf(entry: SagaStep): Due | undefined {
  if (entry.status === 'running') return entry.deadline;
  return entry.status === 'undoing' ? entry.undo.deadline : undefined;
}

function stepTimers(step: CompiledStep, entry: SagaStep): readonly Timer[] {
  const act = actOf(entry);
  if (act === undefined) return NO_TIMERS;
  const timer = actTimer(step.step, act);
  const deadline = deadlineOf(entry);
  const found = timer === undefined ? [] : [timer];
  if (deadline !== undefined) found.push({ kind: 'step', step: step.step, phase: act.phase, ...deadline });
  return found;
}

export function itemOf(step: CompiledStep, entry: SagaStep): AttentionItem | undefined {
  if (entry.status !== 'stuck' && entry.status !== 'undo_stuck') return undefined;
  const { raised, code, message } = entry.item;
  const phase = entry.status === 'stuck' ? 'execute' : 'compensate';
  return { raised, step: step.step, phase, code, ...(message === undefined ? {} : { message }) };
}
