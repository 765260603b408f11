/** The product's three processes, through its public door, as a user would run them. */
import { createClient, startCoordinator, startWorker, type Action, type World } from '../../src/index.ts';
import { closedLoop } from './closed-loop.ts';
import { PARTICIPANTS, type BenchPattern, type Load, type Measured } from './workload.ts';

const nothing = (): undefined => undefined;
const work: Action = {
  prepare: nothing,
  commit: nothing,
  abort: nothing,
  execute: nothing,
  compensate: nothing,
};

/** Handlers that do nothing need not be spread: as many commands a message as the floor sends. */
export async function productCoordinator(world: World, pattern: BenchPattern): Promise<void> {
  const coordinator = await startCoordinator(world, { patterns: [pattern], commandsPerMessage: 256 });
  await coordinator.ready;
}

/** Barrier `none`: the report in the log is the recorded answer. */
export async function productParticipants(world: World, pattern: BenchPattern): Promise<void> {
  for (const participant of PARTICIPANTS) {
    const concurrency = { open: 256, close: 256 };
    await startWorker(world, {
      participant,
      patterns: [pattern],
      actions: { work },
      barrier: 'none',
      concurrency,
    });
  }
}

export async function productClient(world: World): Promise<(load: Load) => Promise<Measured>> {
  const client = await createClient(world, { sender: 'client' });
  return (load) =>
    closedLoop(load, async () => {
      const outcome = await client.run({ pattern: load.pattern, plan: load.plan });
      return outcome.status;
    });
}
