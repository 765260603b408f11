/**
 * 0.5PS: durable fire and forget. Every step is commanded at once and goes its own way until somebody has taken it, or
 * it is dead and lies in its participant's dead letters (DESIGN §3).
 *
 * | phase   | input                          | what follows                                                      |
 * |---------|--------------------------------|-------------------------------------------------------------------|
 * | running | begun                          | execute to all                                                    |
 * |         | execute done                   | taken; with `deadlines.confirm`: confirm                          |
 * |         | execute read-only              | taken: nothing is there to confirm                                |
 * |         | execute retry, unknown, due    | next attempt after back-off; when the policy ends: dead, buried   |
 * |         | execute refused, conflict,     | dead, buried; the others go on                                    |
 * |         | stale, step due                |                                                                   |
 * |         | execute done, read-only, dead  | taken after all; its letter stands, and says that it may have run |
 * |         | confirm done, read-only        | taken                                                             |
 * |         | confirm retry, unknown, due    | next attempt by `undoRetry`; when the policy ends: attention      |
 * |         | confirm refused, conflict,     | attention: the effect is there, only a person knows what that     |
 * |         | stale, step due                | means; a late yes still counts                                    |
 * |         | item retried, skipped, resolved| the confirm goes on as the person says; a skip ends `resolved`    |
 * |         | forced to complete             | every item is skipped                                             |
 * |         | run due                        | what is being executed is dead, what is being confirmed attention |
 * |         | cancel                         | nothing: once accepted it is never lost                           |
 * |         | killed                         | -> ended `killed`, nothing is buried                              |
 * |         | every step taken, dead, skipped| -> ended `completed`; `dead` if any is dead, with the first cause |
 * | ended   | anything                       | nothing                                                           |
 *
 * There is no `decided` note but the outcome's: its begin alone implies that everything is to be done, and nothing that
 * may follow takes that back. A cancel that comes before a delayed start is the fold's business: nothing has begun yet.
 *
 * Invariants:
 *  E1 a step ends only taken, dead or by a person: it is never given up in silence;
 *  E2 a step that dies is buried in the same turn, and nothing is commanded for it again;
 *  E3 confirm is commanded only for a step that was answered `done`, and no step waits for another;
 *  E4 a step of which a yes has been read is never dead again.
 */
import { itemRetried, itemResolved, itemSkipped, forced } from './eventual/operate.ts';
import { effectsOf, outstanding, timers } from './eventual/effects.ts';
import { die, reported, startStep, stepDeadline, stick } from './eventual/steps.ts';
import { at, isOver, outcomeOf, OVERDUE, type EventualState, type Turn } from './eventual/state.ts';
import { view } from './eventual/view.ts';
import { isDue, stay, type Machine, type MachineEvent } from './machine.ts';

export type { EventualState } from './eventual/state.ts';

export const eventual: Machine<EventualState> = {
  pattern: 'eventual',
  version: 1,
  start(facts, mark) {
    const bounds = facts.plan.deadlines.run;
    const steps = facts.plan.steps.map((step) => startStep(facts, step, mark));
    const deadline = bounds === undefined ? undefined : { armed: mark.at, dueMs: mark.time + bounds.lowerMs };
    const after: EventualState = { phase: 'running', steps, deadline };
    return { state: after, effects: effectsOf(facts, { before: undefined, after, mark }) };
  },
  step(facts, state, event) {
    if (state.phase === 'ended') return stay<EventualState>(state);
    const { mark } = event;
    const applied = apply({ facts, state, mark }, event);
    if (applied === state) return stay<EventualState>(state);
    const after = settled({ facts, state, mark }, applied);
    return { state: after, effects: effectsOf(facts, { before: state, after, mark }) };
  },
  outstanding,
  timers,
  view,
};

function settled(turn: Turn, state: EventualState): EventualState {
  if (state.phase === 'ended' || !state.steps.every(isOver)) return state;
  return { phase: 'ended', steps: state.steps, outcome: outcomeOf(turn.facts.plan, state.steps) };
}

function apply(turn: Turn, event: MachineEvent): EventualState {
  const { state, facts } = turn;
  switch (event.type) {
    case 'reported': {
      const index = facts.plan.indexOf.get(event.step);
      return index === undefined ? state : reported(turn, index, event);
    }
    case 'deadline_passed': {
      if (event.kind === 'run') return runDeadline(turn, event);
      const index = event.step === undefined ? undefined : facts.plan.indexOf.get(event.step);
      return index === undefined ? state : stepDeadline(turn, index, event);
    }
    case 'item_retried':
      return itemRetried(turn, event);
    case 'item_skipped':
      return itemSkipped(turn, event);
    case 'item_resolved':
      return itemResolved(turn, event);
    case 'forced':
      return forced(turn, event);
    case 'killed': {
      const outcome = { status: 'killed', code: 'killed', message: event.reason } as const;
      return { phase: 'ended', steps: state.steps, outcome };
    }
    case 'cancelled':
    case 'signalled':
      return state;
  }
}

type DeadlinePassed = Extract<MachineEvent, { readonly type: 'deadline_passed' }>;

function runDeadline(turn: Turn, event: DeadlinePassed): EventualState {
  const { state, mark } = turn;
  if (!isDue(state.deadline, { mark, armed: event.armed })) return state;
  const steps = state.steps.map((entry, index) => {
    if (entry.status === 'executing') return die(turn, entry.act, OVERDUE);
    return entry.status === 'confirming' ? stick(turn, at(state.steps, index), OVERDUE) : entry;
  });
  return { phase: 'running', steps, deadline: undefined };
}
