/** One simulated node whose code is the test's, and what happens to what it does. */
import { subjects, type Subject } from '../../src/kernel/subjects.ts';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import type { LogSubscription } from '../../src/ports/log.ts';
import type { World } from '../../src/ports/world.ts';
import { Simulation, type NodeLife } from '../../src/simulation/index.ts';

export const STREAM = 'DTX_2PC_STREAM';
export const SUBJECT: Subject = subjects.input('2pc', 'client', 'begin', 0);
export const COMMANDS: Subject = subjects.command('2pc', 'bank', 'prepare');
export const body = new TextEncoder().encode('[]');

export interface Rig {
  readonly sim: Simulation;
  readonly world: World;
  readonly lives: NodeLife[];
  stored(): number;
}

/** One node, `n`, whose code is the test's. */
export async function rig(seed = 1): Promise<Rig> {
  const sim = new Simulation({ seed });
  const lives: NodeLife[] = [];
  sim.addNode('n', { main: (life) => void lives.push(life) });
  await sim.run({ until: () => lives.length === 1 });
  const { world } = lives[0] ?? fail();
  return { sim, world, lives, stored: () => sim.broker.stream(STREAM)?.lastSeq ?? -1 };
}

function fail(): never {
  throw new Error('the node did not start');
}

/** What becomes of an append: `seq`, or the code of its error. */
export function append(world: World, msgId?: string): { result: string } {
  const seen = { result: 'pending' };
  world.log.append(SUBJECT, body, msgId === undefined ? {} : { msgId }).then(
    ({ seq, duplicate }) => (seen.result = `${seq}${duplicate ? ' again' : ''}`),
    (error: unknown) => (seen.result = PhasorError.is(error) ? error.code : String(error)),
  );
  return seen;
}

export const reading = (world: World, lost: string[]): Promise<LogSubscription> =>
  world.log.read({
    stream: STREAM,
    filters: [],
    after: 0,
    onMessage: () => undefined,
    onLost: (why) => void lost.push(why),
  });

export const runFor = (sim: Simulation, ms: number): Promise<unknown> => sim.run({ untilMs: sim.nowMs + ms });

/** Runs until the promise has settled. */
export async function settled<T>(sim: Simulation, promise: Promise<T>): Promise<T> {
  let over = false;
  void promise.finally(() => (over = true)).catch(() => undefined);
  await sim.run({ until: () => over, untilMs: sim.nowMs + 60_000 });
  return promise;
}
