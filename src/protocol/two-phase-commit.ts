/**
 * Two-phase commit with presumed abort, machine version 1 (DESIGN §3).
 *
 * | state | event | next | effects |
 * |---|---|---|---|
 * | (begin) | two steps or more | preparing | command prepare to all, in parallel |
 * | (begin) | one step | committing_one_phase | command commit-one-phase |
 * | preparing | last vote yes or read-only | committing | decide and command commit, not to read-only |
 * | preparing | all votes read-only | ended committed | decide commit |
 * | preparing | retry, unknown, attempt overdue | preparing | back-off, then the next attempt |
 * | preparing | refused, conflict, stale, heuristic, terminated, exhausted | aborting | decide and command abort |
 * | preparing | deadline of a step, of prepare or of the run | aborting | the same; code `deadline` |
 * | preparing | cancelled; forced abort naming the begin | aborting | the same; ends `cancelled`; `aborted` |
 * | committing, aborting | done, read-only from all addressed | ended | committed; aborted or cancelled |
 * | committing, aborting | retry, unknown, overdue | same | back-off, next attempt; commit never stops |
 * | aborting | attempts exhausted | same | attend `exhausted` |
 * | committing, aborting | refused, stale | same | attend: no more attempts |
 * | committing, aborting | heuristic, terminated, conflict | same | attend: a contradiction, ends `mixed` |
 * | committing, aborting | phase or run deadline | same | attend each unanswered step; retries go on |
 * | aborting | late yes, abort in flight | aborting | noted: the next attempts carry the output |
 * | aborting | late yes, abort answered or not sent, or `lateEffect` | aborting | command abort (again) |
 * | aborting | late heuristic or terminated that committed | aborting | attend: a contradiction |
 * | committing_one_phase | done, read-only | ended committed | decide commit |
 * | committing_one_phase | refused or exhausted, known not to have run | ended aborted | decide abort |
 * | committing_one_phase | other end of its attempts, deadline, conflict, stale | same | attend: in doubt, no abort |
 * | committing_one_phase | heuristic, terminated | same | attend: a contradiction, ends `mixed` |
 * | any with an item | late done, read-only | same or ended | clears the item, unless it is a contradiction |
 * | any with an item | item retried | same | command the next attempt, counting afresh |
 * | any with an item | item skipped | same or ended | the run ends `resolved` (`mixed` if it already is) |
 * | any with an item | item resolved done | same or ended | counts as acknowledged |
 * | any with an item | item resolved refused | same or ended | ends `mixed`; one-phase: ends aborted |
 * | any with an item | forced to the fate already implied | same | retries every open item |
 * | all but ended | killed | ended killed | nothing is undone |
 * | any | all else | same | none: in the state already, impossible, or against what was commanded |
 *
 * Abort is commanded to every step but read-only voters and those known not to have run; a prepare still in flight gets
 * its abort at once. Once every step was answered while items are open, the caller is told (`attention`).
 *
 * Invariants:
 *  T1 never both commit and abort: `committing` and `aborting` are entered from `preparing` only, once;
 *  T2 `committing` only when every vote was yes or read-only;
 *  T3 a contradiction is never forgotten: the run ends `mixed` (or is killed), and only an operator settles the item;
 *  T4 what was once counted in `ran` or `item` is not counted again (M1).
 */
import { deadlineAct, reportAct, seedOf, startAct, type Advance } from './act.ts';
import {
  isDue,
  NO_EFFECTS,
  stay,
  type Effect,
  type Machine,
  type MachineEvent,
  type Mark,
} from './machine.ts';
import type { CommandEffect, Report, RunFacts } from './machine.ts';
import { decideAbort, decideCommit, type AbortCause } from './two-phase-commit/decide.ts';
import { claimOf, deadlineAfter, reportedAfter } from './two-phase-commit/finish.ts';
import { forced, itemResolved, itemRetried, itemSkipped } from './two-phase-commit/operator.ts';
import {
  NO_ATTEMPTS,
  alarmOf,
  arm,
  at,
  causeOf,
  commandFor,
  dueOf,
  endedAs,
  replaced,
  stepAlarm,
  withOutput,
  type Finishing,
  type Preparing,
  type TwoPhaseCommitState,
  type TwoPhaseCommitStep,
  type Vote,
} from './two-phase-commit/state.ts';
import { missingVotes, timersOf, viewOf } from './two-phase-commit/view.ts';

