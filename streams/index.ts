import { twoPhaseCommitStream } from './2pc.ts';
import { threePhaseCommitStream } from './3pc.ts';
import { sagaStream } from './saga.ts';
import { twoPhaseStepsStream } from './2ps.ts';
import { threePhaseStepsStream } from './3ps.ts';
import { halfPhaseStepsStream } from './05ps.ts';
import { deadLetterStream } from './dead-letters.ts';
import { BARRIER_BUCKET_PREFIX, barrierBucket } from './barrier.ts';
import { gateBucket } from './gate.ts';
import { outcomesBucket } from './outcomes.ts';
import { timerStream } from './timers.ts';
import type { StreamSpec } from './types.ts';

export {
  DEFAULT_DEDUP_WINDOW_MS,
  DEFAULT_PATTERN_MAX_BYTES,
  DEFAULT_SHARDS,
  METADATA_DEDUP_WINDOW,
  METADATA_SHARDS,
} from './pattern-stream.ts';
export type { StreamContract, StreamFlags, StreamSpec } from './types.ts';
export { BARRIER_BUCKET_PREFIX, barrierBucket, deadLetterStream, gateBucket, outcomesBucket, timerStream };

/** The logs, one per pattern. */
export const PATTERN_STREAMS: readonly StreamSpec[] = [
  twoPhaseCommitStream,
  threePhaseCommitStream,
  sagaStream,
  twoPhaseStepsStream,
  threePhaseStepsStream,
  halfPhaseStepsStream,
];

/** What serves all patterns. Barrier buckets come on top, one per participant: see `barrierBucket`. */
export const SHARED_STREAMS: readonly StreamSpec[] = [
  deadLetterStream,
  timerStream,
  outcomesBucket,
  gateBucket,
];

export const STREAMS: readonly StreamSpec[] = [...PATTERN_STREAMS, ...SHARED_STREAMS];
