/** Where a delivered message says what it is: the reply subject `$JS.ACK.…`. Read by hand, it is in the hot path. */
export interface DeliveryPosition {
  /** 1 on the first delivery of this message by this consumer. */
  readonly deliveries: number;
  readonly seq: number;
  /** Counts every delivery of the consumer: a missing value is a lost message. */
  readonly deliverySeq: number;
  /** Stream timestamp, floored to milliseconds. */
  readonly timeMs: number;
  /** Matching messages that the consumer has not delivered yet. */
  readonly pending: number;
}

const PREFIX = '$JS.ACK.';
const DOT = 46;
const ZERO = 48;
/** v1: stream, consumer and five numbers. */
const TOKENS_V1 = 7;
/** v2: domain and account hash in front; a server may add tokens behind. */
const TOKENS_V2 = 9;
const MAX_TOKENS = 16;
/** A nanosecond count does not fit a double: its last six digits are cut off as text, which floors exactly. */
const NANOS_DIGITS_BELOW_MS = 6;

/** The start of each token; reused, since parsing never yields. */
const starts = new Int32Array(MAX_TOKENS + 1);

/** Undefined when `reply` is not an ack subject of form v1 or v2 (2.14 and later). */
export function parseAckReply(reply: string): DeliveryPosition | undefined {
  if (!reply.startsWith(PREFIX)) return undefined;
  const tokens = splitTokens(reply);
  const first = tokens === TOKENS_V1 ? 2 : tokens >= TOKENS_V2 ? 4 : -1;
  if (first === -1) return undefined;
  const position = {
    deliveries: tokenNumber(reply, first, 0),
    seq: tokenNumber(reply, first + 1, 0),
    deliverySeq: tokenNumber(reply, first + 2, 0),
    timeMs: tokenNumber(reply, first + 3, NANOS_DIGITS_BELOW_MS),
    pending: tokenNumber(reply, first + 4, 0),
  };
  const { deliveries, seq, deliverySeq, timeMs, pending } = position;
  return deliveries < 0 || seq < 0 || deliverySeq < 0 || timeMs < 0 || pending < 0 ? undefined : position;
}

/** Fills `starts` (with the end of the text behind the last) and tells how many tokens there are; 0: too many. */
function splitTokens(reply: string): number {
  let tokens = 1;
  starts[0] = PREFIX.length;
  for (let at = PREFIX.length; at < reply.length; at += 1) {
    if (reply.charCodeAt(at) !== DOT) continue;
    if (tokens === MAX_TOKENS) return 0;
    starts[tokens] = at + 1;
    tokens += 1;
  }
  starts[tokens] = reply.length + 1;
  return tokens;
}

/** The number in a token without its last `cut` digits; -1 when it holds anything but digits. */
function tokenNumber(reply: string, token: number, cut: number): number {
  const start = starts[token] ?? 0;
  const end = (starts[token + 1] ?? 0) - 1;
  if (end <= start) return -1;
  let value = 0;
  for (let at = start; at < end; at += 1) {
    const digit = reply.charCodeAt(at) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    if (at < end - cut) value = value * 10 + digit;
  }
  return value;
}
