import { PhasorError } from '../errors/phasor-error.ts';
import type { CrashPoint } from '../ports/crash-points.ts';
import { Broker } from './broker.ts';
import { Network, type Direction, type Latency } from './network.ts';
import { SimulatedNode, type NodeHost, type NodeOptions } from './node.ts';
import { SeededRandom } from './random.ts';
import { Actor, Scheduler, type RunEnd, type RunOptions } from './scheduler.ts';
import type { StreamSnapshot } from './stream.ts';
import { Trace, type TraceEvent } from './trace.ts';

export interface SimulationOptions {
  readonly seed: number | string;
  /** True wall clock at virtual time 0. Default: 2026-01-01. */
  readonly epochMs?: number;
  /** One way, between any node and the broker, in milliseconds. Default: 0.2 to 2. */
  readonly latency?: Latency;
  /** Shards of the pattern streams. Default: 2. */
  readonly shards?: number;
  /** Called for every event of the trace, for printing. */
  readonly onEvent?: (event: TraceEvent) => void;
}

const DEFAULT_EPOCH_MS = Date.UTC(2026, 0, 1);
const DEFAULT_LATENCY: Latency = { minMs: 0.2, maxMs: 2 };
const DEFAULT_SHARDS = 2;

/**
 * One seeded world: a broker, a network and nodes in virtual time. The same seed and the same calls give the same
 * trace, bit for bit. Faults may be called between runs, from `after`, or from `onPassing`.
 */
export class Simulation {
  readonly scheduler = new Scheduler();
  readonly trace: Trace;
  readonly broker: Broker;
  readonly network: Network;
  /** For the driver's own choices; the world's come from forks of their own. */
  readonly random: SeededRandom;
  /** Main functions that failed; the nodes were started again. A retryable error is a node's bad luck at its start. */
  readonly failures: { readonly node: string; readonly error: unknown }[] = [];
  /** Asked at every crash point that a node passes, before its code goes on; may crash it. */
  onPassing: ((node: SimulatedNode, point: CrashPoint, nth: number) => void) | undefined;
  readonly #epochMs: number;
  readonly #root: SeededRandom;
  readonly #nodes = new Map<string, SimulatedNode>();
  readonly #stores = new Map<string, { readonly value: unknown }>();
  readonly #driver = new Actor('driver', 'engine');

