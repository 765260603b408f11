/** The backward half: compensate commands, one per step that may have run. */
import {
  deadlineAct,
  nextAttempt,
  reportAct,
  seedOf,
  settle,
  startAct,
  type Act,
  type Advance,
} from '../act.ts';
import type { Policy } from '../compiled-plan.ts';
import { isDue, type Report } from '../machine.ts';
import { failureOf, isPositive, OVERDUE, understood, type Failure } from './answers.ts';
import { at, withStep, type SagaState, type SagaStep, type Turn, type Undo } from './state.ts';

/** Commands the undo of a settled act. */
export function startUndo(turn: Turn, index: number): SagaState {
  const { facts, state, mark } = turn;
  const entry = at(state.steps, index);
  if ((entry.status !== 'done' && entry.status !== 'failed') || entry.act === undefined) return state;
  const { act } = entry;
  const ran = entry.status === 'done';
  const policy = at(facts.plan.steps, index).undoRetry;
  const command = startAct({ phase: 'compensate', mark, policy, since: act.since });
  const undo: Undo = { act, command, ran, from: 1, ...(ran ? { output: entry.output } : {}) };
  const bounds = facts.plan.deadlines.compensate;
  const deadline = bounds === undefined ? undefined : { armed: mark.at, dueMs: mark.time + bounds.lowerMs };
  return withStep(state, index, {
    status: 'undoing',
    undo: deadline === undefined ? undo : { ...undo, deadline },
  });
}

export function undoReported(turn: Turn, index: number, report: Report): SagaState {
  const { state } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'undoing' && entry.status !== 'undo_stuck') return state;
  const { undo } = entry;
  if (report.attempt < undo.from || report.attempt > undo.command.attempt) return state;
  if (isPositive(report)) return withStep(state, index, undoneBy(undo));
  if (entry.status === 'undo_stuck') return state;
  const understoodReport = understood(report, undo.command, state.phase);
  const advance = reportAct(undo.command, understoodReport, contextOf(turn, index, undo));
  return advanced(turn, { index, undo, advance, failure: failureOf(report) });
}

export const undoneBy = (undo: Undo): SagaStep => ({
  status: 'undone',
  undo: { ...undo, command: settle(undo.command) },
});

/** An `attempt`, `backoff` or `step` deadline of a compensate. */
export function undoDeadline(
  turn: Turn,
  index: number,
  event: { readonly kind: string; readonly attempt?: number; readonly armed: string },
): SagaState {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'undoing') return state;
  const { undo } = entry;
  if (event.kind === 'step') {
    const due = isDue(undo.deadline, { mark, armed: event.armed });
    return due ? stickUndo(turn, { index, undo, command: settle(undo.command), failure: OVERDUE }) : state;
  }
  if (event.kind !== 'attempt' && event.kind !== 'backoff') return state;
  const { kind } = event;
  const advance = deadlineAct(undo.command, { ...event, kind }, contextOf(turn, index, undo));
  return advanced(turn, { index, undo, advance, failure: OVERDUE });
}

function contextOf(turn: Turn, index: number, undo: Undo) {
  const step = at(turn.facts.plan.steps, index);
  return { mark: turn.mark, policy: undoPolicy(turn, index, undo), seed: seedOf(turn.facts, step) };
}

export function undoPolicy(turn: Turn, index: number, undo: Undo): Policy {
  const { undoRetry } = at(turn.facts.plan.steps, index);
  return undo.policy === undefined ? undoRetry : { ...undoRetry, ...undo.policy };
}

function advanced(
  turn: Turn,
  result: { index: number; undo: Undo; advance: Advance; failure: Failure },
): SagaState {
  const { index, undo, advance, failure } = result;
  switch (advance.type) {
    case 'ignored':
    case 'noted':
      return turn.state;
    case 'backing_off':
      return withStep(turn.state, index, { status: 'undoing', undo: { ...undo, command: advance.act } });
    case 'commanded':
      return withStep(turn.state, index, commandAgain(undo, advance.act));
    case 'answered':
    case 'exhausted':
      return stickUndo(turn, { index, undo, command: advance.act, failure });
  }
}

/** A failed compensation waits for a person; the other branches go on. */
function stickUndo(
  turn: Turn,
  stuck: { index: number; undo: Undo; command: Act; failure: Failure },
): SagaState {
  const { index, undo, command, failure } = stuck;
  const item = { raised: turn.mark.at, ...failure };
  const { deadline: _, ...rest } = undo;
  return withStep(turn.state, index, { status: 'undo_stuck', undo: { ...rest, command }, item });
}

/** The next attempt says all that is known by now. */
export function commandAgain(undo: Undo, command: Act): SagaStep {
  const { learned, ...rest } = undo;
  if (learned === undefined) return { status: 'undoing', undo: { ...rest, command } };
  return {
    status: 'undoing',
    undo: { ...rest, command, ran: true, output: learned.output ?? rest.output },
  };
}

/**
 * The act turns out to have run although its undo was commanded. An undo in flight will find the effect, so that is
 * only noted. One already answered is commanded again, and so is one in flight when the effect says itself to be late:
 * the undo may have left its tombstone before. Answers of attempts before that no longer count.
 */
export function ranAfterUndo(turn: Turn, index: number, report: Report): SagaState {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'undoing' && entry.status !== 'undo_stuck' && entry.status !== 'undone') return state;
  const { undo } = entry;
  const isLate = report.lateEffect === true;
  const counted = undo.late ?? [];
  const isNews = isLate ? !counted.includes(report.attempt) : !undo.ran && undo.learned === undefined;
  if (!isNews) return state;
  const learned = { output: report.output ?? undo.learned?.output };
  const from = undo.command.attempt + 1;
  const noted: Undo = isLate
    ? { ...undo, learned, from, late: [...counted, report.attempt] }
    : { ...undo, learned };
  if (entry.status === 'undo_stuck') return withStep(state, index, { ...entry, undo: noted });
  if (entry.status === 'undoing' && !isLate) return withStep(state, index, { ...entry, undo: noted });
  const policy = undoPolicy(turn, index, undo);
  const command = nextAttempt(undo.command, mark, { policy, restart: true });
  return withStep(state, index, commandAgain({ ...noted, from }, command));
}
