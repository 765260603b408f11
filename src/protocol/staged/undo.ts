/** The backward half: one undo for each step that holds something. */
import type { Phase } from '../../kernel/vocabulary.ts';
import {
  deadlineAct,
  isLateEffect,
  knownNotToHaveRun,
  nextAttempt,
  outdated,
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
import type { Turn } from './shape.ts';
import { at, owesUndo, withStep, type Due, type StagedState, type StepState, type Undo } from './state.ts';

/** One order of fields, whatever is there: a state read back from a snapshot steps alike (M2). */
export function undoWith(undo: Undo, change: Partial<Undo>): Undo {
  const next: Undo = { ...undo, ...change };
  return {
    act: next.act,
    earlier: next.earlier,
    command: next.command,
    ran: next.ran,
    output: next.output,
    learned: next.learned,
    contradicted: next.contradicted,
    deadline: next.deadline,
    policy: next.policy,
  };
}

/** `compensate` once its execute may have run, also for what the stages before hold; never both. */
const undoPhase = (act: Act, ran: boolean, drop: Phase): Phase =>
  act.phase === 'execute' && (ran || !knownNotToHaveRun(act)) ? 'compensate' : drop;

/** Commands the undo of a settled act. */
export function startUndo(turn: Turn, index: number): StagedState {
  const { facts, state, mark, shape } = turn;
  const entry = at(state.steps, index);
  if (!owesUndo(entry) || entry.act === undefined) return state;
  const { act, earlier, output } = entry;
  const ran = entry.status === 'done' && !entry.readOnly;
  const phase = undoPhase(act, ran, shape.drop);
  const { since } = earlier[0] ?? act;
  const policy = at(facts.plan.steps, index).undoRetry;
  const undo: Undo = {
    act,
    earlier,
    command: startAct({ phase, mark, policy, since }),
    ran,
    output,
    learned: undefined,
    contradicted: undefined,
    deadline: deadlineOf(turn, phase),
    policy: undefined,
  };
  return withStep(state, index, { status: 'undoing', undo });
}

function deadlineOf({ facts, mark }: Turn, phase: Phase): Due | undefined {
  const bounds = facts.plan.deadlines[phase];
  return bounds === undefined ? undefined : { armed: mark.at, dueMs: mark.time + bounds.lowerMs };
}

export function undoReported(turn: Turn, index: number, report: Report): StagedState {
  const { state } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'undoing' && entry.status !== 'undo_stuck') return state;
  const { undo } = entry;
  const { command } = undo;
  const { redone: first = 1 } = command;
  if (report.phase !== command.phase || report.attempt < first || report.attempt > command.attempt)
    return state;
  if (isPositive(report)) return withStep(state, index, undoneBy(undo));
  if (entry.status === 'undo_stuck') return state;
  const understoodReport = understood(report, command, state.phase);
  const advance = reportAct(command, understoodReport, contextOf(turn, index, undo));
  return advanced(turn, { index, undo, advance, failure: failureOf(report) });
}

export const undoneBy = (undo: Undo): StepState => ({
  status: 'undone',
  undo: undoWith(undo, { command: settle(undo.command) }),
});

/** An `attempt`, `backoff` or `step` deadline of an undo. */
export function undoDeadline(
  turn: Turn,
  index: number,
  event: { readonly kind: string; readonly phase?: Phase; readonly attempt?: number; readonly armed: string },
): StagedState {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'undoing' || entry.undo.command.phase !== event.phase) return state;
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
  const child = step.undoChild !== undefined;
  return { mark: turn.mark, policy: undoPolicy(turn, index, undo), seed: seedOf(turn.facts, step), child };
}

export function undoPolicy(turn: Turn, index: number, undo: Undo): Policy {
  const { undoRetry } = at(turn.facts.plan.steps, index);
  return undo.policy === undefined ? undoRetry : { ...undoRetry, ...undo.policy };
}

