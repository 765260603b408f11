// Goal: the model of JetStream keeps the same promises as the real server. Method: the same suites, on virtual time
// that runs along with real time, faster.
import { randomInt } from 'node:crypto';

import type { Clock } from '../../src/ports/clock.ts';
import type { World } from '../../src/ports/world.ts';
import { Simulation } from '../../src/simulation/index.ts';
import { busContract } from './bus.contract.ts';
import type { ContractStream, ContractWorld } from './contract-world.ts';
import { keyValueContract } from './key-value.contract.ts';
import { logTroubleContract } from './log-trouble.contract.ts';
import { logContract } from './log.contract.ts';
import { workContract } from './work.contract.ts';

/** Virtual milliseconds for a real one. */
const SPEED = 4;
const RESTART_MS = 500;
const seed = Number(process.env['SIMULATION_SEED'] ?? randomInt(1_000_000));

let latest: World | undefined;

async function makeWorld(): Promise<ContractWorld> {
  const sim = new Simulation({ seed, epochMs: Date.now() });
  const stop = follow(sim);
  let nodes = 0;
  const open = (): Promise<World> =>
    new Promise((resolve) => {
      nodes += 1;
      sim.addNode(`n${nodes}`, { main: ({ world }) => resolve(world) });
    });
  const world = await open();
  latest = world;
  const worlds = [world];
  return {
    world,
    another: async () => {
      const other = await open();
      worlds.push(other);
      return other;
    },
    makeStream: (stream) => {
      sim.broker.makeStream(settingsOf(stream));
      return Promise.resolve();
    },
    dropConsumers: (stream) => {
      sim.dropConsumers(stream);
      return Promise.resolve();
    },
    removeMessages: (stream, seqs) => {
      sim.broker.removeMessages(stream, seqs);
      return Promise.resolve();
    },
    crash: async () => {
      sim.crashBroker();
      sim.after(RESTART_MS, () => sim.startBroker({ forgottenAcks: 2 }));
      await Promise.all(worlds.map(reconnected));
    },
    close: stop,
  };
}

/** Lets virtual time follow real time until it is told to stop. */
function follow(sim: Simulation): () => Promise<void> {
  const follower = { open: true };
  const startedMs = performance.now();
  const ended = (async () => {
    while (follower.open) {
      await sim.run({ untilMs: (performance.now() - startedMs) * SPEED });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  return () => {
    follower.open = false;
    return ended;
  };
}

/** The connection was lost and is there again. */
function reconnected({ bus }: World): Promise<void> {
  let wasLost = false;
  return new Promise((resolve) => {
    const stop = bus.onConnection((state) => {
      if (state === 'disconnected') wasLost = true;
      if (state !== 'connected' || !wasLost) return;
      stop();
      resolve();
    });
  });
}

function settingsOf({ name, subjects, maxBytes, shards = 1, dedupWindowMs = 86_400_000 }: ContractStream) {
  return {
    ...{ name, subjects, maxBytes: maxBytes ?? -1, maxMsgSize: -1, maxMsgsPerSubject: -1 },
    ...({ discard: 'new', duplicateWindowMs: 120_000, allowMsgTtl: false } as const),
    metadata: { shards: String(shards), dedupWindow: String(dedupWindowMs) },
  };
}

function clockOfWorld(): Clock {
  if (latest === undefined) throw new Error('no world yet');
  return latest.clock;
}

const simulated = { name: `simulated (seed ${seed})`, makeWorld };
logContract(simulated);
logTroubleContract(simulated);
workContract({
  ...simulated,
  clock: {
    wallMs: () => clockOfWorld().wallMs(),
    monotonicMs: () => clockOfWorld().monotonicMs(),
    after: (delayMs, run) => clockOfWorld().after(delayMs, run),
  },
});
busContract(simulated);
keyValueContract(simulated);