  constructor(options: SimulationOptions) {
    const { seed, epochMs = DEFAULT_EPOCH_MS, latency = DEFAULT_LATENCY, shards = DEFAULT_SHARDS } = options;
    const { scheduler } = this;
    this.#epochMs = epochMs;
    this.#root = new SeededRandom(seed);
    this.random = this.#root.fork('driver');
    this.trace = new Trace(options.onEvent);
    const { trace } = this;
    this.broker = new Broker({ scheduler, trace, epochMs, random: this.#root.fork('broker') });
    const { broker } = this;
    this.network = new Network({ scheduler, trace, broker, latency, random: this.#root.fork('network') });
    broker.applyStreams({ shards });
  }

  get nowMs(): number {
    return this.scheduler.nowMs;
  }

  get nodes(): readonly SimulatedNode[] {
    return [...this.#nodes.values()];
  }

  /** Adds a node and starts it. */
  addNode(name: string, options: NodeOptions): SimulatedNode {
    if (this.#nodes.has(name)) throw new PhasorError('CONFIG_INVALID', `two nodes named ${name}`, { name });
    const host: NodeHost = {
      scheduler: this.scheduler,
      network: this.network,
      random: this.#root.fork('nodes'),
      epochMs: this.#epochMs,
      stores: this.#stores,
      onPassing: (node, point, nth) => this.onPassing?.(node, point, nth),
      onFailure: (node, error) => {
        this.failures.push({ node: node.name, error });
        this.#note('main-failed', node.name, 0);
      },
      supervise: (delayMs, act) => this.after(delayMs, act),
    };
    const node = new SimulatedNode(name, host, options);
    this.#nodes.set(name, node);
    node.start();
    return node;
  }

  node(name: string): SimulatedNode {
    const node = this.#nodes.get(name);
    if (node === undefined) throw new PhasorError('CONFIG_INVALID', `no node named ${name}`, { name });
    return node;
  }

  /** What a database holds, for checkers; undefined when nobody has opened it. */
  stored(name: string): unknown {
    return this.#stores.get(name)?.value;
  }

  run(options: RunOptions = {}): Promise<RunEnd> {
    return this.scheduler.run(options);
  }

  /** Runs `act` at a virtual time from now, as part of the driver: it dies and pauses with nobody. */
  after(delayMs: number, act: () => void): void {
    this.scheduler.after(this.#driver, delayMs, act);
  }

  /** kill -9. What its kernel was given still arrives at the broker. */
  crash(name: string): void {
    this.#note('crash', name, this.node(name).lives);
    this.node(name).kill();
  }

  restart(name: string): void {
    this.node(name).start();
    this.#note('start', name, this.node(name).lives);
  }

  pause(name: string): void {
    this.#note('pause', name, 0);
    this.node(name).pause();
  }

  /** @param clock as `SimulatedNode.resume`. Default: `stands`. */
  resume(name: string, clock: 'stands' | 'runs' = 'stands'): void {
    this.#note('resume', name, 0, clock);
    this.node(name).resume(clock);
  }

  /** Moves a node's wall clock; positive: forward. */
  jumpClock(name: string, byMs: number): void {
    this.#note('clock-jump', name, byMs);
    this.node(name).jumpClock(byMs);
  }

  /** Stalls a node's link in both directions or one, until `heal`. */
  partition(name: string, direction?: Direction): void {
    this.network.partition(name, direction);
  }

  heal(name: string): void {
    this.network.heal(name);
  }

  /** Resets a node's connection: what is in flight is lost, so its publishes are unknown. */
  cut(name: string): void {
    this.network.cut(name);
  }

  setLatency(name: string, latency: Latency, direction?: Direction): void {
    this.#note('latency', name, Math.round(latency.maxMs), direction);
    this.network.setLatency(name, latency, direction);
  }

  /** The broker's process dies; what it acknowledged survives. Until `startBroker` nobody can connect. */
  crashBroker(): void {
    if (!this.broker.actor.alive) return;
    this.broker.crash();
    this.network.brokerDied();
  }

  /** @param options.forgottenAcks of each durable consumer: so many acks were not durable, their messages come again. */
  startBroker(options: { readonly forgottenAcks?: number } = {}): void {
    if (!this.broker.actor.alive) this.broker.start(options);
  }

  /** The broker hangs: what is sent to it waits, and is stored when it goes on, however long ago it timed out. */
  pauseBroker(): void {
    if (this.broker.actor.paused) return;
    this.#note('broker-pause', 'broker', 0);
    this.broker.actor.pause();
    this.network.brokerPaused();
  }

  resumeBroker(): void {
    if (!this.broker.actor.paused) return;
    this.#note('broker-resume', 'broker', 0);
    this.scheduler.resume(this.broker.actor);
  }

  /**
   * Another server leads the streams from `electionMs` on; until then publishes and requests are refused or unanswered.
   *
   * @param options.stepMs its clock against the old one's; negative: timestamps step back.
   */
  changeLeader(options: {
    readonly electionMs: number;
    readonly stepMs?: number;
    readonly forgottenAcks?: number;
  }): void {
    this.broker.loseLeader();
    this.scheduler.after(this.broker.actor, options.electionMs, () => this.broker.lead(options));
  }

  /** As an operator by mistake: readers are lost, workers heal and get every command again. */
  dropConsumers(stream: string, name?: string): void {
    this.broker.dropConsumers(stream, name);
  }

  /**
   * Puts a stream back to an earlier state, as a restored backup or a power loss with unsynced writes does: the
   * broker dies, loses what came later, and starts again after `downMs` (default: 1_000). Call it once a stream.
   */
  rollBack(stream: string, to: StreamSnapshot | number, options: { readonly downMs?: number } = {}): void {
    this.crashBroker();
    this.broker.rollBack(stream, to);
    this.after(options.downMs ?? 1_000, () => this.startBroker());
  }

  #note(type: string, where: string, number: number, detail?: string): void {
    const atMs = this.scheduler.nowMs;
    this.trace.add({ atMs, type, where, number, ...(detail === undefined ? {} : { detail }) });
  }
}
