/**
 * A deterministic world for Phasor: production code runs unchanged against a model of JetStream, in virtual time, on
 * one thread. Everything follows from the seed and from the calls made on `Simulation`.
 *
 * @example
 * const sim = new Simulation({ seed: 7 });
 * sim.addNode('c1', { main: async ({ world }) => void (await startCoordinator(world)) });
 * sim.addNode('w1', { main: async ({ world, store }) => { const bank = store('bank', () => new Map()); … } });
 * sim.onPassing = (node, point, nth) => { if (point === 'c5' && nth === 1) sim.crash(node.name); };
 * sim.after(500, () => sim.partition('w1', 'to-broker'));
 * await sim.run({ untilMs: 60_000 });
 * sim.broker.stream('DTX_2PC_STREAM')?.messages(sim.broker.wallMs); sim.stored('bank'); sim.trace.digest;
 *
 * A node's code must keep what survives a crash in `store`, and take time and randomness from its world alone.
 */
export { Simulation, type SimulationOptions } from './simulation.ts';
export type { SimulatedNode, Main, NodeLife, NodeOptions } from './node.ts';
export type { Store } from './store.ts';
export { SeededRandom } from './random.ts';
export type { RunEnd, RunOptions, Scheduler } from './scheduler.ts';
export type { Broker, Publish, PublishFate } from './broker.ts';
export type { Direction, Latency, Network } from './network.ts';
export type { StoredMessage, StreamModel, StreamSettings, StreamSnapshot } from './stream.ts';
export type { Trace, TraceEvent } from './trace.ts';
