import { bucket } from './bucket.ts';
import type { StreamSpec } from './types.ts';

export const outcomesBucket: StreamSpec = bucket({
  bucket: 'DTX_OUTCOMES',
  description: 'Phasor: one record per own id, key {pattern}.{tx}',
  maxBytes: -1,
  // Outputs of 64 KiB, told again with the outcome, and what surrounds them.
  maxMsgSize: 131_072,
  allowMsgTtl: true,
  contract: {
    writer: 'coordinators only, by compare-and-set on {pattern}.{tx} (Rule 7)',
    readers: 'coordinators',
    retention: 'each record by its own TTL: until a day after the dedup window of its run has ended',
    limits: 'no max_bytes: a refused record would stop runs from ending; its size is own ids per day',
    why: 'a begin with an own id may come again in another message: the first one counts, for dedupWindow',
  },
});
