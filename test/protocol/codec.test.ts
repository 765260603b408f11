// Goal: what is no body is refused whole, before anything in it is read; what fits goes there and back.
import { describe, expect, it } from 'vitest';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import { decodeBody, encodeEnvelope, joinBody } from '../../src/protocol/codec.ts';
import { MAX_BODY_BYTES, MAX_ENVELOPE_BYTES } from '../../src/protocol/limits.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const problemOf = (data: Uint8Array): string => {
  const body = decodeBody(data);
  return body.ok ? 'none' : body.problem;
};

describe('a body', () => {
  it('goes there and back', () => {
    const envelopes = [{ v: 1, text: 'é😀"\\\u0000' }, { a: [1, null] }, 'anything', null];
    const texts = envelopes.map((envelope) => JSON.stringify(envelope));
    expect(decodeBody(joinBody(texts))).toEqual({ ok: true, envelopes });
  });

  it.each([
    ['', 'not JSON'],
    ['{', 'not JSON'],
    ['[1,]', 'not JSON'],
    ['[01]', 'not JSON'],
    ['[NaN]', 'not JSON'],
    ['[1] [2]', 'not JSON'],
    ['\ufeff[1]', 'not JSON'],
    ['{"a":1}', 'not an array'],
    ['null', 'not an array'],
    ['"[1]"', 'not an array'],
    ['[]', 'empty array'],
  ])('refuses %j', (text, problem) => {
    expect(problemOf(bytes(text))).toContain(problem);
  });

  it.each([
    ['a lone continuation byte', [0x5b, 0x22, 0x80, 0x22, 0x5d]],
    ['an overlong slash', [0x5b, 0x22, 0xc0, 0xaf, 0x22, 0x5d]],
    ['an encoded surrogate', [0x5b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x5d]],
    ['a cut sequence', [0x5b, 0x22, 0xf0, 0x9f]],
    ['UTF-16', [0xff, 0xfe, 0x5b, 0x00, 0x31, 0x00, 0x5d, 0x00]],
  ])('refuses %s', (_, data) => {
    expect(problemOf(Uint8Array.from(data))).toBe('is not UTF-8');
  });

  it('has at most 256 envelopes', () => {
    const body = (count: number): Uint8Array => joinBody(Array.from({ length: count }, () => '1'));
    expect(problemOf(body(256))).toBe('none');
    expect(problemOf(body(257))).toContain('257 envelopes');
  });

  it('has at most 256 KiB, judged before parsing', () => {
    const filled = (length: number): Uint8Array => bytes(`["${'x'.repeat(length - 4)}"]`);
    expect(problemOf(filled(MAX_BODY_BYTES))).toBe('none');
    expect(problemOf(filled(MAX_BODY_BYTES + 1))).toContain('262145 bytes');
    expect(problemOf(new Uint8Array(MAX_BODY_BYTES + 1))).toContain('262145 bytes');
  });

  it('survives nesting as deep as a body can hold', () => {
    const levels = MAX_BODY_BYTES / 2;
    expect(problemOf(bytes('['.repeat(levels) + ']'.repeat(levels)))).toBe('none');
    expect(problemOf(bytes('['.repeat(MAX_BODY_BYTES)))).toBe('is not JSON');
  });

  it('keeps each envelope apart from its neighbours, hostile keys included', () => {
    const body = decodeBody(bytes('[{"__proto__":{"x":1}},{"y":2}]'));
    expect(body.ok && Object.keys(body.envelopes[0] as object)).toEqual(['__proto__']);
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });
});

describe('encoding an envelope', () => {
  const wrapping = JSON.stringify({ t: '' }).length;

  it.each([
    ['x', 1],
    ['é', 2],
    ['€', 3],
  ])('fits up to the cap in bytes of %s, and throws beyond', (character, size) => {
    const fitting = Math.floor((MAX_ENVELOPE_BYTES - wrapping) / size);
    const text = encodeEnvelope({ t: character.repeat(fitting) });
    expect(problemOf(joinBody([text]))).toBe('none');
    try {
      encodeEnvelope({ t: character.repeat(fitting + 1) });
      expect.unreachable();
    } catch (error) {
      expect(PhasorError.is(error, 'PAYLOAD_TOO_LARGE')).toBe(true);
    }
  });
});
