/** From the decision to the end: what reports and deadlines do to precommit, commit, abort and commit-one-phase. */
import {
  cleanedAct,
  deadlineAct,
  isLateEffect,
  isSpent,
  knownNotToHaveRun,
  nextAttempt,
  outdated,
  outweighsReadOnly,
  reportAct,
  settle,
  startAct,
  type Act,
  type Advance,
} from '../act.ts';
import { isDue, stay, type AttentionItem, type Effect, type MachineEvent, type Report } from '../machine.ts';
import { conclude, sendCommit } from './outcome.ts';
import { claimOf, mixedBy, raise } from './raise.ts';
import { terminatedAfter } from './termination.ts';
import {
  arm,
  at,
  causeOf,
  commandFor,
  contextOf,
  contradicted,
  dueOf,
  phaseOf,
  policyOf,
  withLeg,
  withOutput,
  type Finishing,
  type Leg,
  type Turn,
  type TwoPhaseCommitStep,
  type Vote,
} from './state.ts';

type DeadlineEvent = MachineEvent & { readonly type: 'deadline_passed' };
/** What ended or moved an act; nothing but `answer` when an attempt's deadline did. */
type Reason = Pick<Report, 'answer' | 'code' | 'message' | 'result' | 'output'>;

export function reportedAfter(turn: Turn, report: Report): TwoPhaseCommitStep {
  const { state, facts } = turn;
  const index = facts.plan.indexOf.get(report.step);
  if (index === undefined) return stay(state);
  if (report.answer === 'terminated' && facts.pattern === '3pc') return terminatedAfter(turn, index, report);
  if (report.phase === 'prepare' && state.phase === 'aborting') return lateVote(turn, index, report);
  const leg = at(state.legs, index);
  if (report.phase !== leg.act.phase) return stay(state);
  if (leg.status === 'spared' && state.phase !== 'aborting' && outweighsReadOnly(leg.act, report))
    return raise(turn, index, { act: leg.act, code: 'late-effect', message: UNCOMMITTED });
  if (leg.status === 'attention') return lateAnswer(turn, index, report);
  if (leg.status !== 'acting') return stay(state);
  return advanced(turn, index, {
    advance: reportAct(leg.act, report, contextOf(turn, index, leg)),
    reason: report,
  });
}

export function deadlineAfter(turn: Turn, event: DeadlineEvent): TwoPhaseCommitStep {
  const { state, facts } = turn;
  switch (event.kind) {
    case 'attempt':
    case 'backoff': {
      const index = facts.plan.indexOf.get(event.step ?? '');
      if (index === undefined || event.phase !== phaseOf(state)) return stay(state);
      const leg = at(state.legs, index);
      if (leg.status !== 'acting') return stay(state);
      const advance = deadlineAct(leg.act, { ...event, kind: event.kind }, contextOf(turn, index, leg));
      return advanced(turn, index, { advance, reason: { answer: 'unknown' } });
    }
    case 'phase':
      if (event.phase !== phaseOf(state) || !isDue(state.phaseAlarm, event)) return stay(state);
      return state.phase === 'precommitting'
        ? sendCommit(turn, state, [])
        : overdue(turn, { ...state, phaseAlarm: null });
    case 'run':
      if (!isDue(state.runAlarm, event)) return stay(state);
      return state.phase === 'precommitting'
        ? sendCommit(turn, { ...state, runAlarm: null }, [])
        : overdue(turn, { ...state, runAlarm: null });
    case 'step':
    case 'start':
    case 'gate':
    case 'reservation':
      return stay(state);
  }
}

function advanced(
  turn: Turn,
  index: number,
  { advance, reason }: { readonly advance: Advance; readonly reason: Reason },
): TwoPhaseCommitStep {
  const { state } = turn;
  switch (advance.type) {
    case 'ignored':
      return stay(state);
    case 'noted':
      return { state: withAct(state, index, advance.act), effects: [] };
    case 'backing_off':
    case 'commanded': {
      const effects: Effect[] = [];
      const { act } = advance;
      const { vote } = at(state.legs, index);
      if (advance.type === 'commanded') effects.push(commandFor(at(turn.facts.plan.steps, index), act, vote));
      arm(effects, dueOf(act.timer));
      return { state: withAct(state, index, act), effects };
    }
    case 'answered':
      return answered(turn, index, { act: advance.act, reason });
    case 'exhausted':
      if (state.phase === 'committing_one_phase' && knownNotToHaveRun(advance.act))
        return onePhaseFailed(turn, { act: advance.act, code: 'exhausted', message: reason.message });
      return raise(turn, index, {
        act: advance.act,
        code: state.phase === 'aborting' ? 'exhausted' : 'in-doubt',
        message: reason.message,
      });
  }
}

