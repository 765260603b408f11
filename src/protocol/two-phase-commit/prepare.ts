/** From the begin to the last vote, alike in 2PC and 3PC: prepare to all in parallel, presumed abort. */
import {
  deadlineAct,
  isLateEffect,
  outweighsReadOnly,
  reportAct,
  seedOf,
  startAct,
  type Advance,
} from '../act.ts';
import { isDue, NO_EFFECTS, stay, type Effect, type MachineEvent, type Mark } from '../machine.ts';
import type { Report, RunFacts } from '../machine.ts';
import { decideAbort, decideCommit, type AbortCause } from './decide.ts';
import { claimOf } from './raise.ts';
import {
  NO_ATTEMPTS,
  alarmOf,
  arm,
  at,
  causeOf,
  commandFor,
  dueOf,
  replaced,
  stepAlarm,
  withOutput,
  type Preparing,
  type TwoPhaseCommitStep,
  type Vote,
} from './state.ts';
import { missingVotes } from './view.ts';

export function startPrepare(facts: RunFacts, mark: Mark): TwoPhaseCommitStep {
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

export type LiveEvent = Exclude<MachineEvent, { readonly type: 'killed' }>;

export function stepPreparing(facts: RunFacts, state: Preparing, event: LiveEvent): TwoPhaseCommitStep {
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

function voted(before: Run, report: Report & { readonly mark: Mark }): TwoPhaseCommitStep {
  const { facts, mark } = before;
  const index = facts.plan.indexOf.get(report.step);
  if (index === undefined) return stay(before.state);
  const run = facts.pattern === '3pc' ? heardLate(before, index, report) : before;
  const { state } = run;
  const vote = at(state.votes, index);
  if (vote.status === 'yes' && facts.pattern === '3pc' && report.answer === 'terminated') {
    // Nothing more came after its vote, and it did not wait.
    return isVote(vote, report) ? answered(run, index, { vote, report }) : stay(state);
  }
  if (vote.status === 'read_only' && outweighsReadOnly(vote.act, report)) {
    const yes: Vote = withOutput({ ...vote, status: 'yes', ran: [report.attempt] }, report.output);
    return { state: { ...state, votes: replaced(state.votes, index, yes) }, effects: NO_EFFECTS };
  }
  if (vote.status !== 'waiting') return stay(state);
  const step = at(facts.plan.steps, index);
  const context = { mark, policy: step.retry, seed: seedOf(facts, step) };
  return advanced(run, index, { advance: reportAct(vote.act, report, context), report });
}

const isVote = ({ act }: Vote, { phase, attempt }: Report): boolean =>
  phase === 'prepare' && attempt <= act.attempt;

/** 3PC: its own end may be in the log only after this, and yet have come before this effect. */
function heardLate(run: Run, index: number, report: Report): Run {
  const { state } = run;
  const vote = at(state.votes, index);
  if (!isLateEffect(report) || !isVote(vote, report) || vote.late === true) return run;
  return { ...run, state: { ...state, votes: replaced(state.votes, index, { ...vote, late: true }) } };
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
  const ran = committed && !vote.ran.includes(report.attempt) ? [...vote.ran, report.attempt] : vote.ran;
  const no: Vote = { ...vote, status: 'no', ran };
  const code = answer === 'refused' ? (report.code ?? 'refused') : answer;
  const message = claims ? claimOf(report) : report.message;
  const cause = causeOf('aborted', { code, message, step: report.step });
  const votes = replaced(state.votes, index, no);
  if (!committed) {
    const gone = answer === 'terminated' && facts.pattern === '3pc';
    return abort(run, votes, gone ? { ...cause, terminated: report.step } : cause);
  }
  const item = { raised: mark.at, step: report.step, phase: 'prepare', code } as const;
  return abort(run, votes, { ...cause, claim: message === undefined ? item : { ...item, message } });
}
