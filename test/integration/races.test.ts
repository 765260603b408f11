// Goal: the races that people lose money by, on a real nats-server, for each pattern; docs/patterns tells the outcomes.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { subjects } from '../../src/kernel/subjects.ts';
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import type { OutcomeEnvelope } from '../../src/protocol/envelopes.ts';
import {
  saga,
  threePhaseCommit,
  threePhaseSaga,
  twoPhaseCommit,
  twoPhaseSaga,
} from '../../src/runtime/client/index.ts';
import type { BuiltPlan, StepOptions } from '../../src/runtime/client/plans.ts';
import type { Handler } from '../../src/runtime/worker-call.ts';
import { eventually } from '../kit/eventually.ts';
import { gate } from '../contract/contract-world.ts';
import { Rig } from '../kit/rig.ts';
import { Shelf } from '../kit/shelf.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ shards: 2 });
});
afterEach(() => rig.reset());
afterAll(() => rig.stop());

const builders = {
  '2pc': twoPhaseCommit,
  '3pc': threePhaseCommit,
  saga,
  '2ps': twoPhaseSaga,
  '3ps': threePhaseSaga,
} as const;
const ATOMIC = Object.keys(builders) as readonly (keyof typeof builders)[];
/** What undoes a step that never got further than its first phase. */
const UNDO = {
  '2pc': 'abort',
  '3pc': 'abort',
  saga: 'compensate',
  '2ps': 'cancel',
  '3ps': 'release',
} as const;
const SUCCESS: ReadonlySet<string> = new Set(['committed', 'completed']);
const succeeded = ({ status }: OutcomeEnvelope): boolean => SUCCESS.has(status);

interface Part {
  readonly participant: string;
  readonly input: number;
  readonly more?: Partial<StepOptions>;
}

function planOf(pattern: keyof typeof builders, parts: readonly Part[]): BuiltPlan<Pattern> {
  interface Chain {
    step(step: string, options: StepOptions): Chain;
    build(): BuiltPlan<Pattern>;
  }
  let chain = builders[pattern]('race') as unknown as Chain;
  for (const { participant, input, more } of parts)
    chain = chain.step(participant, { participant, action: 'take', input, ...more });
  return chain.build();
}

async function shelves(initially: Readonly<Record<string, number>>): Promise<Record<string, Shelf>> {
  const made: Record<string, Shelf> = {};
  for (const [participant, count] of Object.entries(initially)) {
    const shelf = new Shelf(count);
    made[participant] = shelf;
    await rig.worker({ participant, barrier: 'kv', actions: { take: shelf.action } });
  }
  return made;
}

/** What has come back to rest holds nothing, and nothing was made or lost. */
async function atRest(shelf: Shelf, initially: number): Promise<void> {
  await eventually(() => shelf.held === 0, { what: 'no hold left' });
  expect(shelf.available + shelf.taken).toBe(initially);
}

