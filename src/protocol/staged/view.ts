/** Where a staged run stands, for people and `query`. */
import type { AttentionItem, RunFacts, RunView, StepView } from '../machine.ts';
import type { CompiledPlan, CompiledStep } from '../compiled-plan.ts';
import { itemOf } from './effects.ts';
import { at, type StagedState, type StepState } from './state.ts';

export function view(facts: RunFacts, state: StagedState): RunView {
  const attention = facts.plan.steps.flatMap((step) => itemOf(step, at(state.steps, step.index)) ?? []);
  const steps = facts.plan.steps.map((step) => stepView(step, at(state.steps, step.index)));
  return {
    phase: state.phase,
    waitsFor: waitsFor(facts.plan, state, { steps, attention }),
    steps,
    attention,
  };
}

function stepView({ step, participant }: CompiledStep, entry: StepState): StepView {
  const who = { step, participant };
  switch (entry.status) {
    case 'waiting':
      return { ...who, status: 'waiting' };
    case 'running': {
      const status = entry.act.status === 'backing_off' ? 'backing_off' : 'commanded';
      return { ...who, phase: entry.act.phase, attempt: entry.act.attempt, status };
    }
    case 'done':
    case 'failed':
    case 'stuck': {
      const { act } = entry;
      const status = entry.status === 'stuck' ? 'attention' : entry.status;
      if (act === undefined) return { ...who, phase: 'execute', status };
      return { ...who, phase: act.phase, attempt: act.attempt, status };
    }
    case 'undoing':
    case 'undo_stuck':
    case 'undone': {
      const { command } = entry.undo;
      const moving = command.status === 'backing_off' ? 'backing_off' : 'commanded';
      const settled = entry.status === 'undone' ? 'undone' : 'attention';
      const status = entry.status === 'undoing' ? moving : settled;
      return { ...who, phase: command.phase, attempt: command.attempt, status };
    }
    case 'skipped':
      return { ...who, phase: entry.phase, status: 'skipped' };
  }
}

function waitsFor(
  plan: CompiledPlan,
  state: StagedState,
  { steps, attention }: { steps: readonly StepView[]; attention: readonly AttentionItem[] },
): string {
  if (state.phase === 'ended') return `nothing: it has ended, ${state.outcome.status}`;
  const moving = steps.filter(({ status }) => status === 'commanded' || status === 'backing_off');
  const parts = moving.map(({ step, participant, phase, attempt, status }) =>
    status === 'commanded'
      ? `${participant} to answer ${phase} of step ${step} (attempt ${attempt})`
      : `the next attempt of ${phase} of step ${step}`,
  );
  if (state.phase === 'forward' && state.gate?.status === 'waiting') {
    if (state.gate.due !== undefined) parts.push('the delay of its gate');
    if (!state.gate.approved && plan.gate?.signal !== undefined) parts.push(`the signal ${plan.gate.signal}`);
  }
  if (attention.length > 0) {
    const items = attention.map(({ step, phase, code }) => `${phase} of step ${step} (${code})`);
    parts.push(`a person to settle ${items.join(', ')}`);
  }
  return parts.join('; ');
}
