/** What a run of 2PC or 3PC knows, and the small steps that every part of the two machines shares. */
import type { Json } from '../../kernel/json.ts';
import type { Position } from '../../kernel/position.ts';
import type { Phase, Status } from '../../kernel/vocabulary.ts';
import { commandOf, seedOf, type Act, type ActContext } from '../act.ts';
import type { Bounds, CompiledStep, Policy } from '../compiled-plan.ts';
import type { AttentionItem, CommandEffect, Effect, Mark, OutcomeBody, RunFacts, Step } from '../machine.ts';

/** The deadline of a phase or of the run. */
export interface Alarm {
  readonly armed: Position;
  readonly dueMs: number;
}

/** What one step said to prepare (or, alone in its run, to commit-one-phase). */
export interface Vote {
  readonly status: 'waiting' | 'yes' | 'read_only' | 'no';
  readonly act: Act;
  /** Attempts known to have run, each counted once: another one after the abort commands the abort again. */
  readonly ran: readonly number[];
  /** The step's last output, of any phase. */
  readonly output?: Json;
  /** It said so of its effect: an end of its own (3PC) may have come before that. */
  readonly late?: true;
}

/** One step from the decision on (or in commit-one-phase). */
export interface Leg {
  /**
   * spared: nothing was commanded (read-only, or known not to have run); acting: not answered, retries go on;
   * attention: answered or given up in a way that a person must judge; failed, skipped: judged by a person;
   * terminated: ended on its own as was decided (3PC), nothing more is commanded.
   */
  readonly status: 'spared' | 'acting' | 'acknowledged' | 'attention' | 'failed' | 'skipped' | 'terminated';
  readonly vote: Vote;
  /** The act of this phase; in a spared leg that of its vote. */
  readonly act: Act;
  /** Open item: always in `attention`, possibly (in doubt, overdue, contradicting) while `acting`. */
  readonly item: AttentionItem | null;
  /** An operator's, for the attempts from its retry on. */
  readonly policy: Partial<Policy> | null;
}

/** First cause of anything but success. */
export interface Cause {
  readonly status: 'aborted' | 'cancelled';
  readonly code: string;
  readonly message?: string;
  readonly step?: string;
}

export interface Preparing {
  readonly phase: 'preparing';
  /** Arms the deadlines of the phase, of every step and of the run. */
  readonly begun: Mark;
  readonly votes: readonly Vote[];
  readonly missing: number;
}

export interface Finishing {
  /** `precommitting`: 3PC only; `committing_one_phase`: 2PC only. */
  readonly phase: 'precommitting' | 'committing' | 'aborting' | 'committing_one_phase';
  readonly begun: Mark;
  readonly legs: readonly Leg[];
  /** Legs `acting`. */
  readonly missing: number;
  readonly phaseAlarm: Alarm | null;
  readonly runAlarm: Alarm | null;
  readonly cause: Cause | null;
  /** Some participant did, or says it did, the opposite of the decision: never forgotten. */
  readonly mixed: boolean;
  /** An operator skipped an item: nobody knows whether that step followed the decision. */
  readonly skipped: boolean;
}

export interface Ended {
  readonly phase: 'ended';
  readonly status: Status;
  readonly last: Preparing | Finishing;
}

export type TwoPhaseCommitState = Preparing | Finishing | Ended;
export type TwoPhaseCommitStep = Step<TwoPhaseCommitState>;

/** One event met by a run after its decision. */
export interface Turn {
  readonly facts: RunFacts;
  readonly state: Finishing;
  readonly mark: Mark;
}

/** Without the fields that say nothing: states are plain JSON (M2). */
export function causeOf(
  status: Cause['status'],
  why: {
    readonly code: string;
    readonly message?: string | undefined;
    readonly step?: string | undefined;
  },
): Cause {
  return {
    status,
    code: why.code,
    ...(why.message === undefined ? {} : { message: why.message }),
    ...(why.step === undefined ? {} : { step: why.step }),
  };
}

export const NO_ATTEMPTS: readonly number[] = [];
const PHASES = {
  precommitting: 'precommit',
  committing: 'commit',
  aborting: 'abort',
  committing_one_phase: 'commit-one-phase',
} as const;
export const phaseOf = (state: Finishing): Phase => PHASES[state.phase];

export function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) throw new RangeError(`no step ${index}`);
  return item;
}

export function replaced<T>(items: readonly T[], index: number, item: T): readonly T[] {
  const copy = items.slice();
  copy[index] = item;
  return copy;
}

export const alarmOf = (bounds: Bounds | undefined, mark: Mark): Alarm | null =>
  bounds === undefined ? null : { armed: mark.at, dueMs: mark.time + bounds.lowerMs };

export const stepAlarm = (begun: Mark, step: CompiledStep): Alarm | null => alarmOf(step.deadline, begun);

/** Appends the hint when something was armed. */
export function arm(effects: Effect[], dueMs: number): void {
  if (dueMs !== Infinity) effects.push({ type: 'arm', dueMs });
}
export const dueOf = (timer: { readonly dueMs: number } | null | undefined): number =>
  timer?.dueMs ?? Infinity;

/** Precommit and commit never stop, whatever an operator's policy says. */
export function policyOf(step: CompiledStep, phase: Phase, override: Partial<Policy> | null): Policy {
  const finishes = phase === 'commit' || phase === 'precommit';
  const base = finishes ? step.commitRetry : phase === 'abort' ? step.undoRetry : step.retry;
  if (override === null) return base;
  const policy = { ...base, ...override };
  return finishes ? { ...policy, maxAttempts: Infinity } : policy;
}

export function contextOf(
  turn: { readonly facts: RunFacts; readonly mark: Mark },
  index: number,
  leg: Leg,
): ActContext {
  const step = at(turn.facts.plan.steps, index);
  return {
    mark: turn.mark,
    policy: policyOf(step, leg.act.phase, leg.policy),
    seed: seedOf(turn.facts, step),
  };
}

/** The command of an act's current attempt, with what that phase carries. */
export function commandFor(step: CompiledStep, act: Act, vote: Vote): CommandEffect {
  switch (act.phase) {
    case 'precommit':
    case 'commit':
      return commandOf(step, act, { output: vote.output });
    case 'abort':
      return commandOf(step, act, { input: step.input, output: vote.output, ran: vote.ran.length > 0 });
    default:
      return commandOf(step, act, { input: step.input });
  }
}

/** A state after one leg changed; `missing` counts the legs acting. */
export function withLeg(state: Finishing, index: number, leg: Leg): Finishing {
  const before = at(state.legs, index);
  const missing = state.missing + Number(leg.status === 'acting') - Number(before.status === 'acting');
  return { ...state, legs: replaced(state.legs, index, leg), missing };
}

export const withOutput = (vote: Vote, output: Json | undefined): Vote =>
  output === undefined ? vote : { ...vote, output };

/** Whether an item says that a participant went against the decision; only an operator settles such an item. */
export function isContradiction(state: Finishing, code: string): boolean {
  if (code === 'heuristic' || code === 'terminated') return true;
  return code === 'conflict' && state.phase !== 'committing_one_phase';
}

export const contradicted = (state: Finishing, leg: Leg): boolean =>
  leg.item !== null && isContradiction(state, leg.item.code);

export const endedAs = (
  last: Preparing | Finishing,
  outcome: OutcomeBody,
  effects: Effect[] = [],
): TwoPhaseCommitStep => {
  effects.push({ type: 'end', outcome });
  return { state: { phase: 'ended', status: outcome.status, last }, effects };
};
