/** What operators do to a run of 2PC or 3PC after its decision; inputs whose item has moved are ignored (M1). */
import { nextAttempt, settle, startAct } from '../act.ts';
import type { Policy } from '../compiled-plan.ts';
import { stay, type Effect, type ItemRef, type MachineEvent } from '../machine.ts';
import { conclude } from './outcome.ts';
import {
  alarmOf,
  arm,
  at,
  commandFor,
  contradicted,
  dueOf,
  phaseOf,
  policyOf,
  withLeg,
  withOutput,
  type Alarm,
  type Cause,
  type Finishing,
  type Turn,
  type TwoPhaseCommitStep,
} from './state.ts';

type Of<T extends MachineEvent['type']> = MachineEvent & { readonly type: T };
const FATE = {
  precommitting: 'commit',
  committing: 'commit',
  aborting: 'abort',
  committing_one_phase: 'commit',
} as const;

export function itemRetried(turn: Turn, event: Of<'item_retried'>): TwoPhaseCommitStep {
  const index = itemIndex(turn, event);
  return index === undefined ? stay(turn.state) : retry(turn, [index], event.policy);
}

/** Only the fate already implied can be forced: everything in attention is commanded again. */
export function forced(turn: Turn, event: Of<'forced'>): TwoPhaseCommitStep {
  const { state } = turn;
  const named = state.legs.some((leg) => leg.item?.raised === event.raised);
  if (!named || event.decision !== FATE[state.phase]) return stay(state);
  return retry(
    turn,
    [...state.legs.keys()].filter((index) => at(state.legs, index).item !== null),
  );
}

export function itemSkipped(turn: Turn, event: Of<'item_skipped'>): TwoPhaseCommitStep {
  const { state } = turn;
  const index = itemIndex(turn, event);
  if (index === undefined) return stay(state);
  const leg = at(state.legs, index);
  // A precommit that nobody waits for is followed by its commit all the same, unless the step has ended otherwise.
  if (state.phase === 'precommitting' && !contradicted(state, leg)) {
    const passed = withLeg(state, index, {
      ...leg,
      status: 'acknowledged',
      act: settle(leg.act),
      item: null,
    });
    return conclude(turn, { before: state, after: passed }, []);
  }
  const after = withLeg(state, index, { ...leg, status: 'skipped', act: settle(leg.act), item: null });
  const cause: Cause = state.cause ?? { status: 'aborted', code: 'skipped', step: event.step };
  return conclude(turn, { before: state, after: { ...after, skipped: true, cause } }, []);
}

/** `done`: the step did follow the decision. `refused`: it did not; alone in its run that is the decision. */
export function itemResolved(turn: Turn, event: Of<'item_resolved'>): TwoPhaseCommitStep {
  const { state } = turn;
  const index = itemIndex(turn, event);
  if (index === undefined) return stay(state);
  const leg = at(state.legs, index);
  const act = settle(leg.act);
  if (event.answer === 'done') {
    const vote = withOutput(leg.vote, event.output);
    const after = withLeg(state, index, { ...leg, status: 'acknowledged', act, vote, item: null });
    return conclude(turn, { before: state, after }, []);
  }
  const failed = withLeg(state, index, { ...leg, status: 'failed', act, item: null });
  const cause: Cause = state.cause ?? { status: 'aborted', code: 'refused', step: event.step };
  const mixed = state.mixed || state.phase !== 'committing_one_phase';
  return conclude(turn, { before: state, after: { ...failed, cause, mixed } }, []);
}

function itemIndex({ facts, state }: Turn, ref: ItemRef): number | undefined {
  const index = facts.plan.indexOf.get(ref.step);
  if (index === undefined) return undefined;
  const { item } = at(state.legs, index);
  return item?.raised === ref.raised && item.phase === ref.phase ? index : undefined;
}

/** A new series of attempts; a phase deadline that has passed guards it anew. */
function retry(turn: Turn, indices: readonly number[], override?: Partial<Policy>): TwoPhaseCommitStep {
  const { facts, mark } = turn;
  const phase = phaseOf(turn.state);
  const effects: Effect[] = [];
  let { state } = turn;
  let dueMs = Infinity;
  for (const index of indices) {
    const leg = at(state.legs, index);
    const step = at(facts.plan.steps, index);
    const policy = override === undefined ? leg.policy : { ...leg.policy, ...override };
    const options = { policy: policyOf(step, phase, policy), restart: true };
    const act =
      leg.act.phase === phase
        ? nextAttempt(leg.act, mark, options)
        : startAct({ phase, mark, policy: options.policy, since: leg.act.since });
    effects.push(commandFor(step, act, leg.vote));
    dueMs = Math.min(dueMs, dueOf(act.timer));
    state = withLeg(state, index, { ...leg, status: 'acting', act, item: null, policy });
  }
  if (state.phaseAlarm === null) {
    const phaseAlarm = phaseAlarmOf(turn, state);
    dueMs = Math.min(dueMs, dueOf(phaseAlarm));
    state = { ...state, phaseAlarm };
  }
  arm(effects, dueMs);
  return { state, effects };
}

function phaseAlarmOf({ facts, mark }: Turn, state: Finishing): Alarm | null {
  const { deadlines } = facts.plan;
  const phase = phaseOf(state);
  return alarmOf(deadlines[phase], mark);
}
