/** What JetStream answers to a publish. */
export type PubAck =
  | { readonly type: 'stored'; readonly seq: number; readonly duplicate: boolean }
  | { readonly type: 'refused'; readonly error: ApiError };

export interface ApiError {
  readonly code: number;
  readonly errCode: number;
  readonly description: string;
}

const CLOSING_BRACE = 125;
const ZERO = 48;
/** `"seq":` backwards. */
const SEQ_REVERSED = [58, 34, 113, 101, 115, 34];

/**
 * The plain ack ends in `"seq":<digits>}` and is read from its end without JSON.parse: this runs once per append.
 * Undefined: not an answer of JetStream (another subscriber took the subject).
 */
export function parsePubAck(data: Uint8Array): PubAck | undefined {
  const seq = plainSeq(data);
  return seq > 0 ? { type: 'stored', seq, duplicate: false } : parseWhole(data);
}

function plainSeq(data: Uint8Array): number {
  let at = data.length - 1;
  if (data[at] !== CLOSING_BRACE) return -1;
  let value = 0;
  let scale = 1;
  for (at -= 1; at >= 0; at -= 1) {
    const digit = (data[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) break;
    value += digit * scale;
    scale *= 10;
  }
  if (data[at] === 32) at -= 1;
  for (const [offset, byte] of SEQ_REVERSED.entries()) if (data[at - offset] !== byte) return -1;
  return value;
}

function parseWhole(data: Uint8Array): PubAck | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString());
  } catch {
    return undefined;
  }
  if (typeof answer !== 'object' || answer === null) return undefined;
  const { error, seq, duplicate } = answer as Record<string, unknown>;
  if (error !== undefined) return { type: 'refused', error: apiErrorOf(error) };
  if (typeof seq !== 'number') return undefined;
  return { type: 'stored', seq, duplicate: duplicate === true };
}

export function apiErrorOf(error: unknown): ApiError {
  const { code, err_code, description } = (error ?? {}) as Record<string, unknown>;
  return {
    code: typeof code === 'number' ? code : 500,
    errCode: typeof err_code === 'number' ? err_code : 0,
    description: typeof description === 'string' ? description : 'no description',
  };
}