interface Settled {
  readonly act: Act;
  readonly reason: Reason;
}

function answered(turn: Turn, index: number, { act, reason }: Settled): TwoPhaseCommitStep {
  const { state } = turn;
  switch (reason.answer) {
    case 'done':
    case 'read-only':
      return acknowledged(turn, index, { act, reason });
    case 'refused':
      if (state.phase === 'committing_one_phase' && knownNotToHaveRun(act))
        return onePhaseFailed(turn, { act, code: reason.code ?? 'refused', message: reason.message });
      return raise(turn, index, { act, code: 'refused', message: reason.message ?? reason.code });
    case 'heuristic':
    case 'terminated':
      return raise(turn, index, { act, code: reason.answer, message: claimOf(reason) });
    case 'conflict':
    case 'stale':
    case 'retry':
    case 'unknown':
      return raise(turn, index, { act, code: reason.answer, message: reason.message ?? reason.code });
  }
}

/** An open contradiction outlives the acknowledgement: only an operator settles it. */
function acknowledged(turn: Turn, index: number, { act, reason }: Settled): TwoPhaseCommitStep {
  const { state } = turn;
  const leg = at(state.legs, index);
  const vote = withOutput(leg.vote, reason.output);
  const open = contradicted(state, leg);
  const status = open ? 'attention' : 'acknowledged';
  const after = withLeg(state, index, { ...leg, status, act, vote, item: open ? leg.item : null });
  return conclude(turn, { before: state, after }, []);
}

/** Alone in its run, known not to have run: aborted, with nothing to undo. */
function onePhaseFailed(
  turn: Turn,
  { act, code, message }: { readonly act: Act; readonly code: string; readonly message?: string | undefined },
): TwoPhaseCommitStep {
  const { state, facts } = turn;
  const leg = at(state.legs, 0);
  const cause = causeOf('aborted', { code, message, step: at(facts.plan.steps, 0).step });
  const failed = withLeg(state, 0, { ...leg, status: 'failed', act, item: null });
  return conclude(turn, { before: state, after: { ...failed, cause } }, []);
}

/** A deadline after the decision changes nothing but that a person looks: retries go on, a late answer clears it. */
function overdue(turn: Turn, state: Finishing): TwoPhaseCommitStep {
  const { facts, mark } = turn;
  const effects: Effect[] = [];
  const phase = phaseOf(state);
  const code = state.phase === 'aborting' ? 'deadline' : 'in-doubt';
  const legs = state.legs.map((leg, index): Leg => {
    if (leg.status !== 'acting' || leg.item !== null) return leg;
    const { step } = at(facts.plan.steps, index);
    const item = { raised: mark.at, step, phase, code, message: `no answer to ${phase} in time` };
    effects.push({ type: 'attend', item });
    return { ...leg, item };
  });
  return { state: { ...state, legs }, effects };
}

/** A report for an act already given up or answered in a way that raised attention: it may still decide. */
function lateAnswer(turn: Turn, index: number, report: Report): TwoPhaseCommitStep {
  const { state } = turn;
  const leg = at(state.legs, index);
  if (report.attempt > leg.act.attempt || contradicted(state, leg)) return stay(state);
  switch (report.answer) {
    case 'done':
    case 'read-only':
      if (isSpent(leg.act, report)) return stay(state);
      return acknowledged(turn, index, { act: leg.act, reason: report });
    case 'heuristic':
    case 'terminated':
    case 'conflict':
      if (isSpent(leg.act, report) || leg.item?.code === report.answer) return stay(state);
      return answered(turn, index, { act: leg.act, reason: report });
    case 'refused':
    case 'retry': {
      if (state.phase !== 'committing_one_phase') return stay(state);
      const act = cleanedAct(leg.act, report);
      if (act === leg.act) return stay(state);
      if (!knownNotToHaveRun(act)) return { state: withAct(state, index, act), effects: [] };
      return onePhaseFailed(turn, { act, code: report.code ?? report.answer, message: report.message });
    }
    case 'unknown':
    case 'stale':
      return stay(state);
  }
}

