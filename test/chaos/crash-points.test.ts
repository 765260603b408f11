// Goal: a process that dies at any of its durable boundaries (src/ports/crash-points.ts) is replaced without harm.
// Method: transfers over real processes, one of which kills itself at the named point; then it is started again. The
// judge reads the stored accounts and the streams after every point.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomFrom } from '../../examples/demo/bulk.ts';
import type { Client } from '../../src/index.ts';
import { CRASH_POINTS, type CrashPoint } from '../../src/ports/crash-points.ts';
import { Arena, chaosSeed, Load, type Role, type Seen } from './arena.ts';
import { judge } from './books.ts';

const COUNT = 120;
const WIDTH = 20;
/** Passed at least so often, by a wide margin: half of the transfers find too little money and are undone. */
const NTH = 4;
const UNDO_NTH = 2;
const UNDO: readonly CrashPoint[] = ['c16', 'p7'];
const ON_START: readonly CrashPoint[] = ['c11', 'c12'];
const COORDINATOR: readonly CrashPoint[] = [
  'c1',
  'c2',
  'c3',
  'c4',
  'c5',
  'c6',
  'c7',
  'c8',
  'c16',
  ...ON_START,
];
const WORKER: readonly CrashPoint[] = ['p1', 'p2', 'p3', 'p4', 'p5', 'p6', 'p7'];

const seed = chaosSeed();
const random = randomFrom(seed);
const seen: Seen[] = [];
let arena: Arena;
let client: Client;
beforeAll(async () => {
  arena = await Arena.start('none');
  client = await arena.rig.client('chaos');
}, 60_000);
afterAll(() => arena.stop());

async function survives(role: Role, point: CrashPoint): Promise<void> {
  const most = ON_START.includes(point) ? 1 : UNDO.includes(point) ? UNDO_NTH : NTH;
  const nth = 1 + Math.floor(random() * most);
  await arena.of(role).stop();
  const doomed = arena.doom(role, point, nth);
  const load = new Load(client, {
    seed: seed + seen.length,
    count: COUNT,
    width: WIDTH,
    names: point,
    maxAmount: 20_000,
  });
  expect(await doomed.waitForExit(20_000)).toEqual({ code: null, signal: 'SIGKILL' });
  await arena.launch(role);
  await load.done;
  seen.push(...load.seen);
  await arena.workersAreIdle();
  const { world } = await arena.rig.world();
  const { problems, undone } = await judge(world, arena.rig, seen);
  expect(problems, `CHAOS_SEED=${seed}, ${point} for time ${nth}`).toEqual([]);
  expect(undone).toBeGreaterThan(0);
}

describe('a coordinator', () => {
  it.each(COORDINATOR.map((point) => [point, CRASH_POINTS[point]] as const))(
    'that dies at %s (%s)',
    (point) => survives('coordinator', point),
  );
});

describe('a worker', () => {
  it.each(WORKER.map((point) => [point, CRASH_POINTS[point]] as const))('that dies at %s (%s)', (point) =>
    survives('icici', point),
  );
});
