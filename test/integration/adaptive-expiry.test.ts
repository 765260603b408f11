// Goal: `expiry: 'adaptive'` lets slow work end, up to the upper bound: neither coordinator nor worker ends it sooner.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ExpiryStrategy } from '../../src/reliability/adaptive-expiry.ts';
import { eventual, saga, threePhaseSaga, twoPhaseSaga } from '../../src/runtime/client/index.ts';
import { done } from '../../src/runtime/worker-answers.ts';
import type { Action } from '../../src/runtime/worker-call.ts';
import { Rig } from '../kit/rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ shards: 1 });
});
afterEach(() => rig.reset());
afterAll(() => rig.stop());

const SLOW_MS = 400;
const WIDE = { lower: 150, upper: 30_000 };
/** From so many samples on the strategy knows a kind of work. */
const SAMPLES = 64;
const slowly = async (): Promise<ReturnType<typeof done>> => {
  await new Promise((resolve) => setTimeout(resolve, SLOW_MS));
  return done();
};
const quickly = (): void => undefined;
const HANDLERS: Action = {
  prepare: quickly,
  reserve: quickly,
  execute: slowly,
  compensate: quickly,
  cancel: quickly,
  release: quickly,
};
const step = { participant: 'stock', action: 'pick' };
const PLANS = {
  saga: saga('order').step('pick', step),
  '2ps': twoPhaseSaga('order').step('pick', step),
  '3ps': threePhaseSaga('order').step('pick', step),
  eventual: eventual('order').step('pick', step),
} as const;

async function run(pattern: keyof typeof PLANS, expiry: ExpiryStrategy): Promise<string> {
  const pick = pattern === '3ps' ? { ...HANDLERS, validate: quickly } : HANDLERS;
  await rig.worker({ participant: 'stock', barrier: 'kv', actions: { pick }, patterns: [pattern] });
  await rig.coordinator({ patterns: [pattern], expiry });
  const client = await rig.client();
  const patient = PLANS[pattern].build();
  await Promise.all(Array.from({ length: SAMPLES }, () => client.run(patient, { timeoutMs: 20_000 })));
  const wide = PLANS[pattern].build({ deadlines: { execute: WIDE } });
  return (await client.run(wide, { timeoutMs: 20_000 })).status;
}

describe('adaptive expiry', () => {
  it.each(['saga', '2ps', '3ps', 'eventual'] as const)(
    'of %s: what is always slow may be slow',
    async (pattern) => {
      expect(await run(pattern, 'adaptive')).toBe('completed');
    },
  );

  it('is a choice: fixed at the lower bound, the same work fails', async () => {
    expect(await run('saga', 'fixed')).toBe('compensated');
  });
});
