/**
 * 3PC: what it means after the decision that a participant ended on its own, because its coordinator was silent.
 * It aborts from prepared and commits from precommitted, and stays so: its record refuses everything else.
 */
import { isSpent, settle } from '../act.ts';
import { stay, type Report } from '../machine.ts';
import { conclude } from './outcome.ts';
import { claimOf, raise } from './raise.ts';
import { at, contradicted, withLeg, type Finishing, type Leg, type Turn } from './state.ts';
import type { TwoPhaseCommitStep } from './state.ts';

/** As decided: nothing more is commanded. Against it: a contradiction, whatever was answered before. */
export function terminatedAfter(turn: Turn, index: number, report: Report): TwoPhaseCommitStep {
  const { state } = turn;
  const leg = at(state.legs, index);
  if (!isPossible(state, leg, report) || contradicted(state, leg)) return stay(state);
  const agrees = (report.result === 'committed') === (state.phase !== 'aborting');
  if (!agrees) {
    if (leg.status === 'skipped' || leg.status === 'failed') return stay(state);
    if (report.phase === leg.act.phase && isSpent(leg.act, report)) return stay(state);
    return raise(turn, index, { act: settle(leg.act), code: 'terminated', message: claimOf(report) });
  }
  // Its end came before an effect that the abort in flight is after.
  if (leg.act.redone !== undefined) return stay(state);
  const open = leg.status === 'acting' || leg.status === 'attention';
  const ahead = leg.status === 'acknowledged' && state.phase === 'precommitting';
  if (!open && !ahead) return stay(state);
  const after = withLeg(state, index, { ...leg, status: 'terminated', act: settle(leg.act), item: null });
  return conclude(turn, { before: state, after }, []);
}

/** Whether it names a command that was sent. How often precommit was sent is forgotten once commit is. */
function isPossible({ phase }: Finishing, leg: Leg, report: Report): boolean {
  if (report.phase === leg.act.phase) return report.attempt <= leg.act.attempt;
  if (report.phase === 'prepare') return report.attempt <= leg.vote.act.attempt;
  return report.phase === 'precommit' && phase === 'committing';
}
