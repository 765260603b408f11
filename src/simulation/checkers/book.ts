/** A participant's database as the checkers read it: what every operation did to its balance, and when. */
import type { Json } from '../../kernel/json.ts';
import type { Pattern, Phase } from '../../kernel/vocabulary.ts';

export type Change =
  /** Set aside; a debit leaves the balance at once. */
  | 'hold'
  | 'apply'
  /** An applied effect was taken back. */
  | 'revert'
  /** What was held was given back. */
  | 'drop'
  /** An undo came before its act. */
  | 'tombstone'
  | 'confirm'
  /** What had been done before: a handler that trusts its barrier does it once more. */
  | 'again'
  /** The act of such a handler after its undo. */
  | 'late'
  | 'none';

export interface Entry {
  readonly atMs: number;
  readonly phase: Phase;
  readonly attempt: number;
  readonly change: Change;
}

/** One step of one run: everything is keyed by its operation id, in one transaction with the effect. */
export interface Operation {
  readonly id: string;
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: string;
  readonly step: string;
  readonly input: Json;
  state: 'new' | 'held' | 'applied' | 'over';
  readonly amount: number;
  expiresAtMs: number | undefined;
  readonly entries: Entry[];
  /** Executions by phase, also those that changed nothing. */
  readonly calls: Map<Phase, number>;
}

export interface Book {
  readonly start: number;
  balance: number;
  readonly operations: Map<string, Operation>;
  /** What a correct coordinator never asks of a participant. */
  readonly anomalies: string[];
}

export const newBook = (start: number): Book => ({
  start,
  balance: start,
  operations: new Map(),
  anomalies: [],
});

/** What an operation has taken from the balance or added to it. */
export const contribution = ({ state, amount }: Operation): number =>
  state === 'applied' ? amount : state === 'held' ? Math.min(amount, 0) : 0;
