/** Every invariant that a seed is judged by. */
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

export function judge(evidence: Evidence): Verdict {
  return {
    violations: Object.entries(CHECKERS).flatMap(([checker, check]) =>
      check(evidence).map((what) => ({ checker, what })),
    ),
    expectedSplits: decisions
      .splits(evidence)
      .filter((run) => decisions.isExpectedSplit(evidence, run))
      .map(nameOf),
  };
}
