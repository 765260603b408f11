/** Reports of an execute that has settled already: what they still teach, and what follows. */
import { cleanedAct, knownNotToHaveRun, type Act } from '../act.ts';
import type { Report } from '../machine.ts';
import { failureOf, isPositive } from './answers.ts';
import { at, goBack, withStep, type SagaState, type Stuck, type Turn } from './state.ts';
import { ranAfterUndo } from './undo.ts';

export function lateExecute(turn: Turn, index: number, report: Report): SagaState {
  const { state } = turn;
  const entry = at(state.steps, index);
  const act = 'undo' in entry ? entry.undo.act : 'act' in entry ? entry.act : undefined;
  if (act === undefined || report.attempt > act.attempt) return state;
  const positive = isPositive(report);
  switch (entry.status) {
    case 'stuck':
      if (state.phase === 'backward') return state;
      return positive ? ran(turn, index, { act, report }) : cleanStuck(turn, index, { act, report, entry });
    case 'failed':
      // Nothing depends on it, so that its undo was commanded at once if it may have run: a no teaches nothing.
      if (!positive) return state;
      return index === turn.facts.plan.pivot
        ? contradicted(turn, index, act)
        : ran(turn, index, { act, report });
    case 'skipped':
      return positive ? contradicted(turn, index, act) : state;
    case 'undoing':
    case 'undo_stuck':
    case 'undone':
      return report.answer === 'done' ? ranAfterUndo(turn, index, report) : state;
    case 'waiting':
    case 'running':
    case 'done':
      return state;
  }
}

function ran(turn: Turn, index: number, late: { act: Act; report: Report }): SagaState {
  const { answer, output } = late.report;
  const readOnly = answer === 'read-only';
  return withStep(turn.state, index, { status: 'done', act: late.act, output, readOnly });
}

/** An unknown pivot that is now known not to have run decides the saga: it goes back. */
function cleanStuck(turn: Turn, index: number, late: { act: Act; report: Report; entry: Stuck }): SagaState {
  const { state, facts } = turn;
  const act = cleanedAct(late.act, late.report);
  if (act === late.act) return state;
  if (state.phase !== 'forward' || !knownNotToHaveRun(act))
    return withStep(state, index, { ...late.entry, act });
  const { step } = at(facts.plan.steps, index);
  const cause = state.latched ?? { status: 'compensated', ...failureOf(late.report), step };
  return goBack(state.steps.with(index, { status: 'failed', act }), cause);
}

/** The pivot did run although the saga was told otherwise: what is not undone yet waits for a person. */
function contradicted(turn: Turn, index: number, act: Act): SagaState {
  const item = {
    raised: turn.mark.at,
    code: 'contradiction',
    message: 'the pivot has run, but the saga goes back because it was said not to have',
  };
  return withStep(turn.state, index, { status: 'stuck', act, item });
}
