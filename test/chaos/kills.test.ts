// Goal: kill -9 of anything at any moment, then a restart: everything ends, and the books balance.
// Method: 2,000 transfers over real processes; the victim dies at random moments of the load; the judge reads the
// stored accounts and the streams. CHAOS_SEED repeats a choice of moments and transfers.
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { BANKS } from '../../examples/bank/ledger.ts';
import { randomFrom } from '../../examples/demo/bulk.ts';
import { Arena, chaosSeed, Load, type Barrier } from './arena.ts';
import { judge } from './books.ts';

const COUNT = 2_000;
const WIDTH = 200;
const KILLS = 3;
/** The last kill comes while enough is left to be hit by it. */
const LATEST = 1_700;

interface Kill {
  readonly afterEnds: number;
  readonly thenMs: number;
  readonly luck: number;
}

function kills(seed: number): readonly Kill[] {
  const random = randomFrom(seed + 1);
  const all = Array.from({ length: KILLS }, () => ({
    afterEnds: 1 + Math.floor(random() * LATEST),
    thenMs: Math.floor(random() * 30),
    luck: random(),
  }));
  return all.sort((a, b) => a.afterEnds - b.afterEnds);
}

type Strike = (arena: Arena, kill: Kill) => Promise<void>;

async function survives(strike: Strike, barrier: Barrier = 'none'): Promise<void> {
  const seed = chaosSeed();
  const arena = await Arena.start(barrier);
  onTestFinished(() => arena.stop());
  const client = await arena.rig.client('chaos');
  const load = new Load(client, { seed, count: COUNT, width: WIDTH });
  for (const kill of kills(seed)) {
    await load.ended(kill.afterEnds);
    // Not a wait for anything: the moment of the kill is the random part.
    await delay(kill.thenMs);
    await strike(arena, kill);
  }
  await load.done;
  await arena.workersAreIdle();
  const { world } = await arena.rig.world();
  const { problems, runs, moved, undone } = await judge(world, arena.rig, load.seen);
  expect(problems, `CHAOS_SEED=${seed}`).toEqual([]);
  expect(runs).toBeGreaterThanOrEqual(COUNT);
  expect([moved > COUNT / 2, undone > 0, moved + undone]).toEqual([true, true, runs]);
}

describe('kill -9 during 2,000 transfers', () => {
  it('of the coordinator', async () => {
    await survives(async (arena) => {
      await arena.kill('coordinator');
      await arena.launch('coordinator');
    });
  }, 120_000);

  it.each(['none', 'kv'] as const)(
    'of workers, with barrier %s',
    async (barrier) => {
      await survives(async (arena, { luck }) => {
        const bank = BANKS[Math.floor(luck * BANKS.length)] ?? 'sbi';
        await arena.kill(bank);
        await arena.launch(bank);
      }, barrier);
    },
    120_000,
  );

  it('of the nats-server', async () => {
    await survives(async ({ nats }) => {
      await nats.kill('SIGKILL');
      await nats.restart();
    });
  }, 120_000);
});
