import type { StreamContract, StreamSpec } from './types.ts';

export const DEFAULT_SHARDS = 4;
/** 24 h: how long an own id is answered with the outcome of its first run. */
export const DEFAULT_DEDUP_WINDOW_MS = 86_400_000;
/** The fold judges fresh ids by it (Rule 7): fixed once the stream is made. */
export const DUPLICATE_WINDOW_MS = 120_000;
export const DEFAULT_PATTERN_MAX_BYTES = 1_073_741_824;
/** A full body of 256 KiB and 4 KiB of headers. */
export const PATTERN_MAX_MSG_SIZE = 262_144 + 4_096;

/** Settings of the stream that are fixed when it is made; in its metadata as decimal strings. */
export const METADATA_SHARDS = 'shards';
export const METADATA_DEDUP_WINDOW = 'dedupWindow';

interface PatternStream {
  readonly name: string;
  readonly pattern: string;
  readonly description: string;
  readonly why: string;
}

/** What the logs of all patterns have in common; the file of each stream says what is its own. */
export function patternStream({ name, pattern, description, why }: PatternStream): StreamSpec {
  return {
    name,
    kind: 'pattern',
    pattern,
    description,
    // Four tokens are inputs, three are commands: a filter on either never sees the other.
    subjects: [`${pattern}.*.*`, `${pattern}.*.*.*`],
    retention: 'limits',
    storage: 'file',
    discard: 'new',
    maxBytes: DEFAULT_PATTERN_MAX_BYTES,
    maxMsgSize: PATTERN_MAX_MSG_SIZE,
    maxMsgs: -1,
    maxMsgsPerSubject: -1,
    maxAgeMs: 0,
    duplicateWindowMs: DUPLICATE_WINDOW_MS,
    metadata: {
      [METADATA_SHARDS]: String(DEFAULT_SHARDS),
      [METADATA_DEDUP_WINDOW]: String(DEFAULT_DEDUP_WINDOW_MS),
    },
    flags: {
      denyDelete: true,
      // The one job that purges below the lowest checkpoint needs this, and the server would never take a denial
      // back. Purging is an API call that permissions bind, not a header: leave $JS.API.STREAM.PURGE to that job.
      denyPurge: false,
      allowDirect: true,
      // With any of these, whoever may publish one subject could forge or wipe the whole log by a header.
      allowRollup: false,
      allowMsgTtl: false,
      allowMsgSchedules: false,
      allowAtomic: false,
    },
    contract: contractOf(pattern, why),
  };
}

function contractOf(pattern: string, why: string): StreamContract {
  return {
    writer:
      `clients and participants: ${pattern}.{sender}.{begin|report|signal|cancel}.{shard} under their own name; ` +
      `coordinators: ${pattern}.{participant}.{phase} and ${pattern}.coordinator.*.{shard}; ` +
      `operators: ${pattern}.operator.*.{shard}`,
    readers:
      'coordinators and auditors: inputs, in order, without acks; ' +
      'workers: commands, through one open and one close durable consumer per participant',
    retention:
      'by limits only, never by age: purged below the lowest checkpoint of all shards, after the audit period',
    limits:
      'max_bytes 1 GiB by default (--max-bytes), a full stream refuses new messages; clients stop at 80 % of it ' +
      '(DTX_GATE), so that what is open can finish; one message: 256 KiB of body and 4 KiB of headers; ' +
      'shards, dedupWindow and the duplicate window are fixed when the stream is made',
    why,
  };
}
