import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { parseAckReply } from '../../src/nats/ack-reply.ts';

const v1 = (numbers: readonly (number | string | bigint)[]): string =>
  ['$JS', 'ACK', 'DTX_2PC_STREAM', 'r-abc', ...numbers].join('.');
const v2 = (numbers: readonly (number | string | bigint)[], behind: readonly string[] = []): string =>
  ['$JS', 'ACK', '_', 'AbCdEf12', 'DTX_2PC_STREAM', 'r-abc', ...numbers, ...behind].join('.');

describe('the ack subject of a delivery', () => {
  const numbers = [3, 1_234, 567, '1795211213052999999', 89];
  const position = { deliveries: 3, seq: 1_234, deliverySeq: 567, timeMs: 1_795_211_213_052, pending: 89 };

  it('is read in both forms, also with tokens behind the second', () => {
    expect(parseAckReply(v1(numbers))).toEqual(position);
    expect(parseAckReply(v2(numbers))).toEqual(position);
    expect(parseAckReply(v2(numbers, ['random']))).toEqual(position);
  });

  it('floors nanoseconds to milliseconds exactly, where a double would round', () => {
    const time = fc.bigInt({ min: 0n, max: 4_102_444_800_000_000_000n });
    fc.assert(
      fc.property(time, fc.maxSafeNat(), (nanos, seq) => {
        const read = parseAckReply(v1([1, seq, 1, nanos, 0]));
        expect(read).toMatchObject({ seq, timeMs: Number(nanos / 1_000_000n) });
      }),
    );
    expect(Math.floor(Number('1795211213052999999') / 1_000_000)).not.toBe(1_795_211_213_052);
  });

  it.each([
    ['', 'no reply'],
    ['_INBOX.abc.1', 'an inbox'],
    ['$JS.ACK.', 'nothing behind the prefix'],
    [v1(numbers.slice(1)), 'a token too few'],
    [['$JS', 'ACK', 'x', 'S', 'c', ...numbers].join('.'), 'between the two forms'],
    [v1([3, '12a4', 567, '1795211213052999999', 89]), 'a letter in a number'],
    [v1([3, '', 567, '1795211213052999999', 89]), 'an empty number'],
    [v1([3, -1, 567, '1795211213052999999', 89]), 'a negative number'],
    [
      v2(
        numbers,
        Array.from({ length: 20 }, () => 'x'),
      ),
      'too many tokens',
    ],
  ])('refuses %j: %s', (reply) => {
    expect(parseAckReply(reply)).toBeUndefined();
  });
});
