import { bucket } from './bucket.ts';
import type { StreamSpec } from './types.ts';

export const BARRIER_BUCKET_PREFIX = 'DTX_BARRIER_';

/** The template of the barrier buckets: one per participant, so that a participant can harm only its own. */
export function barrierBucket(participant: string): StreamSpec {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(participant)) throw new TypeError(`not a participant: ${participant}`);
  return bucket({
    bucket: `${BARRIER_BUCKET_PREFIX}${participant}`,
    description: `Phasor: barrier records of participant ${participant}, one per run and step`,
    maxBytes: -1,
    // The remembered output of a step, at most 16 KiB, and what surrounds it.
    maxMsgSize: 32_768,
    allowMsgTtl: true,
    contract: {
      writer: `workers of ${participant} only, by compare-and-set`,
      readers: `workers of ${participant}`,
      retention: 'each record by its own TTL: barrierKeep (7 d) after its last write',
      limits: 'no max_bytes: a worker that cannot write its record can neither act nor undo; 32 KiB a record',
      why: 'stops concurrent, empty and late executions of a step, and remembers its answer',
    },
  });
}
