/** What a saga remembers: plain data by step index, replaced and never mutated (M2). */
import { invariant } from '../../kernel/assert.ts';
import type { Json } from '../../kernel/json.ts';
import type { Position } from '../../kernel/position.ts';
import { knownNotToHaveRun, settle, type Act } from '../act.ts';
import type { CompiledStep, Policy } from '../compiled-plan.ts';
import type { Mark, OutcomeBody, RunFacts } from '../machine.ts';
import { resolveInput, type ResolvedInput } from '../inputs.ts';

export interface Due {
  readonly armed: Position;
  readonly dueMs: number;
}

/** Why a saga goes back: the first cause, and how the run will have ended. */
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

/** A compensate that was commanded, and what is known of the act it undoes. */
export interface Undo {
  readonly act: Act;
  readonly command: Act;
  /** What the current command says: whether the act is known to have run, and its output. */
  readonly ran: boolean;
  readonly output?: Json | undefined;
  /** Learned since the current command was sent: the act has run. */
  readonly learned?: { readonly output?: Json | undefined } | undefined;
  /** Answers of earlier attempts do not count: the act took effect after them. */
  readonly from: number;
  /** Attempts of the act whose late effect has been counted. */
  readonly late?: readonly number[] | undefined;
  readonly deadline?: Due | undefined;
  /** An operator's, from a retried item. */
  readonly policy?: Partial<Policy> | undefined;
}

export interface Running {
  readonly status: 'running';
  readonly act: Act;
  readonly deadline?: Due | undefined;
  /** An operator's, from a retried item. */
  readonly policy?: Partial<Policy> | undefined;
}

/** Execute in attention: the pivot when nobody knows, a retriable step that did not succeed. */
export interface Stuck {
  readonly status: 'stuck';
  readonly item: Item;
  /** Undefined when the step could not even be commanded. */
  readonly act?: Act | undefined;
}

export type SagaStep =
  | { readonly status: 'waiting' }
  | Running
  | {
      readonly status: 'done';
      /** Undefined when an operator resolved a step that could not be commanded. */
      readonly act?: Act | undefined;
      readonly output?: Json | undefined;
      readonly readOnly: boolean;
    }
  /** Settled without success; may have run unless its act is known not to have. */
  | { readonly status: 'failed'; readonly act?: Act | undefined }
  | Stuck
  | { readonly status: 'undoing'; readonly undo: Undo }
  | { readonly status: 'undo_stuck'; readonly undo: Undo; readonly item: Item }
  | { readonly status: 'undone'; readonly undo: Undo }
  /** By an operator. */
  | {
      readonly status: 'skipped';
      readonly phase: 'execute' | 'compensate';
      readonly output?: Json | undefined;
      /** Kept while a report that the act did run would be a contradiction. */
      readonly act?: Act | undefined;
    };

interface WithSteps {
  readonly steps: readonly SagaStep[];
}
/** Before the point of no return. */
export interface Forward extends WithSteps {
  readonly phase: 'forward';
  readonly deadline?: Due | undefined;
  /** Takes effect if the outstanding pivot turns out not to have run. */
  readonly latched?: Cause | undefined;
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
export type SagaState = Forward | Committed | Backward | Ended;

/** One event applied to one state. */
export interface Turn {
  readonly facts: RunFacts;
  readonly state: SagaState;
  readonly mark: Mark;
}

/** An index that the plan vouches for. */
export function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  invariant(item !== undefined, `no step ${index}`);
  return item;
}

export function withStep<S extends SagaState>(state: S, index: number, step: SagaStep): S {
  const steps = state.steps.slice();
  steps[index] = step;
  return { ...state, steps };
}

/** The act was settled without success and may have left something behind. */
export const mayHaveRun = (step: SagaStep): boolean =>
  step.status === 'failed' && step.act !== undefined && !knownNotToHaveRun(step.act);

/** Nothing of this step is under way and nothing is owed to it any more, as far as going back is concerned. */
export function isSettledBackward(step: SagaStep): boolean {
  switch (step.status) {
    case 'waiting':
    case 'undone':
    case 'skipped':
      return true;
    case 'done':
      return step.readOnly;
    case 'failed':
      return !mayHaveRun(step);
    case 'running':
    case 'stuck':
    case 'undoing':
    case 'undo_stuck':
      return false;
  }
}

export const succeeded = (step: SagaStep): boolean => step.status === 'done' || step.status === 'skipped';

/** Some attempt or back-off is under way: the run moves without a person. */
export const isMoving = (state: SagaState): boolean =>
  state.phase !== 'ended' && state.steps.some(({ status }) => status === 'running' || status === 'undoing');

/**
 * Begins to go back. What is in flight settles by its report or its current attempt's deadline; what was backing off
 * has nothing in flight and settles at once.
 */
export function goBack(steps: readonly SagaStep[], cause: Cause): Backward {
  return {
    phase: 'backward',
    cause,
    steps: steps.map((step) =>
      step.status === 'running' && step.act.status === 'backing_off'
        ? { status: 'failed', act: settle(step.act) }
        : step,
    ),
  };
}

/** A step's output as far as it is known. */
export function outputOf(step: SagaStep): Json | undefined {
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
  steps: readonly SagaStep[],
  step: CompiledStep,
): ResolvedInput | undefined {
  if (step.input === undefined) return undefined;
  if (!step.pointed) return { ok: true, value: step.input };
  return resolveInput(step.input, (name) => {
    const index = facts.plan.indexOf.get(name);
    return index === undefined ? undefined : outputOf(at(steps, index));
  });
}
