/** The forward half: what reports and deadlines do to an execute, before and after the point of no return. */
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
import { isDue, type Report } from '../machine.ts';
import { failureOf, isPositive, OVERDUE, understood, type Failure } from './answers.ts';
import { lateExecute } from './late.ts';
import {
  at,
  goBack,
  inputOf,
  withStep,
  type Due,
  type Item,
  type Running,
  type SagaState,
  type Turn,
} from './state.ts';

/** Commands a waiting step for the first time; a step whose input cannot be made fails without an act. */
export function startStep(turn: Turn, index: number): SagaState {
  const { facts, state, mark } = turn;
  const step = at(facts.plan.steps, index);
  const input = inputOf(facts, state.steps, step);
  if (input?.ok === false) return failStep(turn, { index, act: undefined, failure: input.problem });
  const act = startAct({ phase: 'execute', mark, policy: step.retry });
  const bounds = step.deadline ?? facts.plan.deadlines.execute;
  if (bounds === undefined) return withStep(state, index, { status: 'running', act });
  const deadline: Due = { armed: mark.at, dueMs: mark.time + bounds.lowerMs };
  return withStep(state, index, { status: 'running', act, deadline });
}

export function executeReported(turn: Turn, index: number, report: Report): SagaState {
  const { state } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'running') return lateExecute(turn, index, report);
  const advance = reportAct(
    entry.act,
    understood(report, entry.act, state.phase),
    contextOf(turn, index, entry),
  );
  if (advance.type === 'answered' && isPositive(report)) {
    const readOnly = report.answer === 'read-only';
    const { output } = report;
    return withStep(state, index, { status: 'done', act: advance.act, output, readOnly });
  }
  return advanced(turn, { index, entry, advance, failure: failureOf(report) });
}

/** An `attempt`, `backoff` or `step` deadline of an execute. */
export function executeDeadline(
  turn: Turn,
  index: number,
  event: { readonly kind: string; readonly attempt?: number; readonly armed: string },
): SagaState {
  const { state, mark } = turn;
  const entry = at(state.steps, index);
  if (entry.status !== 'running') return state;
  if (event.kind === 'step') {
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
  return { mark: turn.mark, policy, seed: seedOf(turn.facts, step) };
}

/** Going back no act gets another attempt: it settles at its next failure. */
function policyOf(step: CompiledStep, entry: Running, state: SagaState): Policy {
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
): SagaState {
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
export function failStep(turn: Turn, settled: Settled): SagaState {
  const { facts, state, mark } = turn;
  const { index, act, failure } = settled;
  const failed = { status: 'failed', act } as const;
  switch (state.phase) {
    case 'forward': {
      const unknown = index === facts.plan.pivot && act !== undefined && !knownNotToHaveRun(act);
      if (unknown)
        return withStep(state, index, { status: 'stuck', act, item: itemOf(mark.at, settled, true) });
      const cause = state.latched ?? {
        status: 'compensated',
        ...failure,
        step: at(facts.plan.steps, index).step,
      };
      return goBack(state.steps.with(index, failed), cause);
    }
    case 'committed':
      return withStep(state, index, { status: 'stuck', act, item: itemOf(mark.at, settled, false) });
    case 'backward':
      return withStep(state, index, failed);
    case 'ended':
      return state;
  }
}

/** What a person is told; for the pivot that its fate is unknown, with the reason behind it as the message. */
function itemOf(raised: string, { failure }: Settled, unknown: boolean): Item {
  if (!unknown) return { raised, ...failure };
  return { raised, code: 'unknown', message: failure.message ?? failure.code };
}
