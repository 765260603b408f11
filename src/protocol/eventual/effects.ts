/** Effects are the difference between two states, so that what is sent and what is outstanding cannot differ (M3). */
import { actTimer, commandOf, knownNotToHaveRun, type Act } from '../act.ts';
import { endedBy } from '../command-due.ts';
import type { CompiledStep } from '../compiled-plan.ts';
import type {
  AttentionItem,
  Burial,
  CommandEffect,
  Effect,
  Mark,
  OutcomeBody,
  RunFacts,
  Timer,
} from '../machine.ts';
import {
  at,
  isMoving,
  outcomeOf,
  type Confirming,
  type Dead,
  type Due,
  type EventualState,
  type EventualStep,
  type Executing,
} from './state.ts';

interface Change {
  /** Undefined when the run begins. */
  readonly before: EventualState | undefined;
  readonly after: EventualState;
  readonly mark: Mark;
}

const underWay = (entry: EventualStep): Executing | Confirming | undefined =>
  entry.status === 'executing' || entry.status === 'confirming' ? entry : undefined;

export function effectsOf(facts: RunFacts, { before, after, mark }: Change): readonly Effect[] {
  const effects: Effect[] = [];
  const burials: Burial[] = [];
  let earliestMs = Infinity;
  const arm = (due: Due | undefined): void => {
    if (due?.armed === mark.at) earliestMs = Math.min(earliestMs, due.dueMs);
  };
  if (before === undefined && after.phase === 'running') arm(after.deadline);
  for (const [index, entry] of after.steps.entries()) {
    const old = before?.steps[index];
    if (entry === old) continue;
    const step = at(facts.plan.steps, index);
    if (entry.status === 'dead') burials.push(burialOf(step, entry));
    if (after.phase === 'ended') continue;
    const moving = underWay(entry);
    if (moving !== undefined) {
      if (isSentNow(moving.act, mark)) effects.push(commandFor(facts, step, moving));
      arm(moving.act.timer);
      arm(moving.deadline);
    }
    const item = itemOf(step, entry);
    if (item !== undefined) effects.push({ type: 'attend', item });
  }
  if (burials.length > 0) effects.push({ type: 'bury', burials });
  if (earliestMs < Infinity) effects.push({ type: 'arm', dueMs: earliestMs });
  const told = whatToTell(facts, before, after);
  if (told !== undefined) effects.push({ type: 'tell', outcome: told });
  if (after.phase === 'ended') effects.push({ type: 'end', outcome: after.outcome });
  return effects;
}

const isSentNow = (act: Act, mark: Mark): boolean => act.status === 'commanded' && act.cause.at === mark.at;

function burialOf(step: CompiledStep, { act, failure }: Dead): Burial {
  const { code, message } = failure;
  const why = message === undefined ? { code } : { code, message };
  const command = commandOf(step, act, { input: step.input });
  return { command, ...why, mayHaveRun: !knownNotToHaveRun(act) };
}

/** Told when nothing moves any more without a person. */
function whatToTell(
  facts: RunFacts,
  before: EventualState | undefined,
  after: EventualState,
): OutcomeBody | undefined {
  if (after.phase === 'ended' || after.steps.some(isMoving)) return undefined;
  if (before?.steps.some(isMoving) === false) return undefined;
  return { ...outcomeOf(facts.plan, after.steps), attention: true };
}

/** The command of a step in flight, as last sent. */
function commandFor({ plan }: RunFacts, step: CompiledStep, entry: Executing | Confirming): CommandEffect {
  const { act, deadline } = entry;
  if (entry.status === 'confirming')
    return endedBy(commandOf(step, act, { output: entry.output }), deadline, plan.deadlines.confirm);
  const bounds = step.deadline ?? plan.deadlines.execute;
  return endedBy(commandOf(step, act, { input: step.input }), deadline, bounds);
}

export function outstanding(facts: RunFacts, state: EventualState): readonly CommandEffect[] {
  if (state.phase === 'ended') return [];
  return facts.plan.steps.flatMap((step) => {
    const moving = underWay(at(state.steps, step.index));
    return moving?.act.status === 'commanded' ? [commandFor(facts, step, moving)] : [];
  });
}

export function timers(facts: RunFacts, state: EventualState): readonly Timer[] {
  if (state.phase === 'ended') return [];
  const armed: Timer[] = facts.plan.steps.flatMap((step) => stepTimers(step, at(state.steps, step.index)));
  if (state.deadline !== undefined) armed.push({ kind: 'run', ...state.deadline });
  return armed;
}

function stepTimers({ step }: CompiledStep, entry: EventualStep): readonly Timer[] {
  const moving = underWay(entry);
  if (moving === undefined) return [];
  const { act, deadline } = moving;
  const timer = actTimer(step, act);
  const found = timer === undefined ? [] : [timer];
  if (deadline !== undefined) found.push({ kind: 'step', step, phase: act.phase, ...deadline });
  return found;
}

export function itemOf({ step }: CompiledStep, entry: EventualStep): AttentionItem | undefined {
  if (entry.status !== 'stuck') return undefined;
  const { code, message } = entry.failure;
  const why = message === undefined ? { code } : { code, message };
  return { raised: entry.raised, step, phase: 'confirm', ...why };
}
