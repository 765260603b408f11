import { patternStream } from './pattern-stream.ts';
import type { StreamSpec } from './types.ts';

export const halfPhaseStepsStream: StreamSpec = patternStream({
  name: 'DTX_05PS_STREAM',
  pattern: 'eventual',
  description: 'Phasor: log of eventual transactions (0.5PS)',
  why: 'keeps what was promised until it is taken or dead-lettered: durable fire and forget',
});
