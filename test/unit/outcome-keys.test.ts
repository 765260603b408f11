// Goal: the outcome key is the barrier of children: whoever writes it first, a begin or an undo, decides for both.
import { describe, expect, it } from 'vitest';
import type { OutcomeEnvelope } from '../../src/protocol/envelopes.ts';
import { OutcomeKeys } from '../../src/runtime/outcome-keys.ts';
import { T0, twoSteps } from '../kit/fold-rig.ts';
import { MemoryKeyValue } from '../kit/memory-key-value.ts';

const HOUR = 3_600_000;
const tx = 'child-1';
const begin = { pattern: '2pc', tx, run: `7.0.${T0}`, beginMs: T0, plan: twoSteps } as const;
const asked = { pattern: '2pc', tx, buryForMs: HOUR } as const;
const keysOf = (): OutcomeKeys => new OutcomeKeys(new MemoryKeyValue(() => T0));

describe('what became of a child that must not begin any more', () => {
  it('is never, once and for all, when no begin was judged: a later one is a mismatch', async () => {
    const keys = keysOf();
    expect(await keys.foreclose(asked)).toEqual({ type: 'never' });
    expect(await keys.judge(begin)).toEqual({ value: 'mismatch', of: '0.0.0' });
    expect(await keys.foreclose(asked)).toEqual({ type: 'never' });
  });

  it('is open when a begin was first, and then how it ended', async () => {
    const keys = keysOf();
    expect(await keys.judge(begin)).toEqual({ value: 'admit' });
    expect(await keys.foreclose(asked)).toEqual({ type: 'open', run: begin.run });
    const told = { at: '9.0', time: T0 + 5, pattern: '2pc', status: 'aborted', scope: 'all' } as const;
    const outcome: OutcomeEnvelope = { v: 1, tx, run: begin.run, ...told };
    await keys.end({ pattern: '2pc', outcome, plan: twoSteps, until: T0 + 24 * HOUR });
    expect(await keys.foreclose(asked)).toEqual({ type: 'ended', outcome });
  });

  it('is forgotten when a missing key proves nothing, and nothing is written then', async () => {
    const keys = keysOf();
    expect(await keys.foreclose({ ...asked, buryForMs: undefined })).toEqual({ type: 'forgotten' });
    expect(await keys.judge(begin)).toEqual({ value: 'admit' });
  });

  it('is decided once when a begin and an undo come together', async () => {
    for (const undoFirst of [true, false]) {
      const keys = keysOf();
      const undo = () => keys.foreclose(asked);
      const judge = () => keys.judge(begin);
      const [one, two] = await Promise.all(undoFirst ? [undo(), judge()] : [judge(), undo()]);
      const [fate, judged] = undoFirst ? [one, two] : [two, one];
      const pair = [(fate as { type: string }).type, (judged as { value: string }).value];
      expect([
        ['never', 'mismatch'],
        ['open', 'admit'],
      ]).toContainEqual(pair);
    }
  });
});
