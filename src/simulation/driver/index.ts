/** Random transactions under random faults, judged: `phasor simulate` and the simulation's own tests. */
export { BRANCHES } from './coverage.ts';
export { FAULTS, isFault, type Fault } from './faults.ts';
export { isKind, KINDS, type Kind } from './kinds.ts';
export { simulateSeed, type SeedOptions, type SeedResult } from './seed.ts';
export { shrink, type Shrunk } from './shrink.ts';
