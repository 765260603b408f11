/** What a staged run remembers: plain data by step index, replaced and never mutated (M2). */
import { invariant } from '../../kernel/assert.ts';
import type { Json } from '../../kernel/json.ts';
import type { Position } from '../../kernel/position.ts';
import type { Phase } from '../../kernel/vocabulary.ts';
import { knownNotToHaveRun, settle, type Act } from '../act.ts';
import type { CompiledPlan, CompiledStep, Policy } from '../compiled-plan.ts';
import type { OutcomeBody, RunFacts } from '../machine.ts';
import { resolveInput, type ResolvedInput } from '../inputs.ts';

export interface Due {
  readonly armed: Position;
  readonly dueMs: number;
}

/** Why a run goes back: the first cause, and how it will have ended. */
export interface Cause {
  readonly status: 'compensated' | 'cancelled';
  readonly code: string;
  readonly message?: string | undefined;
  readonly step?: string | undefined;
}

export interface Item {
  readonly raised: Position;
  readonly code: string;
  readonly message?: string | undefined;
}

/** What a step's settled acts of earlier stages left. One shape for all entries: most of them change twice a stage. */
export interface Passed {
  /** Acts of the stages it has passed, in order: it holds what they reported. */
  readonly earlier: readonly Act[];
  /** The last output that any of its stages reported. */
  readonly output?: Json | undefined;
}

/** An undo that was commanded, and what is known of the act it undoes. */
export interface Undo {
  /** The last act commanded to the step, and those before it. */
  readonly act: Act;
  readonly earlier: readonly Act[];
  readonly command: Act;
  /** As of the current command: whether the last act is known to have run, and the step's last output. */
  readonly ran: boolean;
  readonly output?: Json | undefined;
  /** Learned since the current command was sent: the last act has run. */
  readonly learned?: { readonly output?: Json | undefined } | undefined;
  /** An execute that was known not to have run has run: what undoes the step leaves it. */
  readonly contradicted?: true | undefined;
  readonly deadline?: Due | undefined;
  /** An operator's, from a retried item. */
  readonly policy?: Partial<Policy> | undefined;
}

export interface Running extends Passed {
  readonly status: 'running';
  readonly act: Act;
  readonly deadline?: Due | undefined;
  /** End of its reservation (3PS). */
  readonly expires?: Due | undefined;
  /** An operator's, from a retried item. */
  readonly policy?: Partial<Policy> | undefined;
}

/** Has passed a stage, maybe not the last one. */
export interface Done extends Passed {
  readonly status: 'done';
  /** Undefined when an operator resolved a step that could not be commanded. */
  readonly act?: Act | undefined;
  /**
   * Answered so in its first stage: it has no part in the stages to come, and is undone only for attempts that were not
   * answered so.
   */
  readonly readOnly: boolean;
  readonly expires?: Due | undefined;
}

/** Settled without success; may have run unless its act is known not to have. */
export interface Failed extends Passed {
  readonly status: 'failed';
  readonly act?: Act | undefined;
}

/** In attention: a pivot when nobody knows, a retriable step that did not succeed. */
export interface Stuck extends Passed {
  readonly status: 'stuck';
  readonly item: Item;
  /** Undefined when the step could not even be commanded. */
  readonly act?: Act | undefined;
}

/** By an operator. */
export interface Skipped {
  readonly status: 'skipped';
  readonly phase: Phase;
  readonly output?: Json | undefined;
  /** Kept while a report that the act did run would be a contradiction. */
  readonly act?: Act | undefined;
  /** A skipped undo, which an effect after it brings back to attention. */
  readonly undo?: Undo | undefined;
}

export type StepState =
  | { readonly status: 'waiting' }
  | Running
  | Done
  | Failed
  | Stuck
  | { readonly status: 'undoing'; readonly undo: Undo }
  | { readonly status: 'undo_stuck'; readonly undo: Undo; readonly item: Item }
  | { readonly status: 'undone'; readonly undo: Undo }
  | Skipped;

interface WithSteps {
  readonly steps: readonly StepState[];
}

/** 2PS-OV. */
export interface GateState {
  readonly status: 'ahead' | 'waiting' | 'open';
  /** The signal has come: it is latched, also before the gate is reached. */
  readonly approved: boolean;
  /** Its delay, while that runs. */
  readonly due?: Due | undefined;
}

