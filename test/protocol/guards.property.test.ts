// Goal: a hand-written guard and its zod schema never disagree (G1, G2), so that a fast edge is not a weak one.
// Method: valid envelopes, and up to two harms to each, at any depth, from a list of boundary values.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as envelopes from '../../src/protocol/envelopes.ts';
import { isCommand, isDecided, isOutcome, isPlainBegin, isReport } from '../../src/protocol/hot-guards.ts';
import { begins, commands, decided, harmed, ODD, outcomes, reports } from '../kit/envelopes.ts';

type Guard = (value: unknown, bodyBytes: number) => boolean;
const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify([value]));
const RUNS = { numRuns: 2_000 };

const equals =
  (guard: Guard, schema: { safeParse(value: unknown): { success: boolean } }) => (value: unknown) => {
    const { success } = schema.safeParse(value);
    expect({ guard: guard(value, Infinity) }).toEqual({ guard: success });
    expect({ guard: guard(value, bytesOf(value)) }).toEqual({ guard: success });
    return success;
  };

describe.each([
  { name: 'command', guard: isCommand, schema: envelopes.commandSchema, valid: commands },
  { name: 'report', guard: isReport, schema: envelopes.reportSchema, valid: reports },
  { name: 'decided', guard: isDecided, schema: envelopes.decidedSchema, valid: decided },
  { name: 'outcome', guard: isOutcome, schema: envelopes.outcomeSchema, valid: outcomes },
])('the guard of $name', ({ guard, schema, valid }) => {
  it('accepts every valid envelope, as the schema does', () => {
    fc.assert(
      fc.property(valid, (value) => {
        expect(equals(guard, schema)(value)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  it('agrees with the schema at every boundary of every field', () => {
    fieldByField(valid, equals(guard, schema));
  });

  it('agrees with the schema on harmed envelopes, some of which are still valid', () => {
    let refused = 0;
    let accepted = 0;
    fc.assert(
      fc.property(harmed(valid), (value) => {
        if (equals(guard, schema)(value)) accepted += 1;
        else refused += 1;
      }),
      RUNS,
    );
    expect(refused).toBeGreaterThan(50);
    expect(accepted).toBeGreaterThan(30);
  });
});

/** Every field that any example has, with every odd value, in examples of every sort. */
function fieldByField(valid: fc.Arbitrary<Record<string, unknown>>, check: (value: unknown) => void): void {
  const samples = fc.sample(valid, { numRuns: 40, seed: 1 });
  const fields = [...new Set(samples.flatMap((sample) => Object.keys(sample)))];
  for (const field of fields) {
    for (const [index, odd] of ODD.entries()) {
      const one = samples[index % samples.length]!;
      const other = samples[(index + 7) % samples.length]!;
      for (const sample of [one, other]) check({ ...sample, [field]: odd });
    }
  }
}

describe('the guard of begin', () => {
  const schema = envelopes.beginSchema;
  const common = begins.map(({ allow: _allow, parent: _parent, ...begin }): Record<string, unknown> => begin);

  it('accepts nothing that the schema refuses, however it was harmed', () => {
    let fast = 0;
    fc.assert(
      fc.property(fc.oneof(common, harmed(common), harmed(begins)), (value) => {
        for (const bytes of [Infinity, bytesOf(value)]) {
          if (!isPlainBegin(value, bytes)) continue;
          fast += 1;
          expect(schema.safeParse(value).success).toBe(true);
        }
      }),
      RUNS,
    );
    expect(fast).toBeGreaterThan(50);
  });

  it('takes the fast way for every begin without rare fields', () => {
    fc.assert(
      fc.property(common, (value) => {
        expect(schema.safeParse(value).success).toBe(true);
        expect(isPlainBegin(value, Infinity)).toBe(true);
      }),
    );
  });
});
