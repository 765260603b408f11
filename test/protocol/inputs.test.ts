// Goal: inputs point into outputs by own properties only, and nothing oversized or missing is ever sent.
import { describe, expect, it } from 'vitest';
import type { Json } from '../../src/kernel/json.ts';
import { pointersIn, resolveInput } from '../../src/protocol/inputs.ts';
import { MAX_INPUT_BYTES } from '../../src/protocol/limits.ts';

const OUTPUTS: Readonly<Record<string, Json>> = {
  reserve: { holdId: 'h-1', items: [{ sku: 'a/b', 'odd~key': 7 }], none: null },
  price: 42,
};
const outputOf = (step: string): Json | undefined =>
  Object.hasOwn(OUTPUTS, step) ? OUTPUTS[step] : undefined;
const resolve = (input: Json) => resolveInput(input, outputOf);

describe('pointersIn', () => {
  it('lists pointers in reading order with their place', () => {
    const input = { a: { $from: 'reserve/holdId' }, b: [1, { $from: 'price' }], 'c d': { $from: 'x/0/y' } };
    expect(pointersIn(input)).toStrictEqual([
      { field: '.a', step: 'reserve', pointer: '/holdId' },
      { field: '.b[1]', step: 'price', pointer: '' },
      { field: '["c d"]', step: 'x', pointer: '/0/y' },
    ]);
  });

  it('takes the whole input as a pointer', () =>
    expect(pointersIn({ $from: 'price' })).toStrictEqual([{ field: '', step: 'price', pointer: '' }]));

  it('takes what has no such key for plain data', () =>
    expect(pointersIn(['$from', null, { from: 'price' }, 7])).toEqual([]));

  it.each([{ $from: 7 }, { $from: null }, { $from: 'price', other: 1 }, { $from: { $from: 'price' } }])(
    'refuses %j, which was hardly meant as data',
    (input) => {
      expect(pointersIn([input])).toStrictEqual([
        { field: '[0]', problem: '"$from" must be a string and the only key of its object' },
      ]);
    },
  );

  it.each(['', '/holdId', 'a b/x', 'a.b', 'reserve/~2'])('refuses %j', (from) => {
    expect(pointersIn({ at: { $from: from } })).toStrictEqual([
      { field: '.at', problem: expect.stringContaining('"$from"') },
    ]);
  });
});

describe('resolveInput', () => {
  it('puts values in their places and leaves the rest alone', () =>
    expect(
      resolve({
        hold: { $from: 'reserve/holdId' },
        list: [{ $from: 'reserve/items/0/sku' }, { $from: 'reserve/items/0/odd~0key' }],
        total: { $from: 'price' },
        none: { $from: 'reserve/none' },
        note: 'as it is',
      }),
    ).toStrictEqual({
      ok: true,
      value: { hold: 'h-1', list: ['a/b', 7], total: 42, none: null, note: 'as it is' },
    }));

  it.each([
    ['a step without output', 'ship/id'],
    ['a missing key', 'reserve/hold'],
    ['an index beyond the end', 'reserve/items/1'],
    ['an index with a leading zero', 'reserve/items/00'],
    ['a key of a number', 'price/toFixed'],
    ['an inherited key', 'reserve/constructor'],
    ['the prototype', 'reserve/__proto__'],
    ['an array method', 'reserve/items/length'],
    ['a malformed pointer', '/reserve'],
  ])('refuses %s', (_, from) => {
    expect(resolve({ deep: [{ $from: from }] })).toStrictEqual({
      ok: false,
      problem: { code: 'dangling-pointer', message: `nothing is at "${from}"` },
    });
  });

  it('quotes no more of a pointer than a person reads', () => {
    const from = `reserve/${'\u{1F600}'.repeat(2_000)}`;
    const resolved = resolve({ $from: from });
    const { message } = resolved.ok ? { message: '' } : resolved.problem;
    expect(message).toMatch(/^nothing is at "reserve\/.{50,}…"$/u);
    expect(message.length).toBeLessThan(300);
    expect(message).not.toMatch(/\p{Surrogate}/u);
    const [bad] = pointersIn({ $from: 'x '.repeat(2_000) });
    expect(bad !== undefined && 'problem' in bad ? bad.problem.length : Infinity).toBeLessThan(300);
  });

  it('does not follow pointers inside outputs', () => {
    const output = { $from: 'secret' };
    expect(resolveInput({ $from: 'a' }, (step) => (step === 'a' ? output : 'leaked'))).toEqual({
      ok: true,
      value: output,
    });
  });

  const TOO_LARGE = { ok: false, problem: { code: 'input-too-large' } };

  it('accepts an input of exactly the cap and refuses one byte more', () => {
    const room = MAX_INPUT_BYTES - JSON.stringify({ text: '', more: 'x' }).length;
    const sized = (bytes: number): unknown =>
      resolveInput({ text: 'a'.repeat(bytes), more: { $from: 's' } }, () => 'x');
    expect(sized(room)).toMatchObject({ ok: true });
    expect(sized(room + 1)).toMatchObject(TOO_LARGE);
  });

  it('stops early at an input that repeats a large output', () => {
    let reads = 0;
    const input = Array.from({ length: 4_000 }, () => ({ $from: 's' }));
    const resolved = resolveInput(input, () => {
      reads += 1;
      return 'x'.repeat(16_000);
    });
    expect(resolved).toMatchObject(TOO_LARGE);
    expect(reads).toBeLessThan(10);
  });

  it('refuses what becomes nested deeper than an envelope may be', () => {
    const nest = (depth: number, leaf: Json): Json => (depth === 0 ? leaf : [nest(depth - 1, leaf)]);
    const resolved = resolveInput(nest(40, { $from: 's' }), () => nest(40, 1));
    expect(resolved).toMatchObject(TOO_LARGE);
  });
});
