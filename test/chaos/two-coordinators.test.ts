// Goal: two coordinators on the same shards, and one that wakes up long after it was replaced, are harmless (DESIGN §4).
// Method: real processes, with Phasor's barrier and with the bank's own in the account; the judge reads the stored
// accounts, where an effect that happened twice, or after its undo, is money made or lost.
import { describe, expect, it, onTestFinished } from 'vitest';
import { Arena, chaosSeed, Load, type Barrier } from './arena.ts';
import { judge, repeatedCommands } from './books.ts';

const BARRIERS: readonly Barrier[] = ['kv', 'none'];
const COUNT = 500;
const WIDTH = 100;

async function arenaWith(barrier: Barrier): Promise<Arena> {
  const arena = await Arena.start(barrier);
  onTestFinished(() => arena.stop());
  return arena;
}

async function expectGoodBooks(arena: Arena, loads: readonly Load[], seed: number): Promise<void> {
  await arena.workersAreIdle();
  const { world } = await arena.rig.world();
  const seen = loads.flatMap((load) => load.seen);
  const { problems, runs } = await judge(world, arena.rig, seen);
  expect(problems, `CHAOS_SEED=${seed}`).toEqual([]);
  expect(runs).toBe(seen.length);
}

describe.each(BARRIERS)('with barrier %s', (barrier) => {
  it('two live coordinators carry out everything once', async () => {
    const seed = chaosSeed();
    const arena = await arenaWith(barrier);
    await arena.extra('coordinator');
    const load = new Load(await arena.rig.client('chaos'), { seed, count: COUNT, width: WIDTH });
    await load.done;
    await expectGoodBooks(arena, [load], seed);
    // Without this the test would prove nothing: both must have sent commands.
    expect(await repeatedCommands(arena.rig)).toBeGreaterThan(COUNT);
  }, 90_000);

  it('a coordinator that slept through the rest of the load wakes up without harm', async () => {
    const seed = chaosSeed();
    const arena = await arenaWith(barrier);
    const stale = arena.of('coordinator');
    const client = await arena.rig.client('chaos');
    const load = new Load(client, { seed, count: COUNT, width: WIDTH });
    await load.ended(COUNT / 5);
    stale.kill('SIGSTOP');
    const successor = await arena.launch('coordinator');
    await load.done;
    stale.kill('SIGCONT');
    // With its successor gone, only the stale one can end these: it has read all that happened meanwhile.
    successor.kill('SIGKILL');
    await successor.waitForExit();
    const later = new Load(client, { seed: seed + 1, count: 50, width: 10, names: 'later' });
    await later.done;
    await expectGoodBooks(arena, [load, later], seed);
    await stale.stop();
  }, 90_000);
});