/** A vote read after the decision to abort. */
function lateVote(turn: Turn, index: number, report: Report): TwoPhaseCommitStep {
  const { state } = turn;
  const { vote, status } = at(state.legs, index);
  if (report.attempt > vote.act.attempt) return stay(state);
  if (isLateEffect(report)) return ranAfterAbort(turn, index, report);
  if (status === 'skipped' || status === 'failed') return stay(state);
  switch (report.answer) {
    case 'done':
      return vote.ran.includes(report.attempt) ||
        (vote.status === 'read_only' && !outweighsReadOnly(vote.act, report))
        ? stay(state)
        : ranAfterAbort(turn, index, report);
    case 'heuristic':
    case 'terminated':
      return report.result === 'committed' ? lateClaim(turn, index, report) : stay(state);
    case 'read-only':
    case 'refused':
    case 'retry':
    case 'unknown':
    case 'conflict':
    case 'stale':
      return stay(state);
  }
}

/**
 * In flight, the abort will meet what the vote left behind, and its next attempts carry the output. An abort already
 * answered, overtaken by an effect that says itself to be late, or never sent is commanded (again): by a person where one
 * has to see to the step.
 */
function ranAfterAbort(turn: Turn, index: number, report: Report): TwoPhaseCommitStep {
  const { state, facts, mark } = turn;
  const before = at(state.legs, index);
  const vote = withYes(before.vote, report);
  const isLate = report.lateEffect === true;
  const leg: Leg = { ...before, vote, act: isLate ? overtaken(before.act) : before.act };
  const noted = withLeg(state, index, leg);
  switch (leg.status) {
    case 'skipped':
    case 'failed':
      return raise({ ...turn, state: noted }, index, { act: leg.act, code: 'late-effect', message: LATE });
    case 'attention':
      return { state: noted, effects: [] };
    case 'acting':
      if (!isLate) return { state: noted, effects: [] };
      break;
    case 'acknowledged':
    case 'spared':
    case 'terminated':
      break;
  }
  const step = at(facts.plan.steps, index);
  const policy = policyOf(step, 'abort', leg.policy);
  const act =
    before.act.phase === 'abort'
      ? nextAttempt(before.act, mark, { policy, redo: isLate ? 'late' : 'seen' })
      : {
          ...startAct({ phase: 'abort', mark, policy, since: vote.act.since }),
          redone: isLate ? 1 : undefined,
          redo: isLate ? 1 : undefined,
        };
  const effects: Effect[] = [commandFor(step, act, vote)];
  arm(effects, dueOf(act.timer));
  return { state: withLeg(state, index, { ...leg, status: 'acting', act }), effects };
}

const UNCOMMITTED = 'prepared although it said read-only, after the decision to commit';
const LATE = 'prepare has taken effect after its abort';
const overtaken = (act: Act): Act => (act.phase === 'abort' ? outdated(act) : act);

/** What is known of a vote read after the decision; an `unknown` that came late proves no yes. */
function withYes(vote: Vote, { answer, attempt, output }: Report): Vote {
  if (answer !== 'done') return vote;
  const ran = vote.ran.includes(attempt) ? vote.ran : [...vote.ran, attempt];
  return withOutput({ ...vote, status: 'yes', ran }, output);
}

/** A participant says, after the decision to abort, that it committed on its own. */
function lateClaim(turn: Turn, index: number, report: Report): TwoPhaseCommitStep {
  const { state, mark } = turn;
  const leg = at(state.legs, index);
  if (contradicted(state, leg)) return stay(state);
  const message = claimOf(report);
  const item: AttentionItem = {
    raised: mark.at,
    step: report.step,
    phase: 'prepare',
    code: report.answer,
    ...(message === undefined ? {} : { message }),
  };
  const status = leg.status === 'acting' ? 'acting' : 'attention';
  const act = status === 'acting' ? leg.act : settle(leg.act);
  const after = mixedBy(withLeg(state, index, { ...leg, status, act, item }), {
    code: item.code,
    step: item.step,
  });
  return conclude(turn, { before: state, after }, [{ type: 'attend', item }]);
}

const withAct = (state: Finishing, index: number, act: Act): Finishing =>
  withLeg(state, index, { ...at(state.legs, index), act });
