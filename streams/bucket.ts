import type { StreamContract, StreamSpec } from './types.ts';

interface Bucket {
  readonly bucket: string;
  readonly description: string;
  readonly maxBytes: number;
  readonly maxMsgSize: number;
  readonly allowMsgTtl: boolean;
  readonly contract: StreamContract;
}

/** A key-value bucket as the stream it is: `KV_{bucket}` on `$KV.{bucket}.>`, one revision a key. */
export function bucket({ contract, ...own }: Bucket): StreamSpec {
  return {
    name: `KV_${own.bucket}`,
    kind: 'bucket',
    bucket: own.bucket,
    description: own.description,
    subjects: [`$KV.${own.bucket}.>`],
    retention: 'limits',
    storage: 'file',
    discard: 'new',
    maxBytes: own.maxBytes,
    maxMsgSize: own.maxMsgSize,
    maxMsgs: -1,
    // More revisions would surface again when the newest one ends by its TTL.
    maxMsgsPerSubject: 1,
    maxAgeMs: 0,
    duplicateWindowMs: 120_000,
    metadata: {},
    flags: {
      denyDelete: true,
      denyPurge: true,
      // Whoever lost a compare-and-set must read what won, never a replica's past.
      allowDirect: false,
      // `Nats-Rollup: all` on any key would wipe the bucket.
      allowRollup: false,
      allowMsgTtl: own.allowMsgTtl,
      allowMsgSchedules: false,
      allowAtomic: false,
    },
    contract,
  };
}