export type { TwoPhaseCommitState } from './two-phase-commit/state.ts';

export const twoPhaseCommit: Machine<TwoPhaseCommitState> = {
  pattern: '2pc',
  version: 1,
  start: (facts, mark) =>
    facts.plan.steps.length === 1 ? startOnePhase(facts, mark) : startPrepare(facts, mark),
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
};

function startPrepare(facts: RunFacts, mark: Mark): TwoPhaseCommitStep {
  const { steps, deadlines } = facts.plan;
  const effects: Effect[] = [];
  const votes: Vote[] = [];
  let dueMs = Math.min(dueOf(alarmOf(deadlines.prepare, mark)), dueOf(alarmOf(deadlines.run, mark)));
  for (const step of steps) {
    const act = startAct({ phase: 'prepare', mark, policy: step.retry });
    const vote: Vote = { status: 'waiting', act, ran: NO_ATTEMPTS };
    votes.push(vote);
    effects.push(commandFor(step, act, vote));
    dueMs = Math.min(dueMs, dueOf(act.timer), dueOf(stepAlarm(mark, step)));
  }
  arm(effects, dueMs);
  return { state: { phase: 'preparing', begun: mark, votes, missing: votes.length }, effects };
}

function startOnePhase(facts: RunFacts, mark: Mark): TwoPhaseCommitStep {
  const { deadlines, steps } = facts.plan;
  const step = at(steps, 0);
  const act = startAct({ phase: 'commit-one-phase', mark, policy: step.retry });
  const vote: Vote = { status: 'waiting', act, ran: NO_ATTEMPTS };
  const phaseDue = alarmOf(deadlines['commit-one-phase'] ?? deadlines.commit, mark);
  const stepDue = stepAlarm(mark, step);
  const phaseAlarm = dueOf(stepDue) < dueOf(phaseDue) ? stepDue : phaseDue;
  const runAlarm = alarmOf(deadlines.run, mark);
  const effects: Effect[] = [commandFor(step, act, vote)];
  arm(effects, Math.min(dueOf(act.timer), dueOf(phaseAlarm), dueOf(runAlarm)));
  const state: Finishing = {
    phase: 'committing_one_phase',
    begun: mark,
    legs: [{ status: 'acting', vote, act, item: null, policy: null }],
    missing: 1,
    phaseAlarm,
    runAlarm,
    cause: null,
    mixed: false,
    skipped: false,
  };
  return { state, effects };
}

type LiveEvent = Exclude<MachineEvent, { readonly type: 'killed' }>;

function stepPreparing(facts: RunFacts, state: Preparing, event: LiveEvent): TwoPhaseCommitStep {
  const run: Run = { facts, state, mark: event.mark };
  switch (event.type) {
    case 'reported':
      return voted(run, event);
    case 'deadline_passed':
      return deadlinePassed(run, event);
    case 'cancelled':
      return abort(run, state.votes, { status: 'cancelled', code: 'cancelled', message: event.reason });
    case 'forced':
      // No item can be open yet: `raised` names the begin.
      if (event.decision !== 'abort' || event.raised !== state.begun.at) return stay(state);
      return abort(run, state.votes, { status: 'aborted', code: 'forced', message: event.reason });
    case 'signalled':
    case 'item_retried':
    case 'item_skipped':
    case 'item_resolved':
      return stay(state);
  }
}

interface Run {
  readonly facts: RunFacts;
  readonly state: Preparing;
  readonly mark: Mark;
}

function abort({ facts, state, mark }: Run, votes: readonly Vote[], cause: AbortCause): TwoPhaseCommitStep {
  return decideAbort({ facts, begun: state.begun, mark }, votes, cause);
}

function voted(run: Run, report: Report & { readonly mark: Mark }): TwoPhaseCommitStep {
  const { facts, state, mark } = run;
  const index = facts.plan.indexOf.get(report.step);
  if (index === undefined) return stay(state);
  const vote = at(state.votes, index);
  if (vote.status !== 'waiting') return stay(state);
  const step = at(facts.plan.steps, index);
  const context = { mark, policy: step.retry, seed: seedOf(facts, step) };
  return advanced(run, index, { advance: reportAct(vote.act, report, context), report });
}

