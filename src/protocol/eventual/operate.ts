/** What persons may do: settle a confirm that waits for them. Whatever is not sound changes nothing (M1). */
import { nextAttempt } from '../act.ts';
import type { ItemRef, MachineEvent } from '../machine.ts';
import { policyOf } from './steps.ts';
import {
  at,
  withStep,
  type Confirming,
  type EventualStep,
  type Running,
  type Stuck,
  type Turn,
} from './state.ts';

type EventOf<T extends MachineEvent['type']> = Extract<MachineEvent, { readonly type: T }>;

/** The item that an operator's input names, if it is still what it was. */
function itemNamed(turn: Turn, ref: ItemRef): { index: number; entry: Stuck } | undefined {
  const index = turn.facts.plan.indexOf.get(ref.step);
  if (index === undefined || ref.phase !== 'confirm') return undefined;
  const entry = at(turn.state.steps, index);
  return entry.status === 'stuck' && entry.raised === ref.raised ? { index, entry } : undefined;
}

/** The next attempt, with the policy counted from the start. */
export function itemRetried(turn: Turn, event: EventOf<'item_retried'>): Running {
  const { state, facts, mark } = turn;
  const named = itemNamed(turn, event);
  if (named === undefined) return state;
  const { index, entry } = named;
  const { act, output } = entry;
  const policy = event.policy ?? entry.policy;
  const again: Confirming = { status: 'confirming', act, output, deadline: undefined, policy };
  const effective = policyOf(at(facts.plan.steps, index), again);
  const next = nextAttempt(act, mark, { policy: effective, restart: true });
  return withStep(state, index, { ...again, act: next });
}

const skipped = (entry: Stuck): EventualStep => ({ status: 'skipped', output: entry.output });

/** A person takes the step as it is, unconfirmed. */
export function itemSkipped(turn: Turn, event: EventOf<'item_skipped'>): Running {
  const named = itemNamed(turn, event);
  return named === undefined ? turn.state : withStep(turn.state, named.index, skipped(named.entry));
}

/** A person knows that it was confirmed. That it was not can only be retried or skipped: the effect is there. */
export function itemResolved(turn: Turn, event: EventOf<'item_resolved'>): Running {
  const named = itemNamed(turn, event);
  if (named === undefined || event.answer === 'refused') return turn.state;
  return withStep(turn.state, named.index, { status: 'taken', output: named.entry.output });
}

/** `complete` skips every item; there is no other fate to force. */
export function forced(turn: Turn, event: EventOf<'forced'>): Running {
  const { state } = turn;
  const isRaised = state.steps.some((entry) => entry.status === 'stuck' && entry.raised === event.raised);
  if (!isRaised || event.decision !== 'complete') return state;
  const steps = state.steps.map((entry) => (entry.status === 'stuck' ? skipped(entry) : entry));
  return { phase: 'running', steps, deadline: state.deadline };
}
