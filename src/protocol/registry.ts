import type { Pattern } from '../kernel/vocabulary.ts';
import { eventual } from './eventual.ts';
import type { Machine } from './machine.ts';
import { saga } from './saga.ts';
import { threePhaseCommit } from './three-phase-commit.ts';
import { threePhaseSaga } from './three-phase-saga.ts';
import { twoPhaseCommit } from './two-phase-commit.ts';
import { twoPhaseSaga } from './two-phase-saga.ts';

/** Every machine this build knows, lowest version first. Changed behaviour is a new version beside the old (Rule 3). */
const MACHINES: Readonly<Record<Pattern, readonly Machine<unknown>[]>> = {
  '2pc': [twoPhaseCommit],
  '3pc': [threePhaseCommit],
  saga: [saga],
  '2ps': [twoPhaseSaga],
  '3ps': [threePhaseSaga],
  eventual: [eventual],
};

/** Version 1 is enabled from the stream's start. */
export const FIRST_VERSION = 1;

/** The machine of one pinned version, or undefined when this build does not know it. */
export function machineOf(pattern: Pattern, version: number): Machine<unknown> | undefined {
  return MACHINES[pattern].find((candidate) => candidate.version === version);
}