describe.each(ATOMIC)('races in %s', (pattern) => {
  it('sells the last two items to one of two orders at most', async () => {
    const { stock, payment } = await shelves({ stock: 2, payment: 100 });
    await rig.coordinator({ patterns: [pattern] });
    const client = await rig.client();
    const order = planOf(pattern, [
      { participant: 'stock', input: 2 },
      { participant: 'payment', input: 10 },
    ]);
    const outcomes = await Promise.all([1, 2].map(() => client.run(order, { timeoutMs: 20_000 })));
    const sold = outcomes.filter(succeeded).length;
    expect(sold).toBe(1);
    await atRest(stock!, 2);
    await atRest(payment!, 100);
    expect([stock!.taken, payment!.taken]).toEqual([2, 10]);
  });

  it('ends both of two transactions that take the same things in opposite order', async () => {
    const { a, b } = await shelves({ a: 1, b: 1 });
    await rig.coordinator({ patterns: [pattern] });
    const client = await rig.client();
    const there = planOf(pattern, [
      { participant: 'a', input: 1 },
      { participant: 'b', input: 1 },
    ]);
    const back = planOf(pattern, [
      { participant: 'b', input: 1 },
      { participant: 'a', input: 1 },
    ]);
    const outcomes = await Promise.all([there, back].map((plan) => client.run(plan, { timeoutMs: 20_000 })));
    const won = outcomes.filter(succeeded).length;
    // Nobody waits for a lock: both may lose, one after the other then wins.
    expect(won).toBeLessThanOrEqual(1);
    await atRest(a!, 1);
    await atRest(b!, 1);
    expect([a!.taken, b!.taken]).toEqual([won, won]);
    if (won === 0) expect(succeeded(await client.run(there, { timeoutMs: 20_000 }))).toBe(true);
  });

  it('takes no payment while the stock is out, also when the order is begun again meanwhile', async () => {
    const { stock, payment } = await shelves({ stock: 0, payment: 100 });
    await rig.coordinator({ patterns: [pattern] });
    const client = await rig.client();
    const tx = `again-${pattern}`;
    const order = planOf(pattern, [
      { participant: 'payment', input: 10 },
      { participant: 'stock', input: 1 },
    ]);
    const begin = (): Promise<OutcomeEnvelope> => client.run({ ...order, tx }, { timeoutMs: 20_000 });
    const outcomes = await Promise.all([begin(), begin()]);
    const last = await begin();
    for (const outcome of [...outcomes, last]) {
      expect(outcome.status).toBe(last.status);
      expect(outcome.run).toBe(last.run);
    }
    expect(succeeded(last)).toBe(false);
    await atRest(payment!, 100);
    expect([stock!.taken, payment!.taken]).toEqual([0, 0]);
  });

  it('undoes an act that its undo overtakes, and takes no answer that comes too late', async () => {
    const slow = new Shelf(5);
    const blocked = gate();
    const first = pattern === '3ps' ? 'reserve' : pattern === 'saga' ? 'execute' : 'prepare';
    const act = slow.action[first];
    const waits: Handler = async (call) => {
      await blocked.opened;
      return act?.(call);
    };
    const take = { ...slow.action, [first]: waits };
    await rig.worker({ participant: 'slow', barrier: 'kv', actions: { take } });
    const { payment } = await shelves({ payment: 100 });
    await rig.coordinator({ patterns: [pattern] });
    const client = await rig.client();
    const more = { retry: { maxAttempts: 1, attempt: 300 }, undoRetry: { initial: 50, max: 200 } };
    const plan = planOf(pattern, [
      { participant: 'payment', input: 1 },
      { participant: 'slow', input: 5, more },
    ]);
    const outcome = client.run(plan, { timeoutMs: 30_000 });
    const undo = subjects.command(pattern, 'slow', UNDO[pattern]);
    await eventually(async () => (await rig.envelopes(pattern, undo)).length > 0, { what: 'the undo' });
    blocked.open();
    expect(succeeded(await outcome)).toBe(false);
    await atRest(slow, 5);
    await atRest(payment!, 100);
    expect([slow.taken, payment!.taken]).toEqual([0, 0]);
  });
});

describe('races of an approval', () => {
  it('executes nothing when a hold went stale while a person made up their mind', async () => {
    const { stock, payment } = await shelves({ stock: 1, payment: 100 });
    await rig.coordinator({ patterns: ['2ps'] });
    const client = await rig.client();
    const order = twoPhaseSaga('order')
      .step('stock', { participant: 'stock', action: 'take', input: 1 })
      .step('payment', { participant: 'payment', action: 'take', input: 10 })
      .gate({ signal: 'approval' })
      .build();
    const handle = await client.begin(order);
    await eventually(() => stock!.held === 1 && payment!.held === 10, { what: 'both are prepared' });
    stock!.expire();
    await client.signal('2ps', handle.tx, { name: 'approval', verdict: 'approve' });
    expect(await handle.outcome({ timeoutMs: 20_000 })).toMatchObject({
      status: 'compensated',
      code: 'stale',
    });
    await atRest(stock!, 1);
    await atRest(payment!, 100);
    expect([stock!.taken, payment!.taken]).toEqual([0, 0]);
  });
});
