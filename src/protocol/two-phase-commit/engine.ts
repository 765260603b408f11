/** What 2PC and 3PC share as machines: they differ in how they start, and by their pattern in what follows the votes. */
import type { Pattern } from '../../kernel/vocabulary.ts';
import { stay, type CommandEffect, type Machine, type RunFacts } from '../machine.ts';
import { deadlineAfter, reportedAfter } from './finish.ts';
import { forced, itemResolved, itemRetried, itemSkipped } from './operator.ts';
import { stepPreparing, type LiveEvent } from './prepare.ts';
import { at, commandFor, endedAs, type Finishing } from './state.ts';
import type { TwoPhaseCommitState, TwoPhaseCommitStep } from './state.ts';
import { timersOf, viewOf } from './view.ts';

export const atomicCommit = (
  pattern: Pattern,
  start: Machine<TwoPhaseCommitState>['start'],
): Machine<TwoPhaseCommitState> => ({
  pattern,
  version: 1,
  start,
  step: (facts, state, event) => {
    if (state.phase === 'ended') return stay(state);
    if (event.type === 'killed') {
      return endedAs(state, { status: 'killed', code: 'killed', message: event.reason });
    }
    return state.phase === 'preparing' ? stepPreparing(facts, state, event) : stepAfter(facts, state, event);
  },
  outstanding,
  timers: timersOf,
  view: viewOf,
});

function stepAfter(facts: RunFacts, state: Finishing, event: LiveEvent): TwoPhaseCommitStep {
  const turn = { facts, state, mark: event.mark };
  switch (event.type) {
    case 'reported':
      return reportedAfter(turn, event);
    case 'deadline_passed':
      return deadlineAfter(turn, event);
    case 'item_retried':
      return itemRetried(turn, event);
    case 'item_skipped':
      return itemSkipped(turn, event);
    case 'item_resolved':
      return itemResolved(turn, event);
    case 'forced':
      return forced(turn, event);
    case 'cancelled':
    case 'signalled':
      return stay(state);
  }
}

function outstanding(facts: RunFacts, state: TwoPhaseCommitState): readonly CommandEffect[] {
  if (state.phase === 'ended') return [];
  const { steps } = facts.plan;
  if (state.phase === 'preparing') {
    return state.votes.flatMap((vote, index) =>
      vote.act.status === 'commanded' ? [commandFor(at(steps, index), vote.act, vote)] : [],
    );
  }
  return state.legs.flatMap((leg, index) =>
    leg.status === 'acting' && leg.act.status === 'commanded'
      ? [commandFor(at(steps, index), leg.act, leg.vote)]
      : [],
  );
}
