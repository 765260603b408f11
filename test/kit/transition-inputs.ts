/** Words of the machines' transition tables as recognisers of steps. */
import type { Answer, DeadlineKind, Decision, Pattern, Phase } from '../../src/kernel/vocabulary.ts';
import type { Effect, MachineEvent, RunView, StepView } from '../../src/protocol/machine.ts';

type WithoutMark<E> = E extends unknown ? Omit<E, 'mark'> : never;
/** One step of a machine whose effects a spec asserts. */
export interface Transition {
  readonly pattern: Pattern;
  readonly event: WithoutMark<MachineEvent> | { readonly type: 'begun' };
  readonly before: RunView;
  readonly after: RunView;
  readonly effects: readonly Effect[];
  readonly isUnchanged: boolean;
}

export type Recogniser = (transition: Transition) => boolean;
/** The inputs that a row lists, by name. */
export type Inputs = Readonly<Record<string, Recogniser>>;
/** By the second cell of the row; `phase: input` where a table has the same input twice. */
export type Recognisers = Readonly<Record<string, Inputs>>;

export const every =
  (...recognisers: readonly Recogniser[]): Recogniser =>
  (transition) =>
    recognisers.every((isSeen) => isSeen(transition));
export const either =
  (...recognisers: readonly Recogniser[]): Recogniser =>
  (transition) =>
    recognisers.some((isSeen) => isSeen(transition));
export const not =
  (isSeen: Recogniser): Recogniser =>
  (transition) =>
    !isSeen(transition);

export const changes: Recogniser = ({ isUnchanged }) => !isUnchanged;
export const nothing: Recogniser = ({ isUnchanged, effects }) => isUnchanged && effects.length === 0;

export const answered =
  (phases: readonly Phase[], ...answers: readonly Answer[]): Recogniser =>
  ({ event }) =>
    event.type === 'reported' && phases.includes(event.phase) && answers.includes(event.answer);

/** A participant's own end: how it went. */
export const endedItself =
  (result: 'committed' | 'aborted', ...answers: readonly Answer[]): Recogniser =>
  ({ event }) =>
    event.type === 'reported' && answers.includes(event.answer) && event.result === result;

export const hasLateEffect: Recogniser = ({ event }) =>
  event.type === 'reported' && event.lateEffect === true;

export const due =
  (...kinds: readonly DeadlineKind[]): Recogniser =>
  ({ event }) =>
    event.type === 'deadline_passed' && kinds.includes(event.kind);

/** The deadline guards a step that is in one of these phases. */
export const dueIn = (phases: readonly Phase[], ...kinds: readonly DeadlineKind[]): Recogniser =>
  every(due(...kinds), isInPhase(phases));

/** What the input is about was in one of these phases. */
export const isInPhase =
  (phases: readonly Phase[]): Recogniser =>
  (transition) => {
    const phase = stepBefore(transition)?.phase;
    return phase !== undefined && phases.includes(phase);
  };

export const happened =
  (type: string): Recogniser =>
  ({ event }) =>
    event.type === type;

export const resolved =
  (answer: 'done' | 'refused'): Recogniser =>
  ({ event }) =>
    event.type === 'item_resolved' && event.answer === answer;

export const signalled =
  (verdict: 'approve' | 'reject'): Recogniser =>
  ({ event }) =>
    event.type === 'signalled' && event.verdict === verdict;

export const sends =
  (...phases: readonly Phase[]): Recogniser =>
  ({ effects }) =>
    effects.some(
      (effect) => effect.type === 'command' && (phases.length === 0 || phases.includes(effect.phase)),
    );

export const sendsNext: Recogniser = ({ effects }) =>
  effects.some((effect) => effect.type === 'command' && effect.attempt > 1);

export const decides =
  (value: Decision): Recogniser =>
  ({ effects }) =>
    effects.some((effect) => effect.type === 'decide' && effect.value === value);

export const attends =
  (code?: string): Recogniser =>
  ({ effects }) =>
    effects.some((effect) => effect.type === 'attend' && (code === undefined || effect.item.code === code));

export const buries: Recogniser = ({ effects }) => effects.some(({ type }) => type === 'bury');

export const ends =
  (...statuses: readonly string[]): Recogniser =>
  ({ effects }) =>
    effects.some(
      (effect) =>
        effect.type === 'end' && (statuses.length === 0 || statuses.includes(effect.outcome.status)),
    );

function stepBefore({ event, before }: Parameters<Recogniser>[0]): StepView | undefined {
  const step = 'step' in event ? event.step : undefined;
  return before.steps.find((candidate) => candidate.step === step);
}

export const wasInStatus =
  (...statuses: readonly StepView['status'][]): Recogniser =>
  (transition) => {
    const status = stepBefore(transition)?.status;
    return status !== undefined && statuses.includes(status);
  };

export const backsOff: Recogniser = ({ event, after }) =>
  'step' in event && after.steps.some(({ step, status }) => step === event.step && status === 'backing_off');

export const clearsItem: Recogniser = ({ before, after }) =>
  after.attention.length < before.attention.length || after.phase === 'ended';

/** One input for each answer. */
export const answers = (
  phases: readonly Phase[],
  names: readonly Answer[],
  follows: Recogniser = changes,
): Inputs => Object.fromEntries(names.map((name) => [name, every(answered(phases, name), changes, follows)]));

/** `retry, unknown, overdue`: back-off, then the next attempt. */
export const attempts = (phases: readonly Phase[]): Inputs => ({
  ...unhurried(phases),
  overdue: every(dueIn(phases, 'attempt'), backsOff),
});

/** The same, where no attempt has an end of its own. */
export const unhurried = (phases: readonly Phase[]): Inputs => ({
  ...answers(phases, ['retry', 'unknown'], backsOff),
  'next attempt': every(dueIn(phases, 'backoff'), sendsNext),
});

export const runsOut = (phases: readonly Phase[]): Recogniser =>
  either(answered(phases, 'retry', 'unknown'), dueIn(phases, 'attempt'));

/** What a person says to an item. */
export const personal: Inputs = {
  retried: every(happened('item_retried'), sendsNext),
  skipped: every(happened('item_skipped'), changes),
  resolved: every(happened('item_resolved'), changes),
};
