/** Reports of acts that have settled already: what they still teach, and what follows. */
import type { Phase } from '../../kernel/vocabulary.ts';
import { cleanedAct, isLateEffect, knownNotToHaveRun, outweighsReadOnly, type Act } from '../act.ts';
import type { Report } from '../machine.ts';
import { failureOf, isPositive } from './answers.ts';
import type { Turn } from './shape.ts';
import {
  at,
  failed,
  goBack,
  withStep,
  type Done,
  type Failed,
  type Passed,
  type StagedState,
  type StepState,
  type Stuck,
  type Undo,
} from './state.ts';
import { hasRunAfterDrop, ranAfterSkip, ranAfterUndo } from './undo.ts';

export function lateReport(turn: Turn, index: number, report: Report): StagedState {
  const { state } = turn;
  const entry = at(state.steps, index);
  const last = lastActOf(entry);
  const isLast = last?.phase === report.phase;
  const act = isLast ? last : earlierAct(entry, report.phase);
  if (act === undefined || report.attempt > act.attempt) return state;
  const positive = isPositive(report);
  switch (entry.status) {
    case 'stuck':
      if (state.phase === 'backward' || !isLast) return state;
      return positive
        ? ran(turn, index, { entry, act, report })
        : cleanStuck(turn, index, { act, report, entry });
    case 'failed':
      if (!isLast) return state;
      if (!positive) return cleanFailed(turn, index, { act, report, entry });
      return index === turn.facts.plan.pivot
        ? contradicted(turn, index, entry)
        : ran(turn, index, { entry, act, report });
    case 'skipped':
      if (entry.undo !== undefined) return afterSkip(turn, index, { undo: entry.undo, report });
      return positive && isLast ? contradicted(turn, index, { ...entry, earlier: [] }) : state;
    case 'undoing':
    case 'undo_stuck':
    case 'undone':
      if (report.answer !== 'done' && !isLateEffect(report)) return state;
      return outlastsUndo(entry.undo, report)
        ? hasRunAfterDrop(turn, index, entry)
        : ranAfterUndo(turn, index, { report, isLast });
    case 'done':
      // Past the point of no return nobody waits for it any more.
      if (!entry.readOnly || state.phase === 'committed') return state;
      return outweighsReadOnly(act, report)
        ? ran(turn, index, { entry, act, report })
        : cleanDone(turn, index, { act, report, entry });
    case 'waiting':
    case 'running':
      return state;
  }
}

/** What drops a preparation leaves what has been executed. */
const outlastsUndo = (undo: Undo, report: Report): boolean =>
  report.phase === 'execute' && undo.command.phase !== 'compensate';

function afterSkip(
  turn: Turn,
  index: number,
  late: { readonly undo: Undo; readonly report: Report },
): StagedState {
  if (!isLateEffect(late.report)) return turn.state;
  return outlastsUndo(late.undo, late.report)
    ? hasRunAfterDrop(turn, index, late)
    : ranAfterSkip(turn, index, late);
}

const undoOf = (entry: StepState): Undo | undefined => ('undo' in entry ? entry.undo : undefined);

function lastActOf(entry: StepState): Act | undefined {
  const undo = undoOf(entry);
  if (undo !== undefined) return undo.act;
  return 'act' in entry ? entry.act : undefined;
}

function earlierAct(entry: StepState, phase: Phase): Act | undefined {
  const passed = undoOf(entry) ?? ('earlier' in entry ? entry : undefined);
  return passed?.earlier.find((act) => act.phase === phase);
}

function ran(turn: Turn, index: number, late: { entry: Passed; act: Act; report: Report }): StagedState {
  const { entry, report } = late;
  const { earlier } = entry;
  const act = cleanedAct(late.act, report);
  const readOnly = report.answer === 'read-only' && earlier.length === 0;
  const output = report.output ?? entry.output;
  return withStep(turn.state, index, {
    status: 'done',
    act,
    earlier,
    output,
    readOnly,
    expires: undefined,
  });
}

/** Read-only, though nobody knew what an earlier attempt had done: an answer to that one may show that it was nothing. */
function cleanDone(turn: Turn, index: number, late: { act: Act; report: Report; entry: Done }): StagedState {
  const act = cleanedAct(late.act, late.report);
  return act === late.act ? turn.state : withStep(turn.state, index, { ...late.entry, act });
}

/** While its undo waits for its turn, a late no may show that there is less to undo, or nothing. */
function cleanFailed(
  turn: Turn,
  index: number,
  late: { act: Act; report: Report; entry: Failed },
): StagedState {
  const act = cleanedAct(late.act, late.report);
  return act === late.act ? turn.state : withStep(turn.state, index, failed(late.entry, act));
}

/** An unknown pivot that is now known not to have run decides the saga: it goes back. */
function cleanStuck(
  turn: Turn,
  index: number,
  late: { act: Act; report: Report; entry: Stuck },
): StagedState {
  const { state, facts } = turn;
  const act = cleanedAct(late.act, late.report);
  if (act === late.act) return state;
  if (state.phase !== 'forward' || !knownNotToHaveRun(act))
    return withStep(state, index, { ...late.entry, act });
  const { step } = at(facts.plan.steps, index);
  const cause = state.latched ?? { status: 'compensated', ...failureOf(late.report), step };
  return goBack(state.steps.with(index, failed(late.entry, act)), cause);
}

/** The pivot did run although the saga was told otherwise: what is not undone yet waits for a person. */
function contradicted(
  turn: Turn,
  index: number,
  { act, earlier, output }: Pick<Failed, 'act' | 'earlier' | 'output'>,
): StagedState {
  const item = {
    raised: turn.mark.at,
    code: 'contradiction',
    message: 'the pivot has run, but the saga goes back because it was said not to have',
  };
  return withStep(turn.state, index, { status: 'stuck', item, act, earlier, output });
}
