/**
 * What barriers and handlers did, as it was seen from outside: every write of every record, every call of a handler,
 * and when a node or the broker was in trouble. The records are read here as JSON, not by the barrier's own code.
 */
import { isOpenPhase, isUndoPhase, PHASES, type Phase } from '../../kernel/vocabulary.ts';
import type { Body } from './history.ts';
import { isBody, text } from './history.ts';

/** One entry of a record: `started`, `idle` or `answered`. */
export type PhaseEntry = Body;

/** One stored revision of a barrier record. */
export interface RecordWrite {
  /** Virtual time. */
  readonly atMs: number;
  /** The bucket's own time. */
  readonly timeMs: number;
  /** Who wrote it. */
  readonly node: string;
  /** The execution that wrote it. */
  readonly by: string;
  readonly phases: ReadonlyMap<Phase, PhaseEntry>;
}

/** A handler was called. */
export interface Execution {
  readonly key: string;
  readonly phase: Phase;
  readonly attempt: number;
  readonly node: string;
  readonly startMs: number;
  /** `thrown` counts as an answer; undefined: its process died first, or it is still at work. */
  answer: string | undefined;
}

/** A claim could not be renewed, or an answer not be recorded, in this time. */
export interface Trouble {
  /** A node, `broker`, or the subject of the one write that got lost. */
  readonly where: string;
  readonly fromMs: number;
  readonly toMs: number;
}

export interface BarrierEvidence {
  /** By key of the record, oldest first. */
  readonly records: ReadonlyMap<string, readonly RecordWrite[]>;
  /** Of handlers behind a `kv` barrier, in order. */
  readonly executions: readonly Execution[];
  readonly troubles: readonly Trouble[];
  /** Participants whose handlers do whatever they are called for, because their barrier promises not to call wrongly. */
  readonly trusting: ReadonlySet<string>;
}

export const noBarriers: BarrierEvidence = {
  ...{ records: new Map(), executions: [], troubles: [], trusting: new Set() },
};

/** Undefined: no record, as the questions for the server's time are not. */
export function recordWrite(
  data: Uint8Array,
  seen: Pick<RecordWrite, 'atMs' | 'timeMs' | 'node'>,
): RecordWrite | undefined {
  const parsed: unknown = JSON.parse(new TextDecoder().decode(data));
  if (!isBody(parsed) || !isBody(parsed['phases'])) return undefined;
  const phases = new Map<Phase, PhaseEntry>();
  for (const phase of PHASES) {
    const entry = parsed['phases'][phase];
    if (isBody(entry)) phases.set(phase, entry);
  }
  return { ...seen, by: text(parsed['by']), phases };
}

export const isStarted = (entry: PhaseEntry | undefined): entry is PhaseEntry =>
  entry?.['status'] === 'started';
export const isAnswered = (entry: PhaseEntry | undefined): entry is PhaseEntry =>
  entry?.['status'] === 'answered';

/** What an answered entry says. */
export const answerOf = (entry: PhaseEntry | undefined): string =>
  isAnswered(entry) && isBody(entry['reply']) ? text(entry['reply']['answer']) : '';

const POSITIVE: ReadonlySet<string> = new Set(['done', 'read-only', 'heuristic', 'terminated']);
export const isPositive = (answer: string | undefined): boolean =>
  answer !== undefined && POSITIVE.has(answer);

const NOTHING_LEFT: ReadonlySet<string> = new Set(['read-only', 'refused', 'retry']);

/** An act whose executions all said that they left nothing behind. */
export const leftNothing = (entry: PhaseEntry): boolean => {
  const flagged = isBody(entry['reply']) && entry['reply']['mayHaveRun'] === true;
  return NOTHING_LEFT.has(answerOf(entry)) && !flagged;
};

export const isFinish = (phase: Phase): boolean => !isOpenPhase(phase) && !isUndoPhase(phase);

/** A write by which an execution claims its phase. */
export interface Claim {
  readonly key: string;
  readonly phase: Phase;
  readonly entry: PhaseEntry;
  readonly write: RecordWrite;
  readonly before: RecordWrite | undefined;
  /** What became of its entry; undefined: it stands as it was. */
  readonly end: { readonly write: RecordWrite; readonly entry: PhaseEntry | undefined } | undefined;
}

export function claimsOf(key: string, writes: readonly RecordWrite[]): readonly Claim[] {
  return writes.flatMap((write, index) => {
    const before = writes[index - 1];
    return [...write.phases].flatMap(([phase, entry]): Claim[] => {
      const earlier = before?.phases.get(phase);
      const isRenewal = isStarted(earlier) && earlier['by'] === entry['by'];
      if (!isStarted(entry) || isRenewal) return [];
      const later = writes.slice(index + 1).find(({ phases }) => {
        const next = phases.get(phase);
        return !isStarted(next) || next['by'] !== entry['by'];
      });
      const end = later === undefined ? undefined : { write: later, entry: later.phases.get(phase) };
      return [{ key, phase, entry, write, before, end }];
    });
  });
}
