/** What a participant of the model world holds of one step. */
import type { Phase } from '../../src/kernel/vocabulary.ts';

export type Recorded = 'none' | 'started' | 'done' | 'read-only' | 'refused' | 'undone' | 'late';

export interface Part {
  /** By stage. */
  readonly records: Readonly<Partial<Record<Phase, Recorded>>>;
  /** Attempts of a stage up to this one were answered by a clean `retry`. */
  readonly closed: Readonly<Partial<Record<Phase, number>>>;
  /** The attempt of an execution under way, and its stage. */
  readonly slow: number;
  readonly slowPhase: Phase | undefined;
  /** The started record has outlived its execution's lease. */
  readonly expired: boolean;
  /** A tombstone: no act runs any more. */
  readonly buried: boolean;
  readonly holds: number;
  readonly dos: number;
  readonly undos: number;
}

export const IDLE: Part = {
  records: {},
  closed: {},
  slow: 0,
  slowPhase: undefined,
  expired: false,
  buried: false,
  holds: 0,
  dos: 0,
  undos: 0,
};
/** Effects of execute that are there. */
export const net = (part: Part): number => part.dos - part.undos;

export function recordOf(part: Part, phase: Phase): Recorded {
  return part.records[phase] ?? (part.buried ? 'undone' : 'none');
}
