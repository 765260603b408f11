// Goal: identities, hashes and JSON rules mean the same in every process and every language.
// Method: published vectors, the platform's own functions as oracle, and boundary values.
import { describe, expect, it } from 'vitest';
import { formatDurationMs, parseDurationMs } from '../../src/kernel/duration.ts';
import { digestHex, EMPTY_DIGEST, fnv1a32, mixDigest, shardOf } from '../../src/kernel/hash.ts';
import { isId, isParticipant, ulidTimeMs } from '../../src/kernel/ids.ts';
import { canonicalJson, jsonProblem, lookupPointer, utf8Length } from '../../src/kernel/json.ts';
import {
  comparePositions,
  parsePosition,
  parseRun,
  position,
  POSITION_PATTERN,
  RUN_PATTERN,
  runId,
} from '../../src/kernel/position.ts';

describe('FNV-1a-32', () => {
  // draft-eastlake-fnv, appendix C.
  it.each([
    ['', 0x811c9dc5],
    ['a', 0xe40c292c],
    ['b', 0xe70c2de5],
    ['foobar', 0xbf9cf968],
    ['hello', 0x4f9f2cab],
  ])('hashes %j as published', (text, hash) => {
    expect(fnv1a32(text)).toBe(hash);
  });

  it.each(['é', 'ÿ', 'ab€', '😀', 'a😀z', '\ud800', 'टैक्स'])('hashes the UTF-8 bytes of %j', (text) => {
    let expected = 0x811c9dc5n;
    for (const byte of Buffer.from(text, 'utf8')) {
      expected = ((expected ^ BigInt(byte)) * 0x01000193n) & 0xffffffffn;
    }
    expect(fnv1a32(text)).toBe(Number(expected));
  });

  it('gives every shard its share of ULID-like ids', () => {
    const counts = new Array<number>(8).fill(0);
    for (let i = 0; i < 8_000; i += 1) {
      const shard = shardOf(`01K9ABCDEF${i.toString(36).toUpperCase().padStart(16, '0')}`, 8);
      counts[shard] = counts[shard]! + 1;
    }
    for (const count of counts) expect(count).toBeGreaterThan(700);
  });
});

describe('a digest', () => {
  const sha = { hi: 0x12345678, lo: -5 };
  const first = { seq: 7, index: 0, sha };
  const second = { seq: 7, index: 1, sha };
  const mixed = (...inputs: Parameters<typeof mixDigest>[1][]): string =>
    digestHex(inputs.reduce((digest, input) => mixDigest(digest, input), EMPTY_DIGEST));

  it('is 16 hexadecimal digits', () => {
    expect(digestHex(EMPTY_DIGEST)).toBe('0000000000000000');
    expect(digestHex({ hi: -1, lo: 1 })).toBe('ffffffff00000001');
    expect(mixed(first, second)).toMatch(/^[0-9a-f]{16}$/);
  });

  it('keeps its value: notes of old logs carry it', () => {
    // Computed by an independent implementation in another language.
    const one = { seq: 1, index: 0, sha: { hi: 1, lo: 2 } };
    expect(mixed(one)).toBe('d5512b67ba8c8006');
    expect(mixed(one, { seq: 2 ** 32 + 3, index: 255, sha: { hi: -7, lo: 9 } })).toBe('bc6d2669feeba21b');
  });

  it('depends on the order, on every position and on the content', () => {
    const variants = [
      mixed(first, second),
      mixed(second, first),
      mixed(first),
      mixed(first, first),
      mixed(first, { ...second, index: 2 }),
      mixed(first, { ...second, seq: 8 }),
      mixed(first, { ...second, seq: 7 + 2 ** 32 }),
      mixed(first, { ...second, sha: { ...sha, hi: 0 } }),
      mixed(first, { ...second, sha: { ...sha, lo: 0 } }),
    ];
    expect(new Set(variants).size).toBe(variants.length);
  });
});

describe('positions and runs', () => {
  it('go to the wire and back', () => {
    expect(position(12, 3)).toBe('12.3');
    expect(parsePosition('12.3')).toEqual({ seq: 12, index: 3 });
    expect(runId('12.3', 1_790_000_000_000)).toBe('12.3.1790000000000');
    expect(parseRun('12.3.1790000000000')).toEqual({ at: '12.3', timeMs: 1_790_000_000_000 });
  });

  it('are ordered by sequence, then index, as numbers', () => {
    const sorted = ['10.0', '9.10', '9.9', '9.0'].sort(comparePositions);
    expect(sorted).toEqual(['9.0', '9.9', '9.10', '10.0']);
    expect(comparePositions('5.5', '5.5')).toBe(0);
  });

  it.each([
    '1',
    '1.',
    '.1',
    '01.0',
    '1.00',
    '1.0.0',
    '-1.0',
    '1.0 ',
    '1e3.0',
    '1000000000000000.0',
    '1.1000',
  ])('refuse %j as a position', (text) => {
    expect(POSITION_PATTERN.test(text)).toBe(false);
  });

  it('accept only what stays exact as a number', () => {
    expect(POSITION_PATTERN.test('999999999999999.255')).toBe(true);
    expect(Number.isSafeInteger(parsePosition('999999999999999.255').seq)).toBe(true);
    expect(RUN_PATTERN.test('1.0.5')).toBe(true);
    expect(RUN_PATTERN.test('1.0')).toBe(false);
    expect(RUN_PATTERN.test('1.0.5\n')).toBe(false);
  });
});

