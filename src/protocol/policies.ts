/** Default retry policies and deadlines of each pattern. Part of the machines of version 1: constants, never options. */
import type { Pattern, Phase } from '../kernel/vocabulary.ts';
import type { Bounds, Policy } from './compiled-plan.ts';
import type { RetryPolicy } from './envelopes.ts';

/** Open phases (prepare, execute and the like): 3 attempts of 30 s; waits of 100 ms, doubling, at most 10 s. */
export const OPEN_POLICY: Policy = {
  maxAttempts: 3,
  initialMs: 100,
  factor: 2,
  maxMs: 10_000,
  attemptMs: 30_000,
};

/** Commit of 2PC: never stops; attempts of 10 s; waits of 200 ms, doubling, at most 30 s. */
export const COMMIT_POLICY: Policy = {
  maxAttempts: Infinity,
  initialMs: 200,
  factor: 2,
  maxMs: 30_000,
  attemptMs: 10_000,
};

/**
 * Abort of 2PC: 5 attempts of 3 s, then attention; waits of 200 ms, doubling, at most 30 s. Short, because only then does
 * a caller hear of an abort that a participant never answers; presumed abort loses nothing by it.
 */
export const ABORT_POLICY: Policy = {
  maxAttempts: 5,
  initialMs: 200,
  factor: 2,
  maxMs: 30_000,
  attemptMs: 3_000,
};

/**
 * Undos of saga, 2PS and 3PS, execute of retriable steps, and 0.5PS: 20 attempts of 30 s; waits of 200 ms, doubling, at
 * most 60 s.
 */
export const MUST_FINISH_POLICY: Policy = {
  maxAttempts: 20,
  initialMs: 200,
  factor: 2,
  maxMs: 60_000,
  attemptMs: 30_000,
};

const DEADLINE_PHASES = {
  '2pc': ['prepare', 'commit', 'commit-one-phase', 'abort'],
  '3pc': ['prepare', 'precommit', 'commit', 'abort'],
  saga: ['execute', 'compensate'],
  '2ps': ['prepare', 'verify', 'execute', 'cancel', 'compensate'],
  '3ps': ['reserve', 'validate', 'execute', 'release', 'compensate'],
  eventual: ['execute', 'confirm'],
} as const satisfies Readonly<Record<Pattern, readonly Phase[]>>;
export type PatternPhase<P extends Pattern> = (typeof DEADLINE_PHASES)[P][number];

/** Attempts of a step that is a child have no end of their own: the child's report ends them, however long it takes. */
export const waitsForChild = (policy: Policy): Policy => ({ ...policy, attemptMs: Infinity });

/** `undoChild`: as other undos, with attempts of 15 min, for as long as most children take to end. */
export const CHILD_UNDO_POLICY: Policy = { ...MUST_FINISH_POLICY, attemptMs: 900_000 };

/** Phases that a plan of the pattern can bound by `deadlines`, besides `run`. */
export const PATTERN_PHASES: Readonly<Record<Pattern, readonly Phase[]>> = DEADLINE_PHASES;

export type PatternField = 'kind' | 'after' | 'child' | 'undoChild' | 'gate' | 'eventual';

/** Parts of a plan that only some patterns have. */
export const PATTERN_FIELDS: Readonly<Record<Pattern, readonly PatternField[]>> = {
  '2pc': [],
  '3pc': [],
  saga: ['kind', 'after', 'child', 'undoChild'],
  '2ps': ['gate', 'eventual'],
  '3ps': [],
  eventual: [],
};

const exactly = (ms: number): Bounds => ({ lowerMs: ms, upperMs: ms });
const MINUTE = 60_000;

/**
 * 2PC: prepare 30 s, then abort; commit and commit-one-phase 5 s, then in doubt with attention. 3PC: the same, and
 * precommit 5 s, then commit. 2PS: prepare 5 min, verify 1 min, execute 2 min. 3PS: reserve 10 min, validate 1 min,
 * execute 2 min. Saga and 0.5PS: none.
 */
export const DEFAULT_DEADLINES: Readonly<Record<Pattern, Readonly<Partial<Record<Phase | 'run', Bounds>>>>> =
  {
    '2pc': { prepare: exactly(30_000), commit: exactly(5_000), 'commit-one-phase': exactly(5_000) },
    '3pc': { prepare: exactly(30_000), precommit: exactly(5_000), commit: exactly(5_000) },
    saga: {},
    '2ps': { prepare: exactly(5 * MINUTE), verify: exactly(MINUTE), execute: exactly(2 * MINUTE) },
    '3ps': { reserve: exactly(10 * MINUTE), validate: exactly(MINUTE), execute: exactly(2 * MINUTE) },
    eventual: {},
  };

/** `overrides` in rising precedence (plan, then step), field by field; `base` itself when there is none. */
export function overridePolicy(base: Policy, ...overrides: readonly (RetryPolicy | undefined)[]): Policy {
  let policy = base;
  for (const override of overrides) {
    if (override === undefined) continue;
    policy = {
      maxAttempts: override.maxAttempts ?? policy.maxAttempts,
      initialMs: override.initial ?? policy.initialMs,
      factor: override.factor ?? policy.factor,
      maxMs: override.max ?? policy.maxMs,
      attemptMs: override.attempt ?? policy.attemptMs,
    };
  }
  return policy;
}
