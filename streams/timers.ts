import type { StreamSpec } from './types.ts';

export const timerStream: StreamSpec = {
  name: 'DTX_TIMER_STREAM',
  kind: 'timers',
  description: 'Phasor: far deadlines and delayed starts',
  subjects: ['timer.*.*.at.>', 'timer.*.*.due.>'],
  retention: 'limits',
  storage: 'file',
  // Dropping the oldest would be dropping timers.
  discard: 'new',
  maxBytes: 268_435_456,
  maxMsgSize: 16_384,
  maxMsgs: -1,
  // One timer a subject; arming it again replaces it.
  maxMsgsPerSubject: 1,
  maxAgeMs: 0,
  duplicateWindowMs: 120_000,
  metadata: {},
  flags: {
    denyDelete: false,
    // Cancelling a schedule is a purge of its subject, and schedules force roll-ups: the price of server timers,
    // and why this stream is apart from every log.
    denyPurge: false,
    allowDirect: true,
    allowRollup: true,
    allowMsgTtl: true,
    allowMsgSchedules: true,
    allowAtomic: false,
  },
  contract: {
    writer:
      'coordinators only: timer.{pattern}.{shard}.at.{id} arms a schedule; nats-server publishes it to .due.{id}',
    readers: 'the coordinator of the shard: timer.{pattern}.{shard}.due.>',
    retention: 'until due or cancelled; a due timer lives on by the TTL its schedule names',
    limits:
      'max_bytes 256 MiB, 16 KiB a timer, one timer a subject; full: new timers are refused, armed ones stay',
    why:
      'wakes a coordinator for deadlines too far to keep in memory. Losing it loses no decision: ' +
      'deadlines are derived from the log again. Whoever may publish here owns the whole stream',
  },
};
