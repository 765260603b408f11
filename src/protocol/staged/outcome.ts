/** How a staged run has ended, as its caller is told. */
import { utf8Length, type Json } from '../../kernel/json.ts';
import type { CompiledPlan } from '../compiled-plan.ts';
import { MAX_OUTPUTS_BYTES } from '../limits.ts';
import type { OutcomeBody } from '../machine.ts';
import { handOverIndex } from '../plan-children.ts';
import { at, outputOf, type Backward, type StepState } from './state.ts';

const wasSkipped = (entry: StepState): boolean => entry.status === 'skipped';

export function completedOutcome(plan: CompiledPlan, steps: readonly StepState[]): OutcomeBody {
  if (plan.eventual !== undefined) return criticalOutcome(plan, steps);
  const status = steps.some(wasSkipped) ? 'resolved' : 'completed';
  const outputs = outputsOf(plan, steps);
  return outputs === undefined ? { status } : { status, outputs };
}

/** 1.5PS: its last step is the hand-over, which has no part in what the caller waits for. */
export function criticalOutcome(plan: CompiledPlan, steps: readonly StepState[]): OutcomeBody {
  const status = steps.some(wasSkipped) ? 'resolved' : 'completed';
  const outputs = outputsOf(plan, steps.slice(0, handOverIndex(plan)));
  return outputs === undefined ? { status, scope: 'critical' } : { status, outputs, scope: 'critical' };
}

function outputsOf(
  plan: CompiledPlan,
  steps: readonly StepState[],
): Readonly<Record<string, Json>> | undefined {
  const outputs: [string, Json][] = [];
  steps.forEach((entry, index) => {
    const output = outputOf(entry);
    if (output !== undefined) outputs.push([at(plan.steps, index).step, output]);
  });
  if (outputs.length === 0) return undefined;
  const body = Object.fromEntries(outputs);
  return utf8Length(JSON.stringify(body)) > MAX_OUTPUTS_BYTES ? undefined : body;
}

export function undoneOutcome({ steps, cause }: Backward): OutcomeBody {
  const { status, code, message, step } = cause;
  return {
    status: steps.some(wasSkipped) ? 'resolved' : status,
    code,
    ...(message === undefined ? {} : { message }),
    ...(step === undefined ? {} : { step }),
  };
}
