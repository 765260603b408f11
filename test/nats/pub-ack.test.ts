import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { parsePubAck } from '../../src/nats/pub-ack.ts';

const parse = (text: string) => parsePubAck(new TextEncoder().encode(text));

describe('a publish acknowledgement', () => {
  it('is read alike with and without spaces, a domain or a duplicate mark', () => {
    const stored = { type: 'stored', seq: 12, duplicate: false };
    expect(parse('{"stream":"S","seq":12}')).toEqual(stored);
    expect(parse('{"stream":"S", "seq":12}')).toEqual(stored);
    expect(parse('{"stream":"S", "seq": 12}')).toEqual(stored);
    expect(parse('{"stream":"S","seq":12,"domain":"hub"}')).toEqual(stored);
    expect(parse('{"stream":"S","domain":"hub","seq":12}')).toEqual(stored);
    expect(parse('{"stream":"S","seq":12,"duplicate":true}')).toEqual({ ...stored, duplicate: true });
  });

  it('gives every sequence that a double can hold', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (seq) => {
        expect(parse(`{"stream":"S", "seq":${seq}}`)).toEqual({ type: 'stored', seq, duplicate: false });
      }),
    );
  });

  it('tells a refusal from an answer, also when both carry a sequence', () => {
    const error = { code: 400, err_code: 10071, description: 'wrong last sequence: 7' };
    expect(parse(JSON.stringify({ error, stream: 'S', seq: 0 }))).toEqual({
      type: 'refused',
      error: { code: 400, errCode: 10071, description: 'wrong last sequence: 7' },
    });
    expect(parse('{"error":{},"seq":0}')).toMatchObject({ type: 'refused' });
  });

  it.each(['', '}', '12}', 'hello', '{"stream":"S"}', '{"seq":"12"}', 'null', '[]'])(
    'takes %j for no answer of JetStream',
    (text) => {
      expect(parse(text)).toBeUndefined();
    },
  );
});