/** Before the point of no return. */
export interface Forward extends WithSteps {
  readonly phase: 'forward';
  readonly deadline?: Due | undefined;
  /** Saga: takes effect if the outstanding pivot turns out not to have run. */
  readonly latched?: Cause | undefined;
  readonly gate?: GateState | undefined;
}
/** Past the point of no return. */
export interface Committed extends WithSteps {
  readonly phase: 'committed';
  readonly deadline?: Due | undefined;
}
export interface Backward extends WithSteps {
  readonly phase: 'backward';
  readonly cause: Cause;
}
export interface Ended extends WithSteps {
  readonly phase: 'ended';
  readonly outcome: OutcomeBody;
}
export type StagedState = Forward | Committed | Backward | Ended;

export const NO_ACTS: readonly Act[] = [];

/** An index that the plan vouches for. */
export function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  invariant(item !== undefined, `no step ${index}`);
  return item;
}

export function withStep<S extends StagedState>(state: S, index: number, step: StepState): S {
  const steps = state.steps.slice();
  steps[index] = step;
  return { ...state, steps };
}

/** It holds something, or may: what has settled of it must be undone. */
export function owesUndo(step: StepState): step is Done | Failed {
  if (step.status === 'done')
    return !step.readOnly || (step.act !== undefined && !knownNotToHaveRun(step.act));
  if (step.status !== 'failed' || step.act === undefined) return false;
  return step.earlier.length > 0 || !knownNotToHaveRun(step.act);
}

/** Nothing of this step is under way and nothing is owed to it any more, as far as going back is concerned. */
export function isSettledBackward(step: StepState): boolean {
  switch (step.status) {
    case 'waiting':
    case 'undone':
    case 'skipped':
      return true;
    case 'done':
    case 'failed':
      return !owesUndo(step);
    case 'running':
    case 'stuck':
    case 'undoing':
    case 'undo_stuck':
      return false;
  }
}

/** Undone in reverse order of the plan, one after the other. */
export const reversed = (plan: CompiledPlan, index: number): readonly number[] =>
  index + 1 < plan.steps.length ? [index + 1] : NO_STEPS;

const NO_STEPS: readonly number[] = [];

/** It has done its part: all its stages, the saga's only one being execute, or none after read-only. */
export const succeeded = (step: StepState): boolean =>
  step.status === 'skipped' ||
  (step.status === 'done' && (step.readOnly || step.act === undefined || step.act.phase === 'execute'));

/** Some attempt or back-off is under way: the run moves without a person. */
export const isMoving = (state: StagedState): boolean =>
  state.phase !== 'ended' && state.steps.some(({ status }) => status === 'running' || status === 'undoing');

/**
 * Begins to go back. What is in flight settles by its report or its current attempt's deadline; what was backing off
 * has nothing in flight and settles at once.
 */
export function goBack(steps: readonly StepState[], cause: Cause): Backward {
  return {
    phase: 'backward',
    cause,
    steps: steps.map((step) =>
      step.status === 'running' && step.act.status === 'backing_off' ? failed(step, settle(step.act)) : step,
    ),
  };
}

export const failed = ({ earlier, output }: Passed, act: Act | undefined): Failed => ({
  status: 'failed',
  act,
  earlier,
  output,
});

/** A step's output as far as it is known. */
export function outputOf(step: StepState): Json | undefined {
  switch (step.status) {
    case 'done':
    case 'skipped':
      return step.output;
    case 'undoing':
    case 'undo_stuck':
    case 'undone':
      return step.undo.learned?.output ?? step.undo.output;
    default:
      return undefined;
  }
}

/** The input to send, made again for every command: outputs of dependencies never change once they are known. */
export function inputOf(
  facts: RunFacts,
  steps: readonly StepState[],
  step: CompiledStep,
): ResolvedInput | undefined {
  if (step.input === undefined) return undefined;
  if (!step.pointed) return { ok: true, value: step.input };
  return resolveInput(step.input, (name) => {
    const index = facts.plan.indexOf.get(name);
    return index === undefined ? undefined : outputOf(at(steps, index));
  });
}
