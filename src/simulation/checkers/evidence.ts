/** All that the checkers judge by, and what they find. */
import type { BarrierEvidence } from './barrier-evidence.ts';
import type { Book } from './book.ts';
import { hasRun, type History, type Run } from './history.ts';

/** What a caller was told about one transaction. */
export interface Told {
  readonly pattern: string;
  readonly tx: string;
  /** Position of an acknowledged begin. */
  readonly begunAt: string | undefined;
  /** Virtual time of that acknowledgement; 0 when there was none. */
  readonly begunMs: number;
  /** Status of every outcome that the caller heard, in order. */
  readonly outcomes: readonly {
    readonly status: string;
    readonly attention: boolean;
    readonly run: string;
  }[];
}

export interface Evidence {
  readonly history: History;
  /** By participant. */
  readonly books: ReadonlyMap<string, Book>;
  readonly told: readonly Told[];
  /** Runs in memory, by coordinator. */
  readonly openRuns: ReadonlyMap<string, number>;
  /** Runs that wait for a person, as coordinators say when asked: `pattern/tx/run`. */
  readonly attention: ReadonlySet<string>;
  readonly barriers: BarrierEvidence;
  /** Whether participants may have been cut off or stopped for long: only then may a 3PC split. */
  readonly mayHaveSplit: boolean;
}

export interface Violation {
  readonly checker: string;
  readonly what: string;
}

export interface Verdict {
  readonly violations: readonly Violation[];
  /** 3PC runs that split as their documents say they may. */
  readonly expectedSplits: readonly string[];
}

export type Checker = (evidence: Evidence) => readonly string[];

export const keyOf = ({ pattern, tx, run }: Pick<Run, 'pattern' | 'tx' | 'run'>): string =>
  `${pattern}/${tx}/${run}`;

export const effectiveRuns = ({ history }: Evidence): readonly Run[] => history.runs.filter(hasRun);
