/** What makes one staged pattern differ from another; all else is shared. */
import type { DeadlineKind, Pattern, Phase } from '../../kernel/vocabulary.ts';
import type { CompiledPlan } from '../compiled-plan.ts';
import type { Mark, RunFacts } from '../machine.ts';
import type { Forward, GateState, StagedState } from './state.ts';

export interface Shape {
  readonly pattern: Pattern;
  /** Undoes a step that holds something although no execute of it can have run. */
  readonly drop: Phase;
  /** How the deadline of an act is told from others when its step has none of its own. */
  readonly actDeadline: DeadlineKind & ('step' | 'phase');
  /** Where a gate stands before anything has happened. */
  gateOf(plan: CompiledPlan): GateState | undefined;
  /** What a state before the point of no return implies: acts that start, the point of no return itself. */
  forward(turn: Turn, state: Forward): StagedState;
  /** The steps that must be settled and undone just before this one may be undone. */
  undoneBefore(plan: CompiledPlan, index: number): readonly number[];
  /** Whether an undo in attention lets those wait no longer that come after it. */
  readonly passesStuck: boolean;
}

/** One event applied to one state of a run of one pattern. */
export interface Turn {
  readonly shape: Shape;
  readonly facts: RunFacts;
  readonly state: StagedState;
  readonly mark: Mark;
}
