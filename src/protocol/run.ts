/**
 * One run as a fold holds it: what its begin fixed, and what the log has implied so far. The machine's state inside is
 * immutable; this record is owned by exactly one `ShardFold`, which is the only writer.
 */
import { digestHex, EMPTY_DIGEST, mixDigest, type Digest } from '../kernel/hash.ts';
import type { Position, RunId } from '../kernel/position.ts';
import type { Decision, Pattern, Status } from '../kernel/vocabulary.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import { boundedCode } from './bounded.ts';
import type { BeginEnvelope, DecidedEnvelope } from './envelopes.ts';
import type {
  AttentionItem,
  Burial,
  Machine,
  Mark,
  OutcomeBody,
  RunFacts,
  RunView,
  Timer,
} from './machine.ts';

/** A decision or outcome that the log implied; written down as a `decided` note (Rule 4). */
export interface Derived<V> {
  readonly at: Position;
  readonly time: number;
  readonly value: V;
  readonly digest: string;
  readonly code?: string;
}

export type RunPhase =
  /** An own id waits for its verdict (Rule 7). */
  | 'awaiting_verdict'
  /** `startAt` has not come. */
  | 'scheduled'
  | 'active'
  /** Ended by the log; stays until its outcome note has been read back. */
  | 'ended'
  /** Refused by a pure rule; stays until its verdict note has been read back. */
  | 'refused';

export interface LatchedSignal {
  readonly name: string;
  readonly verdict: 'approve' | 'reject' | undefined;
  readonly reason: string | undefined;
}

