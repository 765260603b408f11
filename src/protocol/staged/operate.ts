/** What persons may do: cancel, and settle items of attention. Whatever is not sound changes nothing (M1). */
import type { Phase } from '../../kernel/vocabulary.ts';
import { nextAttempt, settle, type Act } from '../act.ts';
import { itemPhase, type ItemEntry } from './effects.ts';
import type { ItemRef, MachineEvent } from '../machine.ts';
import type { Policy } from '../compiled-plan.ts';
import type { Turn } from './shape.ts';
import {
  at,
  failed,
  goBack,
  withStep,
  type Cause,
  type Forward,
  type Skipped,
  type StagedState,
  type StepState,
  type Stuck,
} from './state.ts';
import { commandAgain, undoneBy, undoPolicy, undoWith } from './undo.ts';

type EventOf<T extends MachineEvent['type']> = Extract<MachineEvent, { readonly type: T }>;

/**
 * Goes back, unless the pivot is outstanding: then the wish is latched and takes effect only if the pivot turns out not
 * to have run. If the pivot is done, forward wins.
 */
export function turnBack(turn: Turn, state: Forward, cause: Cause): StagedState {
  const { pivot } = turn.facts.plan;
  const status = pivot === undefined ? 'waiting' : at(state.steps, pivot).status;
  if (status !== 'running' && status !== 'stuck') return goBack(state.steps, cause);
  return state.latched === undefined ? { ...state, latched: cause } : state;
}

export function cancelled(turn: Turn, event: EventOf<'cancelled'>): StagedState {
  const { state } = turn;
  if (state.phase !== 'forward') return state;
  return turnBack(turn, state, { status: 'cancelled', code: 'cancelled', message: event.reason });
}

/** The item that an operator's input names, if it is still what it was. */
function itemNamed(turn: Turn, ref: ItemRef): { index: number; entry: ItemEntry } | undefined {
  const index = turn.facts.plan.indexOf.get(ref.step);
  if (index === undefined) return undefined;
  const entry = at(turn.state.steps, index);
  if (entry.status !== 'stuck' && entry.status !== 'undo_stuck') return undefined;
  const phase = itemPhase(entry);
  return entry.item.raised === ref.raised && phase === ref.phase ? { index, entry } : undefined;
}

const skipped = (
  phase: Phase,
  { output, act, undo }: Pick<Skipped, 'output' | 'act' | 'undo'> = {},
): Skipped => ({ status: 'skipped', phase, output, act, undo });

const running = ({ earlier, output }: Stuck, act: Act, policy: Partial<Policy> | undefined): StepState => ({
  status: 'running',
  act,
  earlier,
  output,
  deadline: undefined,
  expires: undefined,
  policy,
});

/** The next attempt, with the policy counted from the start. */
export function itemRetried(turn: Turn, event: EventOf<'item_retried'>): StagedState {
  const { state, mark, facts } = turn;
  const named = itemNamed(turn, event);
  if (named === undefined) return state;
  const { index, entry } = named;
  const restarted = (policy: Policy) => ({ policy: { ...policy, ...event.policy }, restart: true });
  if (entry.status === 'undo_stuck') {
    if (entry.undo.contradicted === true) return state;
    const undo = undoWith(entry.undo, { policy: event.policy ?? entry.undo.policy });
    const command = nextAttempt(undo.command, mark, restarted(undoPolicy(turn, index, undo)));
    return withStep(state, index, commandAgain(undo, command));
  }
  // A contradiction is about an act that did run, a dangling input about one that cannot: no retry helps.
  if (state.phase === 'backward' || entry.act === undefined) return state;
  const act = nextAttempt(entry.act, mark, restarted(at(facts.plan.steps, index).retry));
  return withStep(state, index, running(entry, act, event.policy));
}

/** A person takes the item as it is; the run will end `resolved`. A pivot decides a fate and cannot be skipped. */
export function itemSkipped(turn: Turn, event: EventOf<'item_skipped'>): StagedState {
  const { state } = turn;
  const named = itemNamed(turn, event);
  if (named === undefined) return state;
  const { index, entry } = named;
  if (entry.status === 'undo_stuck') {
    const { undo } = entry;
    return withStep(state, index, skipped(itemPhase(entry), { output: undo.output, undo }));
  }
  if (state.phase === 'forward') return state;
  return withStep(state, index, skipped(itemPhase(entry)));
}

/** A person knows what really happened. */
export function itemResolved(turn: Turn, event: EventOf<'item_resolved'>): StagedState {
  const { state } = turn;
  const named = itemNamed(turn, event);
  if (named === undefined) return state;
  const { index, entry } = named;
  if (entry.status === 'undo_stuck')
    return event.answer === 'done' ? withStep(state, index, undoneBy(entry.undo)) : state;
  if (state.phase === 'backward') return withStep(state, index, skipped(itemPhase(entry)));
  if (event.answer === 'refused')
    return state.phase === 'forward' ? pivotRefused(turn, index, { state, entry }) : state;
  return withStep(state, index, {
    status: 'done',
    act: entry.act,
    earlier: entry.earlier,
    output: event.output ?? entry.output,
    readOnly: false,
    expires: undefined,
  });
}

function pivotRefused(turn: Turn, index: number, stuck: { state: Forward; entry: Stuck }): StagedState {
  const { state, entry } = stuck;
  const { step } = at(turn.facts.plan.steps, index);
  const message = 'resolved by an operator';
  const cause = state.latched ?? { status: 'compensated', code: 'refused', message, step };
  const act = entry.act === undefined ? undefined : { ...settle(entry.act), unclean: [] };
  return goBack(state.steps.with(index, failed(entry, act)), cause);
}

/**
 * `undo` answers an unknown pivot: the saga goes back as if it had not run. `complete` skips every item past the point
 * of no return. Both end `resolved`; the others do not exist in a staged pattern.
 */
export function forced(turn: Turn, event: EventOf<'forced'>): StagedState {
  const { state } = turn;
  const isRaised = state.steps.some(
    (entry) => entry.status === 'stuck' && entry.item.raised === event.raised,
  );
  if (!isRaised) return state;
  if (event.decision === 'complete' && state.phase === 'committed') {
    const steps = state.steps.map((entry): StepState =>
      entry.status === 'stuck' ? skipped(itemPhase(entry)) : entry,
    );
    return { ...state, steps };
  }
  const { pivot } = turn.facts.plan;
  if (event.decision !== 'undo' || state.phase !== 'forward' || pivot === undefined) return state;
  const entry = at(state.steps, pivot);
  if (entry.status !== 'stuck') return state;
  const { step } = at(turn.facts.plan.steps, pivot);
  const cause = state.latched ?? { status: 'compensated', code: 'forced', message: event.reason, step };
  return goBack(state.steps.with(pivot, skipped('execute', { act: entry.act })), cause);
}
