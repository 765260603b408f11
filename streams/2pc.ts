import { patternStream } from './pattern-stream.ts';
import type { StreamSpec } from './types.ts';

export const twoPhaseCommitStream: StreamSpec = patternStream({
  name: 'DTX_2PC_STREAM',
  pattern: '2pc',
  description: 'Phasor: log of two-phase commits',
  why: 'the only source of truth of 2PC runs: votes, decisions and acknowledgements; in doubt means waiting for this log',
});
