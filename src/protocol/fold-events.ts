/** From accepted envelopes to the events a machine understands. */
import type { OperatorAction } from '../kernel/vocabulary.ts';
import type { Policy } from './compiled-plan.ts';
import type { DeadlineEnvelope, OperatorEnvelopes, ReportEnvelope, RetryPolicy } from './envelopes.ts';
import type { MachineEvent, Mark } from './machine.ts';

/** One shape for every report: this runs for each of them. */
export function reportedEvent(mark: Mark, report: ReportEnvelope): MachineEvent {
  return {
    type: 'reported',
    mark,
    step: report.step,
    phase: report.phase,
    attempt: report.attempt,
    answer: report.answer,
    result: report.result,
    output: report.output,
    code: report.code,
    message: report.message,
    mayHaveRun: report.mayHaveRun,
    lateEffect: report.lateEffect,
    retryAfter: report.retryAfter,
    expiresAt: report.expiresAt,
  };
}

export function deadlineEvent(mark: Mark, deadline: DeadlineEnvelope): MachineEvent {
  return {
    type: 'deadline_passed',
    mark,
    kind: deadline.kind,
    armed: deadline.armed,
    ...(deadline.step === undefined ? {} : { step: deadline.step }),
    ...(deadline.phase === undefined ? {} : { phase: deadline.phase }),
    ...(deadline.attempt === undefined ? {} : { attempt: deadline.attempt }),
  };
}

/** The fields a policy names, in the machine's units; the rest stays as it was. */
function partialPolicy(retry: RetryPolicy): Partial<Policy> {
  return {
    ...(retry.maxAttempts === undefined ? {} : { maxAttempts: retry.maxAttempts }),
    ...(retry.initial === undefined ? {} : { initialMs: retry.initial }),
    ...(retry.factor === undefined ? {} : { factor: retry.factor }),
    ...(retry.max === undefined ? {} : { maxMs: retry.max }),
    ...(retry.attempt === undefined ? {} : { attemptMs: retry.attempt }),
  };
}

type ForRuns = Exclude<OperatorAction, 'recover' | 'signal'>;

/** An operator's input on one run; a signal is latched by the fold, `recover` concerns the shard. */
export function operatorEvent(mark: Mark, action: ForRuns, envelope: unknown): MachineEvent {
  switch (action) {
    case 'retry': {
      const { raised, step, phase, retry } = envelope as OperatorEnvelopes['retry'];
      const policy = retry === undefined ? {} : { policy: partialPolicy(retry) };
      return { type: 'item_retried', mark, raised, step, phase, ...policy };
    }
    case 'skip': {
      const { raised, step, phase } = envelope as OperatorEnvelopes['skip'];
      return { type: 'item_skipped', mark, raised, step, phase };
    }
    case 'resolve': {
      const { raised, step, phase, answer, output } = envelope as OperatorEnvelopes['resolve'];
      const event = { type: 'item_resolved', mark, raised, step, phase, answer } as const;
      return output === undefined ? event : { ...event, output };
    }
    case 'force': {
      const { raised, decision, reason } = envelope as OperatorEnvelopes['force'];
      return { type: 'forced', mark, raised, decision, reason };
    }
    case 'kill':
      return { type: 'killed', mark, reason: (envelope as OperatorEnvelopes['kill']).reason };
    case 'cancel':
      return { type: 'cancelled', mark, reason: (envelope as OperatorEnvelopes['cancel']).reason };
  }
}
