/** Where a saga stands, for people and `query`. */
import type { AttentionItem, RunFacts, RunView, StepView } from '../machine.ts';
import type { CompiledStep } from '../compiled-plan.ts';
import { itemOf } from './effects.ts';
import { at, type SagaState, type SagaStep } from './state.ts';

export function view(facts: RunFacts, state: SagaState): RunView {
  const attention = facts.plan.steps.flatMap((step) => itemOf(step, at(state.steps, step.index)) ?? []);
  const steps = facts.plan.steps.map((step) => stepView(step, at(state.steps, step.index)));
  return { phase: state.phase, waitsFor: waitsFor(state, steps, attention), steps, attention };
}

function stepView({ step, participant }: CompiledStep, entry: SagaStep): StepView {
  const who = { step, participant };
  switch (entry.status) {
    case 'waiting':
      return { ...who, status: 'waiting' };
    case 'running': {
      const status = entry.act.status === 'backing_off' ? 'backing_off' : 'commanded';
      return { ...who, phase: 'execute', attempt: entry.act.attempt, status };
    }
    case 'done':
    case 'failed':
    case 'stuck': {
      const attempt = entry.act === undefined ? {} : { attempt: entry.act.attempt };
      const status = entry.status === 'stuck' ? 'attention' : entry.status;
      return { ...who, phase: 'execute', ...attempt, status };
    }
    case 'undoing':
    case 'undo_stuck':
    case 'undone': {
      const { command } = entry.undo;
      const moving = command.status === 'backing_off' ? 'backing_off' : 'commanded';
      const settled = entry.status === 'undone' ? 'undone' : 'attention';
      const status = entry.status === 'undoing' ? moving : settled;
      return { ...who, phase: 'compensate', attempt: command.attempt, status };
    }
    case 'skipped':
      return { ...who, phase: entry.phase, status: 'skipped' };
  }
}

function waitsFor(state: SagaState, steps: readonly StepView[], attention: readonly AttentionItem[]): string {
  if (state.phase === 'ended') return `nothing: it has ended, ${state.outcome.status}`;
  const moving = steps.filter(({ status }) => status === 'commanded' || status === 'backing_off');
  const parts = moving.map(({ step, participant, phase, attempt, status }) =>
    status === 'commanded'
      ? `${participant} to answer ${phase} of step ${step} (attempt ${attempt})`
      : `the next attempt of ${phase} of step ${step}`,
  );
  if (attention.length > 0) {
    const items = attention.map(({ step, phase, code }) => `${phase} of step ${step} (${code})`);
    parts.push(`a person to settle ${items.join(', ')}`);
  }
  return parts.join('; ');
}
