/** The forward half: what reports and deadlines do to the act of a stage, on both sides of the point of no return. */
import type { Phase } from '../../kernel/vocabulary.ts';
import {
  deadlineAct,
  knownNotToHaveRun,
  reportAct,
  seedOf,
  settle,
  startAct,
  type Act,
  type ActContext,
  type Advance,
} from '../act.ts';
import type { CompiledStep, Policy } from '../compiled-plan.ts';
import { isDue, type Mark, type Report } from '../machine.ts';
import { handOverIndex } from '../plan-children.ts';
import { failureOf, isPositive, OVERDUE, understood, type Failure } from './answers.ts';
import { lateReport } from './late.ts';
import type { Turn } from './shape.ts';
import {
  at,
  failed,
  goBack,
  inputOf,
  NO_ACTS,
  withStep,
  type Done,
  type Due,
  type Item,
  type Passed,
  type Running,
  type StagedState,
  type StepState,
} from './state.ts';

/** Commands a stage of a step for the first time; a step whose input cannot be made fails without an act. */
export function startStage(turn: Turn, index: number, phase: Phase): StagedState {
  const { facts, state, mark } = turn;
  const step = at(facts.plan.steps, index);
  const entry = at(state.steps, index);
  const input = inputOf(facts, state.steps, step);
  if (input?.ok === false) return failStep(turn, { index, act: undefined, failure: input.problem });
  const act = startAct({ phase, mark, policy: step.retry });
  // What cannot be taken back any more ends by its policy alone.
  const isHandOver = index === handOverIndex(facts.plan);
  const bounds = step.deadline ?? (isHandOver ? undefined : facts.plan.deadlines[phase]);
  const deadline: Due | undefined =
    bounds === undefined ? undefined : { armed: mark.at, dueMs: mark.time + bounds.lowerMs };
  const passed = entry.status === 'done' ? entry : undefined;
  const earlier = passed?.act === undefined ? NO_ACTS : [...passed.earlier, passed.act];
  const output = passed?.output;
  const expires = phase === 'execute' ? undefined : passed?.expires;
  const running: Running = { status: 'running', act, earlier, output, deadline, expires, policy: undefined };
  return withStep(state, index, running);
}

export function stageReported(turn: Turn, index: number, report: Report): StagedState {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'running') return lateReport(turn, index, report);
  const advance = reportAct(
    entry.act,
    understood(report, entry.act, state.phase),
    contextOf(turn, index, entry),
  );
  if (advance.type === 'answered' && isPositive(report))
    return withStep(state, index, doneBy(entry, advance.act, { report, mark }));
  return advanced(turn, { index, entry, advance, failure: failureOf(report) });
}

function doneBy(entry: Running, act: Act, by: { report: Report; mark: Mark }): Done {
  const { answer, output, expiresAt } = by.report;
  const { earlier } = entry;
  const readOnly = earlier.length === 0 && answer === 'read-only';
  const reserved =
    act.phase === 'reserve' && expiresAt !== undefined
      ? { armed: by.mark.at, dueMs: expiresAt }
      : entry.expires;
  const expires = readOnly ? undefined : reserved;
  return { status: 'done', act, earlier, output: output ?? entry.output, readOnly, expires };
}

/** An `attempt` or `backoff` deadline of an act, or the deadline of the act as a whole. */
export function stageDeadline(
  turn: Turn,
  index: number,
  event: { readonly kind: string; readonly phase?: Phase; readonly attempt?: number; readonly armed: string },
): StagedState {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'running' || entry.act.phase !== event.phase) return state;
  if (event.kind === 'step' || event.kind === 'phase') {
    const due = isDue(entry.deadline, { mark, armed: event.armed });
    return due ? failStep(turn, { index, act: settle(entry.act), failure: OVERDUE }) : state;
  }
  if (event.kind !== 'attempt' && event.kind !== 'backoff') return state;
  const { kind } = event;
  const advance = deadlineAct(entry.act, { ...event, kind }, contextOf(turn, index, entry));
  return advanced(turn, { index, entry, advance, failure: OVERDUE });
}

function contextOf(turn: Turn, index: number, entry: Running): ActContext {
  const step = at(turn.facts.plan.steps, index);
  const policy = policyOf(step, entry, turn.state);
  const child = step.child !== undefined;
  return { mark: turn.mark, policy, seed: seedOf(turn.facts, step), child };
}

/** Going back no act gets another attempt: it settles at its next failure. */
function policyOf(step: CompiledStep, entry: Running, state: StagedState): Policy {
  const policy = entry.policy === undefined ? step.retry : { ...step.retry, ...entry.policy };
  return state.phase === 'backward' ? { ...policy, maxAttempts: 0 } : policy;
}

interface Settled {
  readonly index: number;
  readonly act: Act | undefined;
  readonly failure: Failure;
}

function advanced(
  turn: Turn,
  result: { index: number; entry: Running; advance: Advance; failure: Failure },
): StagedState {
  const { index, entry, advance, failure } = result;
  switch (advance.type) {
    case 'ignored':
      return turn.state;
    case 'noted':
    case 'backing_off':
    case 'commanded':
      return withStep(turn.state, index, { ...entry, act: advance.act });
    case 'answered':
    case 'exhausted':
      return failStep(turn, { index, act: advance.act, failure });
  }
}

/**
 * An act has settled without success. Before the point of no return that is a `no`, except for a pivot that may have
 * run: nobody knows on which side of that point the saga is. After it only a person can help.
 */
export function failStep(turn: Turn, settled: Settled): StagedState {
  const { facts, state, mark } = turn;
  const { index, act, failure } = settled;
  const entry = at(state.steps, index);
  const left = 'earlier' in entry ? entry : { earlier: NO_ACTS };
  switch (state.phase) {
    case 'forward': {
      const unknown = index === facts.plan.pivot && act !== undefined && !knownNotToHaveRun(act);
      if (unknown) return withStep(state, index, stuck(left, act, itemOf(mark.at, settled, true)));
      const cause = state.latched ?? {
        status: 'compensated',
        ...failure,
        step: at(facts.plan.steps, index).step,
      };
      return goBack(state.steps.with(index, failed(left, act)), cause);
    }
    case 'committed':
      return withStep(state, index, stuck(left, act, itemOf(mark.at, settled, false)));
    case 'backward':
      return withStep(state, index, failed(left, act));
    case 'ended':
      return state;
  }
}

const stuck = ({ earlier, output }: Passed, act: Act | undefined, item: Item): StepState => ({
  status: 'stuck',
  item,
  act,
  earlier,
  output,
});

/** What a person is told; for the pivot that its fate is unknown, with the reason behind it as the message. */
function itemOf(raised: string, { failure }: Settled, unknown: boolean): Item {
  if (!unknown) return { raised, ...failure };
  return { raised, code: 'unknown', message: failure.message ?? failure.code };
}
