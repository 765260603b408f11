/** A plan after validation: ids filled in, graph resolved, every default explicit. Made by `compilePlan` only. */
import type { Json } from '../kernel/json.ts';
import type { Pattern, Phase, StepKind } from '../kernel/vocabulary.ts';
import type { Plan } from './envelopes.ts';

/** Every field explicit; milliseconds. `maxAttempts` is Infinity where a phase never stops (2PC commit). */
export interface Policy {
  readonly maxAttempts: number;
  readonly initialMs: number;
  readonly factor: number;
  readonly maxMs: number;
  readonly attemptMs: number;
}

export interface Bounds {
  readonly lowerMs: number;
  readonly upperMs: number;
}

/** Another transaction that stands for a step, or follows a run. */
export interface ChildSpec {
  readonly pattern: Pattern;
  readonly plan: Plan;
}

export interface CompiledStep {
  readonly index: number;
  readonly step: string;
  /** `coordinator` where a child stands for the step: its coordinator reports. */
  readonly participant: string;
  readonly action: string;
  readonly input?: Json | undefined;
  /** Whether `input` points into outputs of other steps and must be resolved before sending. */
  readonly pointed: boolean;
  readonly kind: StepKind;
  /** Indices of direct dependencies, ascending. */
  readonly after: readonly number[];
  /** Indices of direct dependents, ascending. */
  readonly dependents: readonly number[];
  /** Policy of the phases before the point of no return, and of execute in a retriable step. */
  readonly retry: Policy;
  /** Policy of phases that must finish: abort, compensate, cancel, release, confirm. */
  readonly undoRetry: Policy;
  /** Policy of commit: times from `undoRetry` of the plan, but `maxAttempts` is always Infinity (it never stops). */
  readonly commitRetry: Policy;
  /**
   * From the step's first command to its last answer, before the point of no return. In 2PS and 3PS it bounds each
   * phase of the step, in place of the phase's own deadline: a gate between them may take as long as it likes.
   */
  readonly deadline?: Bounds | undefined;
  /** Begun in place of a command to execute. */
  readonly child?: ChildSpec | undefined;
  /** Begun in place of a command to compensate. */
  readonly undoChild?: ChildSpec | undefined;
}

/** Opens when its signal has come with `approve` (if it names one) and its delay has passed (if it has one). */
export interface Gate {
  readonly signal?: string | undefined;
  readonly delayMs?: number | undefined;
}

export interface CompiledPlan {
  readonly pattern: Pattern;
  readonly name: string;
  readonly steps: readonly CompiledStep[];
  readonly indexOf: ReadonlyMap<string, number>;
  /** Deadline of each phase that has one (pattern defaults merged in), and of the whole run. */
  readonly deadlines: Readonly<Partial<Record<Phase | 'run', Bounds>>>;
  /** 2PS-OV: what stands between prepare and verify. Without a gate nothing is verified. */
  readonly gate?: Gate | undefined;
  /** 1.5PS: the 0.5PS that follows once the critical steps have succeeded. */
  readonly eventual?: ChildSpec | undefined;
  /** Index of the pivot in a saga that has one. */
  readonly pivot?: number | undefined;
}

/** Where a plan is wrong: `field` is a path such as `steps[2].after[0]`. */
export interface PlanProblem {
  readonly field: string;
  readonly problem: string;
}

export type Compiled =
  { readonly ok: true; readonly plan: CompiledPlan } | { readonly ok: false; readonly problem: PlanProblem };
