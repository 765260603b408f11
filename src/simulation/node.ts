import type { CrashPoint } from '../ports/crash-points.ts';
import { silentLogger, type Logger } from '../ports/telemetry.ts';
import type { World } from '../ports/world.ts';
import { SimulatedBus } from './bus.ts';
import { NodeClock } from './clock.ts';
import { SimulatedConnection } from './connection.ts';
import { SimulatedKeyValueStore } from './key-value.ts';
import { SimulatedLog } from './log.ts';
import type { Network } from './network.ts';
import type { SeededRandom } from './random.ts';
import { Actor, type Scheduler } from './scheduler.ts';
import { NodeStore, type Store } from './store.ts';
import { SimulatedWork } from './work.ts';

/** What runs on a node; called anew in every life, once its connection is made. When it rejects, its process ends. */
export type Main = (node: NodeLife) => void | Promise<void>;

/** What a node's code gets: the ports, and its participant's database. */
export interface NodeLife {
  readonly name: string;
  /** 1 in the first life. */
  readonly life: number;
  readonly world: World;
  /** The database of that name, shared by all nodes that open it; `make` is called by the first. */
  store<T>(name: string, make: () => T): Store<T>;
}

export interface NodeOptions {
  readonly main: Main;
  /** Local wall clock against true time, in milliseconds. Default: 0. */
  readonly skewMs?: number;
  /** A supervisor starts the node again so long after its main function failed. Default: 1_000. */
  readonly restartMs?: number;
  /** Default: silent. */
  readonly logger?: Logger;
}

export interface NodeHost {
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly random: SeededRandom;
  readonly epochMs: number;
  readonly stores: Map<string, { readonly value: unknown }>;
  /** A crash point was passed, for the `nth` time by this node. */
  readonly onPassing: (node: SimulatedNode, point: CrashPoint, nth: number) => void;
  /** The node's main function failed: its process has ended. */
  readonly onFailure: (node: SimulatedNode, error: unknown) => void;
  /** Runs what no node runs. */
  readonly supervise: (delayMs: number, act: () => void) => void;
}

const RESTART_MS = 1_000;
const STORE_MIN_MS = 0.1;
const STORE_MAX_MS = 2;

/** A machine with one process. Its lives share its name, its wall clock's error and the counts of passed points. */
export class SimulatedNode {
  readonly name: string;
  /** How often each crash point was passed, over all lives. */
  readonly passed = new Map<CrashPoint, number>();
  readonly #host: NodeHost;
  readonly #options: NodeOptions;
  #skewMs: number;
  #lives = 0;
  #actor: Actor;
  #clock: NodeClock | undefined;

  constructor(name: string, host: NodeHost, options: NodeOptions) {
    this.name = name;
    this.#host = host;
    this.#options = options;
    this.#skewMs = options.skewMs ?? 0;
    this.#actor = new Actor(name, 'node');
    this.#actor.kill();
  }

  get alive(): boolean {
    return this.#actor.alive;
  }

  get paused(): boolean {
    return this.#actor.paused;
  }

  get lives(): number {
    return this.#lives;
  }

  /** Starts the next life, unless one is going on. */
  start(): void {
    if (this.#actor.alive) return;
    this.#lives += 1;
    const actor = new Actor(this.name, 'node');
    this.#actor = actor;
    const life = this.#lives;
    const { scheduler } = this.#host;
    const clock = new NodeClock({ ...this.#host, actor, skewMs: this.#skewMs });
    this.#clock = clock;
    scheduler.after(actor, this.#host.network.handshakeMs(this.name), () => {
      const { node, connection } = this.#live({ actor, clock, life });
      const stop = connection.onState((state) => {
        if (state !== 'connected') return;
        // Not from inside the listener: the code may listen itself.
        scheduler.after(actor, 0, () => {
          stop();
          this.#runMain(node, actor);
        });
      });
    });
  }

  #runMain(node: NodeLife, actor: Actor): void {
    const running = (async () => {
      await this.#options.main(node);
    })();
    running.catch((error: unknown) => {
      if (!actor.alive) return;
      this.kill();
      this.#host.onFailure(this, error);
      this.#host.supervise(this.#options.restartMs ?? RESTART_MS, () => this.start());
    });
  }

  /**
   * Ends the life at once, also in the middle of an event: the code that is running goes on until it returns, but
   * nothing it does reaches the world, no promise of a port settles any more and no timer fires.
   */
  kill(): void {
    if (!this.#actor.alive) return;
    this.#actor.kill();
    this.#host.network.nodeDied(this.name);
  }

  pause(): void {
    if (!this.#actor.alive || this.#actor.paused) return;
    this.#actor.pause();
    this.#clock?.pause();
  }

  /** @param clock whether its monotonic clock stood still meanwhile (a virtual machine) or ran on (a process). */
  resume(clock: 'stands' | 'runs'): void {
    if (!this.#actor.alive || !this.#actor.paused) return;
    this.#clock?.resume(clock);
    this.#host.scheduler.resume(this.#actor);
  }

  jumpClock(byMs: number): void {
    this.#skewMs += byMs;
    this.#clock?.jump(byMs);
  }

  #live({ actor, clock, life }: { actor: Actor; clock: NodeClock; life: number }): {
    readonly node: NodeLife;
    readonly connection: SimulatedConnection;
  } {
    const { scheduler, network, stores } = this.#host;
    const { name } = this;
    const random = this.#host.random.fork(`${name}/${life}`);
    const logger = this.#options.logger ?? silentLogger;
    const connectionRandom = random.fork('connection');
    const connection = new SimulatedConnection({
      ...{ name, actor, scheduler, network, clock, logger },
      random: connectionRandom,
    });
    const world: World = {
      log: new SimulatedLog(connection),
      work: new SimulatedWork(connection),
      bus: new SimulatedBus(connection),
      keyValue: new SimulatedKeyValueStore(connection),
      clock,
      random,
      logger,
      passing: (point) => {
        if (!actor.alive) return;
        const nth = (this.passed.get(point) ?? 0) + 1;
        this.passed.set(point, nth);
        this.#host.onPassing(this, point, nth);
      },
    };
    const storeRandom = random.fork('store');
    const latencyMs = (): number => storeRandom.between(STORE_MIN_MS, STORE_MAX_MS);
    const node: NodeLife = {
      name,
      life,
      world,
      store: <T>(key: string, make: () => T): Store<T> => {
        let held = stores.get(key);
        if (held === undefined) stores.set(key, (held = { value: make() }));
        return new NodeStore(held as { readonly value: T }, { scheduler, actor, latencyMs });
      },
    };
    return { node, connection };
  }
}
