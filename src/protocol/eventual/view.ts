/** Where a 0.5PS stands, for people and `query`. */
import type { CompiledStep } from '../compiled-plan.ts';
import type { RunFacts, RunView, StepView } from '../machine.ts';
import { itemOf } from './effects.ts';
import { at, type EventualState, type EventualStep } from './state.ts';

export function view(facts: RunFacts, state: EventualState): RunView {
  const steps = facts.plan.steps.map((step) => stepView(step, at(state.steps, step.index)));
  const attention = facts.plan.steps.flatMap((step) => itemOf(step, at(state.steps, step.index)) ?? []);
  return { phase: state.phase, waitsFor: waitsFor(state, steps), steps, attention };
}

function stepView({ step, participant }: CompiledStep, entry: EventualStep): StepView {
  const who = { step, participant };
  switch (entry.status) {
    case 'executing':
    case 'confirming': {
      const { phase, attempt, status } = entry.act;
      return { ...who, phase, attempt, status: status === 'backing_off' ? 'backing_off' : 'commanded' };
    }
    case 'stuck':
      return { ...who, phase: 'confirm', attempt: entry.act.attempt, status: 'attention' };
    case 'dead':
      return { ...who, phase: 'execute', attempt: entry.act.attempt, status: 'failed' };
    case 'taken':
      return { ...who, status: 'done' };
    case 'skipped':
      return { ...who, phase: 'confirm', status: 'skipped' };
  }
}

function waitsFor(state: EventualState, steps: readonly StepView[]): string {
  if (state.phase === 'ended') return `nothing: it has ended, ${state.outcome.status}`;
  const parts = steps.flatMap(({ step, participant, phase, attempt, status }) => {
    if (phase === undefined) return [];
    if (status === 'commanded')
      return [`${participant} to answer ${phase} of step ${step} (attempt ${attempt ?? 1})`];
    if (status === 'backing_off') return [`the next attempt of ${phase} of step ${step}`];
    return status === 'attention' ? [`a person to settle ${phase} of step ${step}`] : [];
  });
  return parts.join('; ');
}
