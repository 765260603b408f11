/**
 * What `query.{pattern}.{shard}` asks and answers (request/reply, not stored). A coordinator answers for runs of its
 * shard that it knows, open or ended; it is where outcomes are found that were told while nobody could hear them.
 */
import { z } from 'zod';
import { ID_PATTERN } from '../kernel/ids.ts';
import { utf8Length } from '../kernel/json.ts';
import { POSITION_PATTERN, RUN_PATTERN } from '../kernel/position.ts';
import { PATTERNS, PHASES } from '../kernel/vocabulary.ts';
import { outcomeSchema } from './envelopes.ts';
import { ENVELOPE_VERSION } from './limits.ts';

/** Transactions in one request. */
export const MAX_QUERY_TXS = 64;
/** Bytes of one reply: below the server's default `max_payload`. */
export const MAX_QUERY_REPLY_BYTES = 786_432;

const v = z.literal(ENVELOPE_VERSION);
const id = z.string().regex(ID_PATTERN);
const run = z.string().regex(RUN_PATTERN);
const optional = <T extends z.ZodType>(schema: T): z.ZodExactOptional<T> => z.exactOptional(schema);

export const queryRequestSchema = z.strictObject({ v, txs: z.array(id).min(1).max(MAX_QUERY_TXS) });

const stepViewSchema = z.strictObject({
  step: id,
  participant: z.string(),
  phase: optional(z.enum(PHASES)),
  attempt: optional(z.int().min(1)),
  status: z.enum(['waiting', 'commanded', 'backing_off', 'done', 'failed', 'undone', 'attention', 'skipped']),
});

const attentionSchema = z.strictObject({
  raised: z.string().regex(POSITION_PATTERN),
  step: z.union([id, z.literal('')]),
  phase: z.enum(PHASES),
  code: z.string(),
  message: optional(z.string()),
});

export const foundRunSchema = z.strictObject({
  tx: id,
  pattern: z.enum(PATTERNS),
  run,
  open: z.boolean(),
  phase: z.string(),
  /** One sentence: what must happen next. */
  waitsFor: z.string(),
  steps: z.array(stepViewSchema),
  attention: z.array(attentionSchema),
  /** Present once the run has ended; also while it is open, if it was told early. */
  outcome: optional(outcomeSchema),
  /**
   * Own ids: SHA-256 of the plan's canonical JSON in hexadecimal, and once ended the stream time (ms) until which a
   * begin of this id counts as a duplicate. By these a caller whose verdict got lost learns it (Rule 7).
   */
  digest: optional(z.string().regex(/^[0-9a-f]{64}$/)),
  until: optional(z.int().min(0)),
});

export const queryReplySchema = z.strictObject({
  v,
  /** Every known run of the transactions asked for; a transaction nobody knows (yet) has none. */
  found: z.array(foundRunSchema),
  /** Transactions whose runs did not fit this reply: ask again for them. */
  left: optional(z.array(id)),
  /** Why the request could not be read; `found` is empty then. */
  problem: optional(z.string()),
});

export type QueryRequest = z.infer<typeof queryRequestSchema>;
export type FoundRun = z.infer<typeof foundRunSchema>;
export type QueryReply = z.infer<typeof queryReplySchema>;

/** JSON text of a reply within its cap: runs that do not fit are left to the next request, at least one fits. */
export function encodeQueryReply(found: readonly FoundRun[]): string {
  const texts: string[] = [];
  const left = new Set<string>();
  let bytes = 0;
  for (const entry of found) {
    const text = JSON.stringify(entry);
    const size = utf8Length(text) + 1;
    if (texts.length > 0 && bytes + size > MAX_QUERY_REPLY_BYTES) {
      left.add(entry.tx);
      continue;
    }
    texts.push(text);
    bytes += size;
  }
  const rest = left.size === 0 ? '' : `,"left":${JSON.stringify([...left])}`;
  return `{"v":${ENVELOPE_VERSION},"found":[${texts.join(',')}]${rest}}`;
}
