import { patternStream } from './pattern-stream.ts';
import type { StreamSpec } from './types.ts';

export const twoPhaseStepsStream: StreamSpec = patternStream({
  name: 'DTX_2PS_STREAM',
  pattern: '2ps',
  description: 'Phasor: log of two-phase sagas (2PS, 1.5PS)',
  why: 'the only source of truth of 2PS runs; 1.5PS begins here and hands its eventual steps over to DTX_05PS_STREAM',
});
