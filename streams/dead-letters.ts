import type { StreamSpec } from './types.ts';

export const deadLetterStream: StreamSpec = {
  name: 'DTX_DEAD_LETTER_STREAM',
  kind: 'dead-letters',
  description: 'Phasor: envelopes nobody could process',
  subjects: ['dead.*.*'],
  retention: 'limits',
  storage: 'file',
  discard: 'old',
  maxBytes: 268_435_456,
  // A raw body of 256 KiB grows by a third in base64; the rest is for what went wrong.
  maxMsgSize: 524_288,
  maxMsgs: -1,
  maxMsgsPerSubject: -1,
  maxAgeMs: 0,
  duplicateWindowMs: 120_000,
  metadata: {},
  flags: {
    denyDelete: false,
    denyPurge: false,
    allowDirect: true,
    allowRollup: false,
    allowMsgTtl: false,
    allowMsgSchedules: false,
    allowAtomic: false,
  },
  contract: {
    writer:
      'whoever could not process an envelope: coordinators and workers, at dead.{pattern}.{participant}',
    readers: 'operators and the dashboard; Nats-Msg-Id is the position of the envelope',
    retention: 'the newest 256 MiB; an operator may delete what is settled',
    limits: 'max_bytes 256 MiB, then the oldest go: a flood of poison never fills the disk or stops a worker',
    why: 'evidence, not truth: the envelope still stands in its pattern stream, runs wait for their deadlines',
  },
};
