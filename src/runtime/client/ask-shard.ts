import { subjects } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { Bus } from '../../ports/bus.ts';
import { ENVELOPE_VERSION } from '../../protocol/limits.ts';
import { queryReplySchema, type QueryReply, type QueryRequest } from '../../protocol/query.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** @throws {PhasorError} `TIMEOUT`: no coordinator answered; `ENVELOPE_INVALID`: its answer is none. */
export async function askShard(
  bus: Bus,
  question: {
    readonly pattern: Pattern;
    readonly shard: number;
    readonly txs: string[];
    readonly timeoutMs: number;
  },
): Promise<QueryReply> {
  const { pattern, shard, txs, timeoutMs } = question;
  const request: QueryRequest = { v: ENVELOPE_VERSION, txs };
  const subject = subjects.query(pattern, shard);
  const data = await bus.request(subject, encoder.encode(JSON.stringify(request)), { timeoutMs });
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(data));
  } catch (cause) {
    throw new PhasorError('ENVELOPE_INVALID', 'the answer to a query is not JSON', { subject }, { cause });
  }
  const parsed = queryReplySchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new PhasorError(
    'ENVELOPE_INVALID',
    'the answer to a query is malformed',
    { subject },
    { cause: parsed.error },
  );
}
