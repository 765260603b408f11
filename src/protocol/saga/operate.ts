/** What persons may do: cancel, and settle items of attention. Whatever is not sound changes nothing (M1). */
import { nextAttempt, settle } from '../act.ts';
import type { ItemRef, MachineEvent } from '../machine.ts';
import type { Policy } from '../compiled-plan.ts';
import {
  at,
  goBack,
  withStep,
  type Cause,
  type Forward,
  type SagaState,
  type SagaStep,
  type Stuck,
  type Turn,
} from './state.ts';
import { commandAgain, undoneBy, undoPolicy } from './undo.ts';

type EventOf<T extends MachineEvent['type']> = Extract<MachineEvent, { readonly type: T }>;

/**
 * Goes back, unless the pivot is outstanding: then the wish is latched and takes effect only if the pivot turns out not
 * to have run. If the pivot is done, forward wins.
 */
export function turnBack(turn: Turn, state: Forward, cause: Cause): SagaState {
  const { pivot } = turn.facts.plan;
  const status = pivot === undefined ? 'waiting' : at(state.steps, pivot).status;
  if (status !== 'running' && status !== 'stuck') return goBack(state.steps, cause);
  return state.latched === undefined ? { ...state, latched: cause } : state;
}

export function cancelled(turn: Turn, event: EventOf<'cancelled'>): SagaState {
  const { state } = turn;
  if (state.phase !== 'forward') return state;
  return turnBack(turn, state, { status: 'cancelled', code: 'cancelled', message: event.reason });
}

type ItemStep = Extract<SagaStep, { readonly status: 'stuck' | 'undo_stuck' }>;

/** The item that an operator's input names, if it is still what it was. */
function itemNamed(turn: Turn, ref: ItemRef): { index: number; entry: ItemStep } | undefined {
  const index = turn.facts.plan.indexOf.get(ref.step);
  if (index === undefined) return undefined;
  const entry = at(turn.state.steps, index);
  if (entry.status !== 'stuck' && entry.status !== 'undo_stuck') return undefined;
  const phase = entry.status === 'stuck' ? 'execute' : 'compensate';
  return entry.item.raised === ref.raised && phase === ref.phase ? { index, entry } : undefined;
}

/** The next attempt, with the policy counted from the start. */
export function itemRetried(turn: Turn, event: EventOf<'item_retried'>): SagaState {
  const { state, mark, facts } = turn;
  const named = itemNamed(turn, event);
  if (named === undefined) return state;
  const { index, entry } = named;
  const restarted = (policy: Policy) => ({ policy: { ...policy, ...event.policy }, restart: true });
  if (entry.status === 'undo_stuck') {
    const undo = { ...entry.undo, ...(event.policy === undefined ? {} : { policy: event.policy }) };
    const command = nextAttempt(undo.command, mark, restarted(undoPolicy(turn, index, undo)));
    return withStep(state, index, commandAgain(undo, command));
  }
  // A contradiction is about an act that did run, a dangling input about one that cannot: no retry helps.
  if (state.phase === 'backward' || entry.act === undefined) return state;
  const act = nextAttempt(entry.act, mark, restarted(at(facts.plan.steps, index).retry));
  const policy = event.policy === undefined ? {} : { policy: event.policy };
  return withStep(state, index, { status: 'running', act, ...policy });
}

/** A person takes the item as it is; the run will end `resolved`. A pivot decides a fate and cannot be skipped. */
export function itemSkipped(turn: Turn, event: EventOf<'item_skipped'>): SagaState {
  const { state } = turn;
  const named = itemNamed(turn, event);
  if (named === undefined) return state;
  const { index, entry } = named;
  if (entry.status === 'undo_stuck') {
    const { output } = entry.undo;
    return withStep(state, index, { status: 'skipped', phase: 'compensate', output });
  }
  if (state.phase === 'forward') return state;
  return withStep(state, index, { status: 'skipped', phase: 'execute' });
}

/** A person knows what really happened. */
export function itemResolved(turn: Turn, event: EventOf<'item_resolved'>): SagaState {
  const { state } = turn;
  const named = itemNamed(turn, event);
  if (named === undefined) return state;
  const { index, entry } = named;
  if (entry.status === 'undo_stuck')
    return event.answer === 'done' ? withStep(state, index, undoneBy(entry.undo)) : state;
  if (state.phase === 'backward') return withStep(state, index, { status: 'skipped', phase: 'execute' });
  if (event.answer === 'refused')
    return state.phase === 'forward' ? pivotRefused(turn, index, { state, entry }) : state;
  return withStep(state, index, { status: 'done', act: entry.act, output: event.output, readOnly: false });
}

function pivotRefused(turn: Turn, index: number, stuck: { state: Forward; entry: Stuck }): SagaState {
  const { state, entry } = stuck;
  const { step } = at(turn.facts.plan.steps, index);
  const message = 'resolved by an operator';
  const cause = state.latched ?? { status: 'compensated', code: 'refused', message, step };
  const act = entry.act === undefined ? undefined : { ...settle(entry.act), unclean: [] };
  return goBack(state.steps.with(index, { status: 'failed', act }), cause);
}

/**
 * `undo` answers an unknown pivot: the saga goes back as if it had not run. `complete` skips every item past the point
 * of no return. Both end `resolved`; the others do not exist in a saga.
 */
export function forced(turn: Turn, event: EventOf<'forced'>): SagaState {
  const { state } = turn;
  const isRaised = state.steps.some(
    (entry) => entry.status === 'stuck' && entry.item.raised === event.raised,
  );
  if (!isRaised) return state;
  if (event.decision === 'complete' && state.phase === 'committed') {
    const steps = state.steps.map((entry): SagaStep =>
      entry.status === 'stuck' ? { status: 'skipped', phase: 'execute' } : entry,
    );
    return { ...state, steps };
  }
  const { pivot } = turn.facts.plan;
  if (event.decision !== 'undo' || state.phase !== 'forward' || pivot === undefined) return state;
  const entry = at(state.steps, pivot);
  if (entry.status !== 'stuck') return state;
  const { step } = at(turn.facts.plan.steps, pivot);
  const cause = state.latched ?? { status: 'compensated', code: 'forced', message: event.reason, step };
  return goBack(state.steps.with(pivot, { status: 'skipped', phase: 'execute', act: entry.act }), cause);
}
