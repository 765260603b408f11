/** What answers mean in a staged pattern. */
import { isOpenPhase } from '../../kernel/vocabulary.ts';
import type { Act } from '../act.ts';
import type { Report } from '../machine.ts';
import type { StagedState } from './state.ts';

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
 * `heuristic` and `terminated` mean nothing here. An older attempt's `conflict` or `stale` must not settle an act whose
 * current attempt is in flight (A3). Going back, isolation is no reason for another attempt.
 */
export function understood(report: Report, act: Act, phase: StagedState['phase']): Report {
  const { answer, attempt } = report;
  const old = attempt < act.attempt && (answer === 'conflict' || answer === 'stale');
  if (old || answer === 'heuristic' || answer === 'terminated') return { ...report, answer: 'unknown' };
  if (report.code !== 'isolate' || phase !== 'backward' || !isOpenPhase(act.phase)) return report;
  const { code: _, ...rest } = report;
  return rest;
}
