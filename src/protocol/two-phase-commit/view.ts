/** Where a run of 2PC or 3PC stands, for people; and every timer it has armed. */
import { actTimer, type Act } from '../act.ts';
import type { AttentionItem, RunFacts, RunView, StepView, Timer } from '../machine.ts';
import {
  alarmOf,
  at,
  phaseOf,
  stepAlarm,
  type Alarm,
  type Finishing,
  type Leg,
  type Preparing,
  type TwoPhaseCommitState,
  type Vote,
} from './state.ts';

export function timersOf(facts: RunFacts, state: TwoPhaseCommitState): readonly Timer[] {
  const timers: Timer[] = [];
  const add = (timer: Timer | undefined): unknown => timer !== undefined && timers.push(timer);
  switch (state.phase) {
    case 'ended':
      return timers;
    case 'preparing':
      add(timerOf(alarmOf(facts.plan.deadlines.prepare, state.begun), { kind: 'phase', phase: 'prepare' }));
      add(timerOf(alarmOf(facts.plan.deadlines.run, state.begun), { kind: 'run' }));
      state.votes.forEach((vote, index) => {
        if (vote.status !== 'waiting') return;
        const step = at(facts.plan.steps, index);
        add(timerOf(stepAlarm(state.begun, step), { kind: 'step', step: step.step, phase: 'prepare' }));
        add(actTimer(step.step, vote.act));
      });
      return timers;
    case 'precommitting':
    case 'committing':
    case 'aborting':
    case 'committing_one_phase':
      add(timerOf(state.phaseAlarm, { kind: 'phase', phase: phaseOf(state) }));
      add(timerOf(state.runAlarm, { kind: 'run' }));
      state.legs.forEach((leg, index) => {
        if (leg.status === 'acting') add(actTimer(at(facts.plan.steps, index).step, leg.act));
      });
      return timers;
  }
}

const timerOf = (alarm: Alarm | null, guards: Omit<Timer, 'armed' | 'dueMs'>): Timer | undefined =>
  alarm === null ? undefined : { ...guards, ...alarm };

export function viewOf(facts: RunFacts, state: TwoPhaseCommitState): RunView {
  const { steps, attention } = standing(facts, state);
  return { phase: state.phase, waitsFor: waitsFor(facts, state), steps, attention };
}

function standing(facts: RunFacts, state: TwoPhaseCommitState): Pick<RunView, 'steps' | 'attention'> {
  switch (state.phase) {
    case 'ended':
      return { steps: standing(facts, state.last).steps, attention: [] };
    case 'preparing':
      return { steps: state.votes.map((vote, index) => voteView(facts, vote, index)), attention: [] };
    case 'precommitting':
    case 'committing':
    case 'aborting':
    case 'committing_one_phase':
      return {
        steps: state.legs.map((leg, index) => legView(facts, { state, leg, index })),
        attention: itemsOf(state),
      };
  }
}

const itemsOf = (state: Finishing): readonly AttentionItem[] =>
  state.legs.flatMap((leg) => (leg.item === null ? [] : [leg.item]));

const VOTED = { yes: 'done', read_only: 'done', no: 'failed' } as const;

function voteView(facts: RunFacts, vote: Vote, index: number): StepView {
  return stepView(facts, index, {
    act: vote.act,
    status: vote.status === 'waiting' ? inFlight(vote.act) : VOTED[vote.status],
  });
}

function legView(
  facts: RunFacts,
  { state, leg, index }: { readonly state: Finishing; readonly leg: Leg; readonly index: number },
): StepView {
  const { act } = leg;
  if (leg.item !== null) return stepView(facts, index, { act, status: 'attention' });
  switch (leg.status) {
    case 'spared':
      return stepView(facts, index, { act, status: leg.vote.status === 'read_only' ? 'done' : 'failed' });
    case 'acknowledged':
    case 'terminated':
      return stepView(facts, index, { act, status: state.phase === 'aborting' ? 'undone' : 'done' });
    case 'acting':
      return stepView(facts, index, { act, status: inFlight(act) });
    case 'attention':
    case 'failed':
    case 'skipped':
      return stepView(facts, index, { act, status: leg.status });
  }
}

const inFlight = (act: Act): 'commanded' | 'backing_off' =>
  act.status === 'backing_off' ? 'backing_off' : 'commanded';

function stepView(
  facts: RunFacts,
  index: number,
  { act, status }: { readonly act: Act; readonly status: StepView['status'] },
): StepView {
  const { step, participant } = at(facts.plan.steps, index);
  return { step, participant, phase: act.phase, attempt: act.attempt, status };
}

function waitsFor(facts: RunFacts, state: TwoPhaseCommitState): string {
  switch (state.phase) {
    case 'ended':
      return `nothing: ${state.status}`;
    case 'preparing': {
      const due = [facts.plan.deadlines.prepare, facts.plan.deadlines.run].flatMap((bounds) =>
        bounds === undefined ? [] : [state.begun.time + bounds.lowerMs],
      );
      const until = due.length === 0 ? '' : ` until ${new Date(Math.min(...due)).toISOString()}`;
      return `votes of ${missingVotes(facts, state)}${until}, then aborts`;
    }
    case 'precommitting':
    case 'committing':
    case 'aborting':
    case 'committing_one_phase':
      return waitsForAnswers(facts, state);
  }
}

export const missingVotes = (facts: RunFacts, state: Preparing): string =>
  names(facts, (index) => at(state.votes, index).status === 'waiting');

function waitsForAnswers(facts: RunFacts, state: Finishing): string {
  const legStatus = (index: number): Leg['status'] => at(state.legs, index).status;
  const waits: string[] = [];
  if (state.missing > 0) {
    const from = names(facts, (index) => legStatus(index) === 'acting');
    waits.push(`answers to ${phaseOf(state)} from ${from}`);
  }
  const open = itemsOf(state).length > 0;
  if (open) waits.push(`an operator: ${names(facts, (index) => at(state.legs, index).item !== null)}`);
  return `${waits.join('; ')}${thenCommits(state)}`;
}

/** Precommit waits for nobody longer than its deadline. */
const thenCommits = ({ phase, phaseAlarm }: Finishing): string =>
  phase !== 'precommitting' || phaseAlarm === null
    ? ''
    : ` until ${new Date(phaseAlarm.dueMs).toISOString()}, then commits`;

const MAX_NAMES = 5;
function names(facts: RunFacts, includes: (index: number) => boolean): string {
  const all = facts.plan.steps.filter((step) => includes(step.index)).map((step) => step.step);
  const shown = all.slice(0, MAX_NAMES).join(', ');
  return all.length > MAX_NAMES ? `${shown} and ${all.length - MAX_NAMES} more` : shown;
}
