/** From votes to the decision and its commands, for 2PC and 3PC. */
import { knownNotToHaveRun, startAct } from '../act.ts';
import type { AttentionItem, Effect, Mark, RunFacts } from '../machine.ts';
import { committed, conclude } from './outcome.ts';
import {
  alarmOf,
  arm,
  at,
  commandFor,
  dueOf,
  endedAs,
  type Cause,
  type Finishing,
  type Leg,
  type Preparing,
  type TwoPhaseCommitStep,
  type Vote,
} from './state.ts';

/** Every vote is yes or read-only: the point of no return. 3PC says so to everybody before anybody commits. */
export function decideCommit(facts: RunFacts, state: Preparing, mark: Mark): TwoPhaseCommitStep {
  const effects: Effect[] = [{ type: 'decide', value: 'commit' }];
  const first = facts.pattern === '3pc' ? 'precommit' : 'commit';
  const legs: Leg[] = [];
  let missing = 0;
  let dueMs = Infinity;
  for (const step of facts.plan.steps) {
    const vote = at(state.votes, step.index);
    if (vote.status === 'read_only') {
      legs.push(spared(vote));
      continue;
    }
    const act = startAct({ phase: first, mark, policy: step.commitRetry });
    legs.push({ status: 'acting', vote, act, item: null, policy: null });
    effects.push(commandFor(step, act, vote));
    dueMs = Math.min(dueMs, dueOf(act.timer));
    missing += 1;
  }
  if (missing === 0) return endedAs(state, committed(facts, state.votes), effects);
  const phaseAlarm = alarmOf(facts.plan.deadlines[first], mark);
  arm(effects, Math.min(dueMs, dueOf(phaseAlarm)));
  const runAlarm = alarmOf(facts.plan.deadlines.run, state.begun);
  const { begun } = state;
  const phase = first === 'precommit' ? 'precommitting' : 'committing';
  const fresh = { cause: null, mixed: false, skipped: false };
  return { state: { phase, begun, legs, missing, phaseAlarm, runAlarm, ...fresh }, effects };
}

/** Why a run aborts, and the item that goes with it when the cause is a step that says it committed. */
export interface AbortCause extends Cause {
  readonly claim?: AttentionItem;
  /** 3PC: the step whose own termination is the cause. It has aborted and needs no abort, unless its yes was late. */
  readonly terminated?: string;
}

/** A no, a deadline, a cancel or an operator: presumed abort, sent to every step that may have run (A2). */
export function decideAbort(
  turn: { readonly facts: RunFacts; readonly begun: Mark; readonly mark: Mark },
  votes: readonly Vote[],
  { claim, terminated, ...cause }: AbortCause,
): TwoPhaseCommitStep {
  const { facts, begun, mark } = turn;
  const effects: Effect[] = [{ type: 'decide', value: 'abort', code: cause.code }];
  const legs: Leg[] = [];
  let missing = 0;
  let dueMs = Infinity;
  for (const step of facts.plan.steps) {
    const vote = at(votes, step.index);
    if (knownNotToHaveRun(vote.act)) {
      legs.push(spared(vote));
      continue;
    }
    if (terminated === step.step && vote.late !== true) {
      legs.push({ ...spared(vote), status: 'terminated' });
      continue;
    }
    const first = startAct({ phase: 'abort', mark, policy: step.undoRetry, since: vote.act.since });
    // Its own end (3PC) came before that effect, and does not answer this abort.
    const act = vote.late === true ? { ...first, redone: 1, redo: 1 } : first;
    const item = claim?.step === step.step ? claim : null;
    legs.push({ status: 'acting', vote, act, item, policy: null });
    effects.push(commandFor(step, act, vote));
    dueMs = Math.min(dueMs, dueOf(act.timer));
    missing += 1;
  }
  const phaseAlarm = missing === 0 ? null : alarmOf(facts.plan.deadlines.abort, mark);
  arm(effects, Math.min(dueMs, dueOf(phaseAlarm)));
  if (claim !== undefined) effects.push({ type: 'attend', item: claim });
  const runAlarm = alarmOf(facts.plan.deadlines.run, begun);
  const after: Finishing = {
    phase: 'aborting',
    begun,
    legs,
    missing,
    phaseAlarm,
    // What has passed before the decision is no news after it.
    runAlarm: dueOf(runAlarm) > mark.time ? runAlarm : null,
    cause,
    mixed: claim !== undefined,
    skipped: false,
  };
  return conclude(turn, { before: after, after }, effects);
}

const spared = (vote: Vote): Leg => ({ status: 'spared', vote, act: vote.act, item: null, policy: null });