function advanced(
  turn: Turn,
  result: { index: number; undo: Undo; advance: Advance; failure: Failure },
): StagedState {
  const { index, undo, advance, failure } = result;
  switch (advance.type) {
    case 'ignored':
    case 'noted':
      return turn.state;
    case 'backing_off':
      return withStep(turn.state, index, {
        status: 'undoing',
        undo: undoWith(undo, { command: advance.act }),
      });
    case 'commanded':
      return withStep(turn.state, index, commandAgain(undo, advance.act));
    case 'answered':
    case 'exhausted':
      return stickUndo(turn, { index, undo, command: advance.act, failure });
  }
}

/** A failed undo waits for a person. */
function stickUndo(
  turn: Turn,
  stuck: { index: number; undo: Undo; command: Act; failure: Failure },
): StagedState {
  const { index, undo, command, failure } = stuck;
  const item = { raised: turn.mark.at, ...failure };
  const stopped = undoWith(undo, { command, deadline: undefined });
  return withStep(turn.state, index, { status: 'undo_stuck', undo: stopped, item });
}

/** The next attempt says all that is known by now. */
export function commandAgain(undo: Undo, command: Act): StepState {
  const { learned } = undo;
  if (learned === undefined) return { status: 'undoing', undo: undoWith(undo, { command }) };
  const output = learned.output ?? undo.output;
  return { status: 'undoing', undo: undoWith(undo, { command, ran: true, output, learned: undefined }) };
}

/**
 * An act turns out to have run although its undo was commanded. An undo in flight will find the effect, so that is
 * only noted. One already answered is commanded again, and so is one in flight when the effect says itself to be late:
 * the undo may have left its tombstone before. Answers of attempts before that no longer count. That acts of earlier
 * stages have run was known before: of them only a late effect is news.
 */
export function ranAfterUndo(
  turn: Turn,
  index: number,
  late: { readonly report: Report; readonly isLast: boolean },
): StagedState {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'undoing' && entry.status !== 'undo_stuck' && entry.status !== 'undone') return state;
  const { report, isLast } = late;
  const { undo } = entry;
  const isLate = isLateEffect(report);
  const isFirst = isLast && !undo.ran && undo.learned === undefined;
  if (!isLate && !isFirst) return state;
  const isNews = isLast && report.answer === 'done';
  const learned = isNews ? { output: report.output ?? undo.learned?.output } : undo.learned;
  if (entry.status === 'undo_stuck') {
    const command = isLate ? outdated(undo.command) : undo.command;
    return withStep(state, index, { ...entry, undo: undoWith(undo, { learned, command }) });
  }
  if (entry.status === 'undoing' && !isLate)
    return withStep(state, index, { ...entry, undo: undoWith(undo, { learned }) });
  const policy = undoPolicy(turn, index, undo);
  const command = nextAttempt(undo.command, mark, { policy, redo: isLate ? 'late' : 'seen' });
  const deadline = deadlineOf(turn, command.phase);
  return withStep(state, index, commandAgain(undoWith(undo, { learned, deadline }), command));
}

/** An effect after an undo that a person skipped: for all that they knew, and not for this. */
export function ranAfterSkip(
  turn: Turn,
  index: number,
  { undo, report }: { readonly undo: Undo; readonly report: Report },
): StagedState {
  const { phase } = undo.command;
  const item = {
    raised: turn.mark.at,
    code: 'late-effect',
    message: `${report.phase} has taken effect after its ${phase}`,
  };
  return ranAfterUndo(
    { ...turn, state: withStep(turn.state, index, { status: 'undo_stuck', undo, item }) },
    index,
    { report, isLast: report.phase === undo.act.phase },
  );
}

/**
 * An execute that was known not to have run has run, after what drops its preparation was commanded: that leaves the
 * effect, and nothing else may be commanded now. A person must see to it; no answer so far settles that.
 */
export function hasRunAfterDrop(turn: Turn, index: number, { undo }: { readonly undo: Undo }): StagedState {
  if (undo.contradicted === true) return turn.state;
  const item = {
    raised: turn.mark.at,
    code: 'contradiction',
    message: `execute has taken effect although it was said not to have: ${undo.command.phase} leaves that`,
  };
  const command = outdated(settle(undo.command));
  const held = undoWith(undo, { command, contradicted: true, deadline: undefined });
  return withStep(turn.state, index, { status: 'undo_stuck', undo: held, item });
}
