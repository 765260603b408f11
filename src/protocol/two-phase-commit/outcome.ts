/** How a run of 2PC or 3PC ended, or what the caller is told while items are still open. */
import { utf8Length, type Json } from '../../kernel/json.ts';
import type { Status } from '../../kernel/vocabulary.ts';
import { MAX_OUTPUTS_BYTES } from '../limits.ts';
import { settle, startAct } from '../act.ts';
import type { Effect, Mark, OutcomeBody, RunFacts } from '../machine.ts';
import {
  alarmOf,
  arm,
  at,
  causeOf,
  commandFor,
  contradicted,
  dueOf,
  endedAs,
  policyOf,
  type Cause,
  type Finishing,
  type Leg,
  type TwoPhaseCommitStep,
  type Vote,
} from './state.ts';

/**
 * Ends the run once every leg was answered and no item is open; tells the caller once every leg was answered and some
 * items are. `before` is the state that the event met. What ends a precommit is a commit, and nothing is told before.
 */
export function conclude(
  turn: { readonly facts: RunFacts; readonly mark: Mark },
  change: { readonly before: Finishing; readonly after: Finishing },
  effects: Effect[],
): TwoPhaseCommitStep {
  const { facts } = turn;
  const { before, after } = change;
  if (after.missing > 0) return { state: after, effects };
  const open = after.legs.some((leg) => leg.item !== null);
  if (after.phase === 'precommitting')
    return open ? { state: after, effects } : sendCommit(turn, after, effects);
  if (!open) return finish(facts, after, effects);
  const status = statusOf(after);
  if (status !== undefined && (before.missing > 0 || status !== statusOf(before))) {
    effects.push({ type: 'tell', outcome: { ...outcomeOf(facts, after, status), attention: true } });
  }
  return { state: after, effects };
}

function finish(facts: RunFacts, state: Finishing, effects: Effect[]): TwoPhaseCommitStep {
  const status = statusOf(state) ?? 'committed';
  if (state.phase === 'committing_one_phase') {
    if (status === 'committed') effects.push({ type: 'decide', value: 'commit' });
    if (status === 'aborted') effects.push({ type: 'decide', value: 'abort', ...codeOf(state) });
  }
  return endedAs(state, outcomeOf(facts, state, status), effects);
}

const codeOf = (state: Finishing): { readonly code?: string } =>
  state.cause === null ? {} : { code: state.cause.code };

/**
 * 3PC: precommit was acknowledged, or its time is over; then also those that never acknowledged it are told. A step that
 * contradicted the decision gets no more commands.
 */
export function sendCommit(
  turn: { readonly facts: RunFacts; readonly mark: Mark },
  before: Finishing,
  effects: Effect[],
): TwoPhaseCommitStep {
  const { facts, mark } = turn;
  let missing = 0;
  let dueMs = Infinity;
  const legs = before.legs.map((leg, index): Leg => {
    if (contradicted(before, leg)) return { ...leg, status: 'attention', act: settle(leg.act) };
    if (leg.status !== 'acknowledged' && leg.status !== 'acting' && leg.status !== 'attention') return leg;
    const step = at(facts.plan.steps, index);
    const act = startAct({ phase: 'commit', mark, policy: policyOf(step, 'commit', leg.policy) });
    effects.push(commandFor(step, act, leg.vote));
    dueMs = Math.min(dueMs, dueOf(act.timer));
    missing += 1;
    return { ...leg, status: 'acting', act };
  });
  const phaseAlarm = missing === 0 ? null : alarmOf(facts.plan.deadlines.commit, mark);
  arm(effects, Math.min(dueMs, dueOf(phaseAlarm)));
  const after: Finishing = { ...before, phase: 'committing', legs, missing, phaseAlarm };
  return conclude(turn, { before, after }, effects);
}

/** Undefined while one-phase is in doubt, for nobody guesses, and during precommit: the commit is still to come. */
function statusOf(state: Finishing): Status | undefined {
  if (state.phase === 'precommitting') return undefined;
  if (state.mixed) return 'mixed';
  if (state.skipped) return 'resolved';
  switch (state.phase) {
    case 'committing':
      return 'committed';
    case 'aborting':
      return state.cause?.status ?? 'aborted';
    case 'committing_one_phase': {
      const { status } = at(state.legs, 0);
      if (status === 'failed') return 'aborted';
      return status === 'acknowledged' ? 'committed' : undefined;
    }
  }
}

function outcomeOf(facts: RunFacts, state: Finishing, status: Status): OutcomeBody {
  if (status === 'committed') {
    const votes = state.legs.map((leg) => leg.vote);
    const item = state.legs.find((leg) => leg.item !== null)?.item;
    return committed(facts, votes, item ?? undefined);
  }
  return { status, ...firstCause(state.cause) };
}

/** `committed` with the outputs, unless they are too large to be told; `open`: an item that is not settled yet. */
export function committed(
  facts: RunFacts,
  votes: readonly Vote[],
  open?: Omit<Cause, 'status'>,
): OutcomeBody {
  const outcome: OutcomeBody = { status: 'committed', ...(open === undefined ? {} : firstCause(open)) };
  const outputs: [string, Json][] = [];
  votes.forEach((vote, index) => {
    if (vote.output !== undefined) outputs.push([at(facts.plan.steps, index).step, vote.output]);
  });
  if (outputs.length === 0) return outcome;
  // fromEntries makes own properties only, also of a step named __proto__.
  const byStep = Object.fromEntries(outputs);
  return utf8Length(JSON.stringify(byStep)) > MAX_OUTPUTS_BYTES ? outcome : { ...outcome, outputs: byStep };
}

/** The fields of an outcome that say why. */
function firstCause(why: Omit<Cause, 'status'> | null): Pick<OutcomeBody, 'code' | 'message' | 'step'> {
  if (why === null) return {};
  const { status: _, ...fields } = causeOf('aborted', why);
  return fields;
}
