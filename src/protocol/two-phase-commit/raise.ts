/** What a person must judge, and how it marks the run. */
import type { Act } from '../act.ts';
import type { AttentionItem, Report } from '../machine.ts';
import { conclude } from './outcome.ts';
import {
  at,
  causeOf,
  contradicted,
  isContradiction,
  phaseOf,
  withLeg,
  type Finishing,
  type Turn,
  type TwoPhaseCommitStep,
} from './state.ts';

/** What a heuristic or terminated participant says it did. */
export const claimOf = (reason: Pick<Report, 'message' | 'result'>): string | undefined =>
  reason.message ?? (reason.result === undefined ? undefined : `${reason.result} on its own`);

export const mixedBy = (state: Finishing, why: Parameters<typeof causeOf>[1]): Finishing => ({
  ...state,
  mixed: true,
  cause: state.cause ?? causeOf('aborted', why),
});

/**
 * The act is settled in a way that a person must judge. An open contradiction stays as it is, and so does the doubt
 * that only lasts: an operator's answer to it must not be lost because it was confirmed.
 */
export function raise(
  turn: Turn,
  index: number,
  raised: { readonly act: Act; readonly code: string; readonly message?: string | undefined },
): TwoPhaseCommitStep {
  const { state, facts, mark } = turn;
  const { act, code, message } = raised;
  const leg = at(state.legs, index);
  const kept = contradicted(state, leg) || leg.item?.code === code;
  const { step } = at(facts.plan.steps, index);
  const fresh: AttentionItem = {
    raised: mark.at,
    step,
    phase: phaseOf(state),
    code,
    ...(message === undefined ? {} : { message }),
  };
  const item = kept ? leg.item : fresh;
  const settled = withLeg(state, index, { ...leg, status: 'attention', act, item });
  const after = isContradiction(state, code) ? mixedBy(settled, { code, message, step }) : settled;
  return conclude(turn, { before: state, after }, kept ? [] : [{ type: 'attend', item: fresh }]);
}
