/** What answers mean in a saga. */
import type { Act } from '../act.ts';
import type { Report } from '../machine.ts';
import type { SagaState } from './state.ts';

/** Why an act did not succeed. */
export interface Failure {
  readonly code: string;
  readonly message?: string | undefined;
}

/** No report in time. */
export const OVERDUE: Failure = { code: 'deadline' };

export const isPositive = ({ answer }: Report): boolean => answer === 'done' || answer === 'read-only';
export const failureOf = ({ code, message, answer }: Report): Failure => ({ code: code ?? answer, message });

/**
 * `heuristic` and `terminated` mean nothing in a saga. An older attempt's `conflict` or `stale` must not settle an act
 * whose current attempt is in flight (A3). Going back, isolation is no reason for another attempt.
 */
export function understood(report: Report, act: Act, phase: SagaState['phase']): Report {
  const { answer, attempt } = report;
  const old = attempt < act.attempt && (answer === 'conflict' || answer === 'stale');
  if (old || answer === 'heuristic' || answer === 'terminated') return { ...report, answer: 'unknown' };
  if (report.code !== 'isolate' || phase !== 'backward' || act.phase !== 'execute') return report;
  const { code: _, ...rest } = report;
  return rest;
}
