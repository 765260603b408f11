import type { Pattern } from '../kernel/vocabulary.ts';
import type { Machine } from './machine.ts';
import { saga } from './saga.ts';
import { twoPhaseCommit } from './two-phase-commit.ts';

/** Every machine this build knows, lowest version first. Changed behaviour is a new version beside the old (Rule 3). */
const MACHINES: Readonly<Partial<Record<Pattern, readonly Machine<unknown>[]>>> = {
  '2pc': [twoPhaseCommit],
  saga: [saga],
};

/** Version 1 is enabled from the stream's start. */
export const FIRST_VERSION = 1;

/** The machine of one pinned version, or undefined when this build does not know it. */
export function machineOf(pattern: Pattern, version: number): Machine<unknown> | undefined {
  return MACHINES[pattern]?.find((candidate) => candidate.version === version);
}

/** Patterns that this build can run. */
export const RUNNABLE_PATTERNS = Object.keys(MACHINES) as readonly Pattern[];