function deadlinePassed(
  run: Run,
  event: LiveEvent & { readonly type: 'deadline_passed' },
): TwoPhaseCommitStep {
  const { facts, state, mark } = run;
  const { deadlines, indexOf, steps } = facts.plan;
  const expired = (message: string, step?: string): TwoPhaseCommitStep =>
    abort(run, state.votes, causeOf('aborted', { code: 'deadline', message, step }));
  switch (event.kind) {
    case 'phase':
      if (event.phase !== 'prepare' || !isDue(alarmOf(deadlines.prepare, state.begun), event))
        return stay(state);
      return expired(`no vote in time from ${missingVotes(facts, state)}`);
    case 'run':
      if (!isDue(alarmOf(deadlines.run, state.begun), event)) return stay(state);
      return expired(`the run took too long: no vote from ${missingVotes(facts, state)}`);
    case 'step':
    case 'attempt':
    case 'backoff': {
      const index = indexOf.get(event.step ?? '');
      if (index === undefined || event.phase !== 'prepare') return stay(state);
      const step = at(steps, index);
      const vote = at(state.votes, index);
      if (vote.status !== 'waiting') return stay(state);
      if (event.kind === 'step') {
        return isDue(stepAlarm(state.begun, step), event)
          ? expired('no vote in time', step.step)
          : stay(state);
      }
      const context = { mark, policy: step.retry, seed: seedOf(facts, step) };
      const advance = deadlineAct(vote.act, { ...event, kind: event.kind }, context);
      return advanced(run, index, { advance });
    }
    case 'start':
    case 'gate':
    case 'reservation':
      return stay(state);
  }
}

/** What a report, or an overdue attempt, did to one prepare. */
function advanced(
  run: Run,
  index: number,
  { advance, report }: { readonly advance: Advance; readonly report?: Report },
): TwoPhaseCommitStep {
  const { facts, state } = run;
  if (advance.type === 'ignored') return stay(state);
  const step = at(facts.plan.steps, index);
  const vote: Vote = { ...at(state.votes, index), act: advance.act };
  const withVote = (changed: Vote): Preparing => ({ ...state, votes: replaced(state.votes, index, changed) });
  switch (advance.type) {
    case 'noted':
      return { state: withVote(vote), effects: NO_EFFECTS };
    case 'backing_off':
    case 'commanded': {
      const effects: Effect[] = advance.type === 'commanded' ? [commandFor(step, vote.act, vote)] : [];
      arm(effects, dueOf(vote.act.timer));
      return { state: withVote(vote), effects };
    }
    case 'answered':
      return report === undefined ? stay(state) : answered(run, index, { vote, report });
    case 'exhausted': {
      const message = report?.message ?? report?.code;
      const cause = causeOf('aborted', { code: 'exhausted', message, step: step.step });
      return abort(run, withVote({ ...vote, status: 'no' }).votes, cause);
    }
  }
}

function answered(
  run: Run,
  index: number,
  { vote, report }: { readonly vote: Vote; readonly report: Report },
): TwoPhaseCommitStep {
  const { facts, state, mark } = run;
  const { answer } = report;
  if (answer === 'done' || answer === 'read-only') {
    const ran = answer === 'done' ? [report.attempt] : NO_ATTEMPTS;
    const status = answer === 'done' ? 'yes' : 'read_only';
    const votes = replaced(state.votes, index, withOutput({ ...vote, status, ran }, report.output));
    const after: Preparing = { ...state, votes, missing: state.missing - 1 };
    return after.missing === 0 ? decideCommit(facts, after, mark) : { state: after, effects: NO_EFFECTS };
  }
  const claims = answer === 'heuristic' || answer === 'terminated';
  const committed = claims && report.result === 'committed';
  const no: Vote = { ...vote, status: 'no', ran: committed ? [report.attempt] : NO_ATTEMPTS };
  const code = answer === 'refused' ? (report.code ?? 'refused') : answer;
  const message = claims ? claimOf(report) : report.message;
  const cause = causeOf('aborted', { code, message, step: report.step });
  const votes = replaced(state.votes, index, no);
  if (!committed) return abort(run, votes, cause);
  const item = { raised: mark.at, step: report.step, phase: 'prepare', code } as const;
  return abort(run, votes, { ...cause, claim: message === undefined ? item : { ...item, message } });
}

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
