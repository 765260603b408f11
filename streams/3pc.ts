import { patternStream } from './pattern-stream.ts';
import type { StreamSpec } from './types.ts';

export const threePhaseCommitStream: StreamSpec = patternStream({
  name: 'DTX_3PC_STREAM',
  pattern: '3pc',
  description: 'Phasor: log of three-phase commits',
  why: 'the only source of truth of 3PC runs; participants that end a run on their own report it here as terminated',
});
