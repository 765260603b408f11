/**
 * What every protocol machine is: `step(facts, state, event) -> { state, effects }`, pure and total (Rule 1).
 *
 * Invariants:
 *  M1 an event that is already in the state, or impossible, returns the same state object and no effects; only a report
 *     that says `lateEffect` is news each time it is read, for no two executions can be told apart by what they say;
 *  M2 states are plain JSON data (they are snapshotted) and never mutated;
 *  M3 `outstanding` returns exactly the commands that wait for a report, as last commanded but with what has been
 *     learned since (`output`, `ran`); an attempt that was reported or gave up waits for its back-off instead;
 *  M4 a timer counts only if its arming is current and due: machines check `armed` and time (Rule 2).
 */
import type { Json } from '../kernel/json.ts';
import type { Position, RunId } from '../kernel/position.ts';
import type { Answer, DeadlineKind, Decision, Pattern, Phase, Status } from '../kernel/vocabulary.ts';
import type { ChildSpec, CompiledPlan, Policy } from './compiled-plan.ts';

/** Position of an input, and its time on the run's own clock (Rule 2). */
export interface Mark {
  readonly at: Position;
  readonly time: number;
}

/** What does not change during a run; derived from its begin alone. */
export interface RunFacts {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: RunId;
  readonly plan: CompiledPlan;
}

export interface Report {
  readonly step: string;
  readonly phase: Phase;
  readonly attempt: number;
  readonly answer: Answer;
  readonly result?: 'committed' | 'aborted' | undefined;
  readonly output?: Json | undefined;
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  readonly mayHaveRun?: boolean | undefined;
  readonly lateEffect?: boolean | undefined;
  readonly retryAfter?: number | undefined;
  readonly expiresAt?: number | undefined;
}

/** An item of attention as an operator names it. */
export interface ItemRef {
  readonly raised: Position;
  readonly step: string;
  readonly phase: Phase;
}

export type MachineEvent = { readonly mark: Mark } & (
  | ({ readonly type: 'reported' } & Report)
  | {
      readonly type: 'deadline_passed';
      readonly kind: DeadlineKind;
      readonly step?: string;
      readonly phase?: Phase;
      readonly attempt?: number;
      readonly armed: Position;
    }
  | {
      readonly type: 'signalled';
      readonly name: string;
      readonly verdict?: 'approve' | 'reject' | undefined;
      readonly reason?: string | undefined;
    }
  | { readonly type: 'cancelled'; readonly reason: string }
  | ({ readonly type: 'item_retried'; readonly policy?: Partial<Policy> } & ItemRef)
  | ({ readonly type: 'item_skipped' } & ItemRef)
  | ({
      readonly type: 'item_resolved';
      readonly answer: 'done' | 'refused';
      readonly output?: Json;
    } & ItemRef)
  | {
      readonly type: 'forced';
      readonly raised: Position;
      readonly decision: 'commit' | 'abort' | 'complete' | 'undo';
      readonly reason: string;
    }
  | { readonly type: 'killed'; readonly reason: string }
);

export interface CommandEffect {
  readonly type: 'command';
  readonly step: string;
  readonly participant: string;
  readonly phase: Phase;
  readonly attempt: number;
  readonly action: string;
  readonly cause: Mark;
  readonly since: number;
  readonly due?: number;
  readonly input?: Json;
  readonly output?: Json;
  readonly ran?: boolean;
  /** Undos: answers of attempts before this one do not count, for the act took effect after them. */
  readonly redo?: number;
  readonly alone?: boolean;
  /** Begun instead of a command to `participant`, which is then `coordinator`. */
  readonly child?: ChildSpec;
  /** Which child of its act it begins, unless it is the first. */
  readonly begun?: { readonly from: number; readonly since: number };
}

export interface OutcomeBody {
  readonly status: Status;
  /** First cause of anything but success. */
  readonly code?: string;
  readonly message?: string;
  readonly step?: string;
  readonly outputs?: Readonly<Record<string, Json>>;
  /** Open items remain. */
  readonly attention?: boolean;
  /** 1.5PS: the critical part alone. Default: `all`. */
  readonly scope?: 'critical';
}

/** Something a person must look at. `raised` names it in operator inputs. */
export interface AttentionItem extends ItemRef {
  readonly code: string;
  readonly message?: string;
}

export type Effect =
  | CommandEffect
  /** The point where the log implied a decision: written down as a `decided` note, never waited for (Rule 4). */
  | { readonly type: 'decide'; readonly value: Decision; readonly code?: string }
  /** Told to the caller although the run stays open with attention. */
  | { readonly type: 'tell'; readonly outcome: OutcomeBody }
  | { readonly type: 'end'; readonly outcome: OutcomeBody }
  /** A hint for the phase monitor: some timer of this run is now due at `dueMs` (run clock). */
  | { readonly type: 'arm'; readonly dueMs: number }
  | { readonly type: 'attend'; readonly item: AttentionItem }
  /** 0.5PS: steps that will not be tried again go to the dead letters of their participants, keyed by this input. */
  | { readonly type: 'bury'; readonly burials: readonly Burial[] };

export interface Burial {
  /** As last commanded. */
  readonly command: CommandEffect;
  readonly code: string;
  readonly message?: string;
  /** Not every attempt is known to have left nothing behind. */
  readonly mayHaveRun: boolean;
}

export interface Step<S> {
  readonly state: S;
  readonly effects: readonly Effect[];
}

export interface Timer {
  readonly kind: DeadlineKind;
  readonly step?: string;
  readonly phase?: Phase;
  readonly attempt?: number;
  readonly armed: Position;
  readonly dueMs: number;
}

export interface StepView {
  readonly step: string;
  readonly participant: string;
  /** Current or last phase; undefined when nothing was commanded yet. */
  readonly phase?: Phase;
  readonly attempt?: number;
  readonly status:
    'waiting' | 'commanded' | 'backing_off' | 'done' | 'failed' | 'undone' | 'attention' | 'skipped';
}

/** For people and `query`: where a run stands and why it waits. */
export interface RunView {
  readonly phase: string;
  /** One sentence: what must happen next. */
  readonly waitsFor: string;
  readonly steps: readonly StepView[];
  readonly attention: readonly AttentionItem[];
}

export interface Machine<S> {
  readonly pattern: Pattern;
  readonly version: number;
  /** The run begins at this input. */
  start(facts: RunFacts, mark: Mark): Step<S>;
  step(facts: RunFacts, state: S, event: MachineEvent): Step<S>;
  outstanding(facts: RunFacts, state: S): readonly CommandEffect[];
  /** Every armed timer. */
  timers(facts: RunFacts, state: S): readonly Timer[];
  view(facts: RunFacts, state: S): RunView;
}

/** M4, the one place: a deadline counts only if it names the current arming and is due on the run's clock (Rule 2). */
export const isDue = (
  timer: Pick<Timer, 'armed' | 'dueMs'> | null | undefined,
  deadline: { readonly mark: Mark; readonly armed: Position },
): boolean => timer?.armed === deadline.armed && deadline.mark.time >= timer.dueMs;

export const NO_EFFECTS: readonly Effect[] = [];
/** M1: the same state object and no effects. */
export const stay = <S>(state: S): Step<S> => ({ state, effects: NO_EFFECTS });
