import { patternStream } from './pattern-stream.ts';
import type { StreamSpec } from './types.ts';

export const threePhaseStepsStream: StreamSpec = patternStream({
  name: 'DTX_3PS_STREAM',
  pattern: '3ps',
  description: 'Phasor: log of three-phase sagas',
  why: 'the only source of truth of 3PS runs: reservations, their ends and validations',
});
