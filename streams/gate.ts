import { bucket } from './bucket.ts';
import type { StreamSpec } from './types.ts';

export const gateBucket: StreamSpec = bucket({
  bucket: 'DTX_GATE',
  description: 'Phasor: admission gate, key {pattern}',
  maxBytes: 1_048_576,
  maxMsgSize: 4_096,
  allowMsgTtl: true,
  contract: {
    writer: 'coordinators, one key per pattern; the last write counts',
    readers: 'clients, before they begin a transaction',
    retention: 'one record per pattern',
    limits: 'max_bytes 1 MiB, 4 KiB a record',
    why:
      'admission happens before the log (Rule 9): closed at 80 % of a stream, so that room is left to finish ' +
      'what is open; no record means open',
  },
});
