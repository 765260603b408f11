// Goal: whatever text a run quotes, its outcome, refusal and notes follow their schemas.
// Method: over-long texts, fed by hand to the fold past the checks at the edge.
import { describe, expect, it } from 'vitest';
import type { Plan } from '../../src/protocol/envelopes.ts';
import { MAX_MESSAGE_CHARS } from '../../src/protocol/limits.ts';
import { FoldRig } from '../kit/fold-rig.ts';

describe('texts that do not fit an outcome', () => {
  // Its last character straddles the cap in UTF-16 code units.
  const long = (length: number): string => '\u{1F600}'.repeat(length);
  const pointing = (pointer: string): Plan => ({
    name: 'pointing',
    steps: [
      { participant: 'a', action: 'x' },
      { participant: 'b', action: 'x', input: { $from: `a/${pointer}` } },
    ],
  });
  const fits = (message: string | undefined): boolean =>
    message !== undefined && message.length <= MAX_MESSAGE_CHARS && !/\p{Surrogate}/u.test(message);

  it.each([long(2_000), `.${long(2_000)}`])('are cut in an outcome, between characters', (pointer) => {
    const saga = new FoldRig('saga');
    saga.begin({ plan: pointing(pointer) });
    saga.report('a', 'execute');
    saga.report('a', 'compensate');
    const body = saga.runs[0]?.outcomeBody;
    expect(body?.code).toBe('dangling-pointer');
    expect(fits(body?.message)).toBe(true);
  });

  it.each([long(2_000), `.${long(2_000)}`])('are cut in a refusal, between characters', (key) => {
    const plan = { name: 'p', steps: [{ participant: 'a', action: 'x', input: { [key]: { $from: 7 } } }] };
    const saga = new FoldRig('saga');
    expect(saga.begin({ plan })).toContain('refusal plan-invalid');
    const refusal = saga.runs[0]?.refusal;
    expect(fits(refusal?.message)).toBe(true);
    expect(refusal?.message, 'the problem itself is not what is cut').toContain('only key of its object');
  });

  it.each([long(600), `.${long(600)}`])('are cut wherever they come from', (message) => {
    const rig = new FoldRig();
    rig.begin();
    const code = 'c'.repeat(70);
    rig.report('debit', 'prepare', { answer: 'refused', code, message });
    rig.report('credit', 'abort');
    expect(fits(rig.runs[0]?.outcomeBody?.message)).toBe(true);
    for (const cut of [
      rig.runs[0]?.outcomeBody?.code,
      rig.runs[0]?.outcome?.code,
      rig.runs[0]?.decision?.code,
    ])
      expect(cut).toHaveLength(64);
  });
});