describe('ids', () => {
  it.each(['', 'a.b', '*', '>', 'a b', 'é', 'x'.repeat(65), 'a\n', '__proto__.x'])('refuse %j', (text) => {
    expect(isId(text)).toBe(false);
  });

  it('keep the reserved senders from being participants', () => {
    expect(
      ['payment', 'a-1', 'coordinator', 'operator', 'Payment', '1a', '-a', 'x'.repeat(33)].filter(
        isParticipant,
      ),
    ).toEqual(['payment', 'a-1']);
  });

  it('tell the time in a ULID', () => {
    expect(ulidTimeMs('01ARZ3NDEKTSV4RRFFQ69G5FAV')).toBe(1_469_922_850_259);
    expect(ulidTimeMs('7ZZZZZZZZZZZZZZZZZZZZZZZZZ')).toBe(2 ** 48 - 1);
    expect(ulidTimeMs('8ZZZZZZZZZZZZZZZZZZZZZZZZZ')).toBeUndefined();
    expect(ulidTimeMs('01ARZ3NDEKTSV4RRFFQ69G5FAU')).toBeUndefined();
  });
});

describe('durations', () => {
  it.each([
    ['1500ms', 1_500],
    ['30s', 30_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
    ['0s', 0],
  ])('read %s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  it.each(['', '30', 's', '-1s', '1.5s', '1 s', '1S', '30s ', '999999999999d'])('refuse %j', (text) => {
    expect(parseDurationMs(text)).toBeUndefined();
  });

  it('are shown short', () => {
    const shown = [0, 1.44, 999.4, 999.6, 1_234, 90_000, 600_000, 7_200_000, 7 * 86_400_000].map(
      formatDurationMs,
    );
    expect(shown).toEqual(['0ms', '1.4ms', '999ms', '1s', '1.23s', '90s', '10m', '2h', '7d']);
  });
});

describe('JSON', () => {
  it('has one canonical text per value', () => {
    const text = canonicalJson({ b: [1, { z: null, a: 'é"' }], a: 0, B: undefined, '10': true, '9': -0 });
    expect(text).toBe('{"10":true,"9":0,"a":0,"b":[1,{"a":"é\\"","z":null}]}');
    expect(canonicalJson(JSON.parse('{"x":1,"__proto__":2}'))).toBe('{"__proto__":2,"x":1}');
    expect(canonicalJson([undefined, null])).toBe('[null,null]');
  });

  it.each([
    [2 ** 53, 'beyond 2^53'],
    [-(2 ** 53), 'beyond 2^53'],
    [NaN, 'finite'],
    [undefined, 'not JSON'],
    [1n, 'not JSON'],
    [new Date(0), 'plain object'],
    [new Map(), 'plain object'],
    [[{ a: [Infinity] }], 'finite'],
    [{ a: JSON.parse('{"__proto__":{}}') }, '__proto__'],
  ])('refuses %o', (value, problem) => {
    expect(jsonProblem(value)).toContain(problem);
  });

  it('accepts 64 levels and not one more', () => {
    const nested = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
    expect(jsonProblem(nested(64))).toBeUndefined();
    expect(jsonProblem(nested(65))).toContain('64 levels');
    expect(jsonProblem(nested(50_000))).toContain('64 levels');
  });

  it('finds what an RFC 6901 pointer names, through own properties only', () => {
    const document = { 'a/b': { '~': [10, [20]] }, '': 'empty', 'm~n': 8 } as const;
    const at = (pointer: string): unknown => {
      const lookup = lookupPointer(document, pointer);
      return lookup.found ? lookup.value : 'nothing';
    };
    expect(at('')).toBe(document);
    expect(at('/a~1b/~0/1/0')).toBe(20);
    expect(at('/')).toBe('empty');
    expect(at('/m~0n')).toBe(8);
    expect(['/a~1b/~0/length', '/a~1b/~0/01', '/a~1b/~0/-', '/a~1b/~0/2'].map(at)).toEqual(
      Array(4).fill('nothing'),
    );
    expect(['/toString', '/__proto__', '/constructor/name', '/m~0n/x', 'm~0n', '//x'].map(at)).toEqual(
      Array(6).fill('nothing'),
    );
  });

  it.each([
    '',
    'abc',
    'é',
    '€',
    '😀',
    'a😀é€',
    '\ud800',
    '\udc00',
    '\ud800a',
    '\ud800\ud800\udc00',
    '\u07ff\u0800\uffff',
  ])('measures %j as Buffer does', (text) => {
    expect(utf8Length(text)).toBe(Buffer.byteLength(text));
  });
});
