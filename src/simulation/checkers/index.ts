/** Every invariant that a seed is judged by. */
import * as barriers from './barrier.ts';
import * as decisions from './decisions.ts';
import * as effects from './effects.ts';
import type { Checker, Evidence, Verdict } from './evidence.ts';
import { nameOf } from './history.ts';

export type { Book, Operation } from './book.ts';
export type { Evidence, Told, Verdict, Violation } from './evidence.ts';

export const CHECKERS: Readonly<Record<string, Checker>> = {
  'one-decision': decisions.oneDecision,
  'one-run': decisions.oneRun,
  validity: decisions.validity,
  agreement: decisions.agreement,
  'no-lost-acknowledgement': decisions.noLostAcknowledgement,
  'told-truly': decisions.toldTruly,
  liveness: decisions.liveness,
  'bounded-memory': decisions.boundedMemory,
  readable: decisions.readable,
  books: decisions.books,
  'atomic-effects': effects.atomicEffects,
  conservation: effects.conservation,
  'undo-order': effects.undoOrder,
  'execute-gate': effects.executeGate,
  'never-lost': effects.neverLost,
  'hand-over': effects.handOver,
  nested: effects.nested,
};

/** What a `kv` barrier promises. */
export const BARRIER_CHECKERS: Readonly<Record<string, Checker>> = {
  'barrier-records': barriers.records,
  'barrier-takeovers': barriers.takeovers,
  'barrier-executions': barriers.executions,
  'effects-once': barriers.effectsOnce,
  'late-effects': barriers.lateEffects,
};

export function judge(evidence: Evidence): Verdict {
  return {
    violations: Object.entries({ ...CHECKERS, ...BARRIER_CHECKERS }).flatMap(([checker, check]) =>
      check(evidence).map((what) => ({ checker, what })),
    ),
    expectedSplits: decisions
      .splits(evidence)
      .filter((run) => decisions.isExpectedSplit(evidence, run))
      .map(nameOf),
  };
}
