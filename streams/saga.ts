import { patternStream } from './pattern-stream.ts';
import type { StreamSpec } from './types.ts';

export const sagaStream: StreamSpec = patternStream({
  name: 'DTX_SAGA_STREAM',
  pattern: 'saga',
  description: 'Phasor: log of sagas',
  why: 'the only source of truth of sagas: which steps may have run decides what is compensated',
});
