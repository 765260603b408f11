// Goal: production coordinators, workers and clients run unchanged in the simulated world, reach right outcomes, and
// one seed is one story. Method: a bank in the participants' databases, whose money must be conserved.
import { describe, expect, it } from 'vitest';

import type { CrashPoint } from '../../src/ports/crash-points.ts';
import { createClient, from, saga, twoPhaseCommit } from '../../src/runtime/client/index.ts';
import { startCoordinator } from '../../src/runtime/coordinator.ts';
import { done, refused } from '../../src/runtime/worker-answers.ts';
import { startWorker } from '../../src/runtime/worker.ts';
import { Simulation, type Store } from '../../src/simulation/index.ts';

/** Balances, and what is held or undone, by step of a transaction. */
interface Bank {
  balance: number;
  readonly held: Map<string, number>;
  readonly over: Set<string>;
}

const START = 1_000_000;
const emptyBank = (): Bank => ({ balance: START, held: new Map(), over: new Set() });

interface Call {
  readonly tx: string;
  readonly step: string;
  readonly input: unknown;
}
const amountOf = ({ input }: Call): number => (input as { amount: number }).amount;

/** Idempotent by itself: a repeated call changes nothing, and an act after its undo is refused. */
function handlers(bank: Store<Bank>) {
  const key = ({ tx, step }: Call): string => `${tx}/${step}`;
  const hold = (call: Call) =>
    bank.transact((own) => {
      if (own.over.has(key(call))) return refused('over');
      if (own.held.has(key(call))) return done({ hold: key(call) });
      if (own.balance + amountOf(call) < 0) return refused('poor');
      own.held.set(key(call), amountOf(call));
      own.balance += amountOf(call);
      return done({ hold: key(call) });
    });
  const release = (call: Call) =>
    bank.transact((own) => {
      own.over.add(key(call));
      own.balance -= own.held.get(key(call)) ?? 0;
      own.held.delete(key(call));
    });
  return {
    move: { prepare: hold, commit: () => undefined, abort: release, execute: hold, compensate: release },
  };
}

interface Outcome {
  readonly tx: string;
  readonly status: string;
}

interface Told {
  readonly sim: Simulation;
  readonly outcomes: Outcome[];
}

interface Scenario {
  readonly seed: number;
  readonly transactions: number;
  readonly inFlight?: number;
  readonly crash?: { readonly node: string; readonly point: CrashPoint; readonly nth: number };
}

async function play({ seed, transactions, inFlight = 4, crash }: Scenario): Promise<Told> {
  const sim = new Simulation({ seed });
  const outcomes: Outcome[] = [];
  for (const name of ['coordinator-a', 'coordinator-b'])
    sim.addNode(name, {
      main: async ({ world }) => {
        await startCoordinator(world, { patterns: ['2pc', 'saga'] });
      },
    });
  for (const participant of ['from', 'to'])
    for (const replica of [1, 2])
      sim.addNode(`${participant}-${replica}`, {
        main: async ({ world, store }) => {
          const bank = store(participant, emptyBank);
          await startWorker(world, { participant, barrier: 'kv', ackWaitMs: 2_000, actions: handlers(bank) });
        },
      });
  sim.addNode('client', {
    main: async ({ world }) => {
      const client = await createClient(world, { sender: 'teller' });
      let next = 0;
      const teller = async (): Promise<void> => {
        for (let index = next++; index < transactions; index = next++) {
          const { tx, status } = await client.run(index % 2 === 0 ? transfer(index) : order(index));
          outcomes.push({ tx, status });
        }
      };
      await Promise.all(Array.from({ length: inFlight }, teller));
    },
  });
  if (crash !== undefined)
    sim.onPassing = (node, point, nth) => {
      if (node.name !== crash.node || point !== crash.point || nth !== crash.nth) return;
      sim.crash(node.name);
      sim.after(3_000, () => sim.restart(node.name));
    };
  await sim.run({ untilMs: 120_000, until: () => outcomes.length === transactions });
  await sim.run({ untilMs: sim.nowMs + 10_000 });
  return { sim, outcomes };
}

/** Every fifth asks for more than there is. */
const amount = (index: number): number => (index % 5 === 4 ? 2 * START : 1 + (index % 7));

const transfer = (index: number) =>
  twoPhaseCommit('transfer')
    .step('out', { participant: 'from', action: 'move', input: { amount: -amount(index) } })
    .step('in', { participant: 'to', action: 'move', input: { amount: amount(index) } })
    .build();

const order = (index: number) =>
  saga('order')
    .step('in', { participant: 'to', action: 'move', input: { amount: amount(index) } })
    .step('out', {
      participant: 'from',
      action: 'move',
      input: { amount: -amount(index), hold: from('in', '/hold') },
    })
    .build();

function expectConserved({ sim, outcomes }: Told, transactions: number): void {
  expect(sim.failures).toEqual([]);
  expect(outcomes).toHaveLength(transactions);
  const good = outcomes.filter(({ status }) => status === 'committed' || status === 'completed');
  const bad = outcomes.filter(({ status }) => status === 'aborted' || status === 'compensated');
  expect([good.length + bad.length, bad.length]).toEqual([transactions, Math.floor(transactions / 5)]);
  const banks = ['from', 'to'].map((name) => sim.stored(name) as Bank | undefined);
  const txs = banks.map((bank) => new Set([...(bank?.held.keys() ?? [])].map((key) => key.split('/')[0])));
  expect(txs).toEqual([new Set(good.map(({ tx }) => tx)), new Set(good.map(({ tx }) => tx))]);
  expect(banks.reduce((sum, bank) => sum + (bank?.balance ?? 0), 0)).toBe(2 * START);
}

describe('production code in the simulated world', () => {
  it('runs 2PC and sagas to their right ends, and one seed is one story', async () => {
    const first = await play({ seed: 1, transactions: 20 });
    expectConserved(first, 20);
    const again = await play({ seed: 1, transactions: 20 });
    expect(again.sim.trace.digest).toBe(first.sim.trace.digest);
    expect(again.outcomes).toEqual(first.outcomes);
    const other = await play({ seed: 2, transactions: 20 });
    expectConserved(other, 20);
    expect(other.sim.trace.digest).not.toBe(first.sim.trace.digest);
  });

  it('survives a coordinator that crashes between the decision and its commands, and one more of each kind', async () => {
    for (const [seed, point] of (['c3', 'c5', 'c6', 'c7', 'c4'] as const).entries()) {
      const crash = { node: 'coordinator-a', point, nth: 2 };
      const told = await play({ seed, transactions: 20, crash });
      expectConserved(told, 20);
      expect(told.sim.trace.counts.get('crash')).toBe(1);
      expect(told.sim.node('coordinator-a').lives).toBe(2);
      const again = await play({ seed, transactions: 20, crash });
      expect(again.sim.trace.digest).toBe(told.sim.trace.digest);
    }
  });

  it('carries a thousand transactions, 64 at a time', async () => {
    const transactions = 1_000;
    const told = await play({ seed: 3, transactions, inFlight: 64 });
    expectConserved(told, transactions);
  });
});