/** An own begin whose id names an open fresh run: which, and what that makes of it (Rule 7). */
export interface Beside {
  readonly value: 'duplicate' | 'mismatch';
  readonly of: RunId;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** Who waits for the report of a child: the act of its parent that a begin stands for. */
export type ParentRef = NonNullable<BeginEnvelope['parent']>;

/** Steps that died at one input. */
export interface Buried {
  readonly at: Position;
  readonly burials: readonly Burial[];
}

export interface RunRecord {
  readonly facts: RunFacts;
  readonly machine: Machine<unknown>;
  readonly begin: BeginEnvelope;
  readonly begun: Mark;
  readonly sender: string;
  phase: RunPhase;
  state: unknown;
  /** Highest stream time of accepted inputs (Rule 2). */
  clockMs: number;
  digest: Digest;
  /** The first per (run, name) counts; those that came before the run was active reach the machine at its start. */
  signals: readonly LatchedSignal[];
  /** A cancel that arrived before the run became active. */
  earlyCancel: string | undefined;
  decision: Derived<Decision> | undefined;
  decisionNoted: boolean;
  outcome: Derived<Status> | undefined;
  outcomeBody: OutcomeBody | undefined;
  refusal: Refusal | undefined;
  /** The last outcome that was told while the run stayed open with attention. */
  toldEarly: OutcomeBody | undefined;
  /** Its own outcome or refusal note has been read back. */
  noted: boolean;
  /** A written decision or outcome that this fold does not derive: the run stays until an operator acts (Rule 4). */
  contradicted: DecidedEnvelope | undefined;
  /**
   * A `decided{conflict}` was read: until an operator acts, inputs are recorded, but nothing is commanded, nobody is
   * told, nothing ends and nothing leaves (Rule 4).
   */
  frozen: Position | undefined;
  /** The operator's input that thawed it last: there, all that its state implied before was implied anew. */
  thawed: Position | undefined;
  /** What would have been told, or have ended the run, had it not been frozen. */
  held: { readonly outcome: OutcomeBody; readonly ends: boolean } | undefined;
  /** The verdict on this begin of an own id where a fresh run of that id was open; undefined: its key tells. */
  beside: Beside | undefined;
  /** Other begins of this run (own ids) that wait to be told the outcome. */
  duplicates: number;
  /** Acts whose begins were found to be duplicates of this child: each is reported to at the end. */
  parents: readonly ParentRef[];
  /** In the order of their deaths; the outcome note waits until they are stored. */
  buried: readonly Buried[];
  /** The last report on it that answers a part of the log that a recovery gave up (Rule 5): a person must look. */
  lost: AttentionItem | undefined;
  /** Owned by the phase monitor. */
  wakeBucket: number | undefined;
}

export function newRun(options: {
  readonly facts: RunFacts;
  readonly machine: Machine<unknown>;
  readonly begin: BeginEnvelope;
  readonly begun: Mark;
  readonly sender: string;
  readonly input: { readonly seq: number; readonly index: number; readonly sha: Digest };
}): RunRecord {
  const { facts, machine, begin, begun, sender, input } = options;
  return {
    facts,
    machine,
    begin,
    begun,
    sender,
    phase: 'awaiting_verdict',
    state: undefined,
    clockMs: begun.time,
    digest: mixDigest(EMPTY_DIGEST, input),
    signals: [],
    earlyCancel: undefined,
    decision: undefined,
    decisionNoted: false,
    outcome: undefined,
    outcomeBody: undefined,
    refusal: undefined,
    toldEarly: undefined,
    noted: false,
    contradicted: undefined,
    frozen: undefined,
    thawed: undefined,
    held: undefined,
    beside: undefined,
    duplicates: 0,
    parents: [],
    buried: [],
    lost: undefined,
    wakeBucket: undefined,
  };
}

/** Stands in for the plan of a begin that was refused. */
export const emptyPlan = (pattern: Pattern, name: string): CompiledPlan => ({
  pattern,
  name,
  steps: [],
  indexOf: new Map(),
  deadlines: {},
});

/** What the log implied at this input, with the digest of every input accepted so far (Rule 4). */
export function derived<V>(run: RunRecord, mark: Mark, value: V, code: string | undefined): Derived<V> {
  const base = { at: mark.at, time: mark.time, value, digest: digestHex(run.digest) };
  return code === undefined ? base : { ...base, code: boundedCode(code) };
}

export const matches = (
  mine: Derived<string> | undefined,
  note: { readonly at: Position; readonly value: string; readonly digest: string },
): boolean => mine?.at === note.at && mine.value === note.value && mine.digest === note.digest;

export const isOpen = (run: RunRecord): boolean =>
  run.phase === 'awaiting_verdict' || run.phase === 'scheduled' || run.phase === 'active';

/** Every timer that waits for this run, the machine's and the delayed start's. */
export function timersOf(run: RunRecord): readonly Timer[] {
  if (run.frozen !== undefined) return [];
  if (run.phase === 'active') return run.machine.timers(run.facts, run.state);
  if (run.phase === 'scheduled' && run.begin.startAt !== undefined) {
    return [{ kind: 'start', armed: run.begun.at, dueMs: run.begin.startAt }];
  }
  return [];
}

const WAITING: Readonly<Record<Exclude<RunPhase, 'active'>, string>> = {
  awaiting_verdict: 'the verdict on its id',
  scheduled: 'its start time',
  ended: 'nothing: it has ended',
  refused: 'nothing: it was refused',
};

/** What waits for a person while a run is frozen; any operator input on the run settles it. */
export const conflictItem = (raised: Position): AttentionItem => ({
  raised,
  step: '',
  phase: 'abort',
  code: 'decided-conflict',
});

export function viewOf(run: RunRecord): RunView {
  const now = standing(run);
  const view = run.lost === undefined ? now : { ...now, attention: [...now.attention, run.lost] };
  if (run.frozen === undefined) return view;
  return {
    ...view,
    waitsFor: 'an operator: the log and a written decision contradict each other',
    attention: [...view.attention, conflictItem(run.frozen)],
  };
}

function standing(run: RunRecord): RunView {
  if (run.phase === 'active') return run.machine.view(run.facts, run.state);
  const steps = run.state === undefined ? [] : run.machine.view(run.facts, run.state).steps;
  return { phase: run.phase, waitsFor: WAITING[run.phase], steps, attention: [] };
}
