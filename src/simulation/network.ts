/**
 * TCP between nodes and the broker: each connection is two pipes.
 *
 * Invariants: 1. Inside a living connection nothing is lost, repeated or reordered. 2. A connection that breaks loses
 * what was in flight; what was handed over before a process died still arrives, as from the kernel's buffers.
 * 3. A partition stalls a direction: what was sent arrives late, in order, when it heals, also when the sender has
 * given the connection up meanwhile (so a publish that timed out may be stored after its retry).
 */
import type { Broker, Session } from './broker.ts';
import type { ClientFrame, ServerFrame } from './frames.ts';
import type { SeededRandom } from './random.ts';
import type { Actor, Scheduler } from './scheduler.ts';
import type { Trace } from './trace.ts';

/** Of one direction of a node's link, in milliseconds; drawn anew for each chunk. */
export interface Latency {
  readonly minMs: number;
  readonly maxMs: number;
}

export type Direction = 'to-broker' | 'from-broker';

export interface NetworkOptions {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly trace: Trace;
  readonly broker: Broker;
  readonly latency: Latency;
}

/** The node's end of a connection. */
export interface Wire {
  send(frame: ClientFrame): void;
  /** What was sent still arrives; nothing is received any more. */
  close(): void;
}

export interface Dialer {
  readonly name: string;
  readonly actor: Actor;
  onFrame(frame: ServerFrame): void;
  onBroken(why: string): void;
}

/** The client pings every 5 s and gives up after two unanswered pings. */
const STALE_MIN_MS = 10_000;
const STALE_MAX_MS = 15_000;
/** The server pings every 2 min and gives up after two. */
const SERVER_STALE_MS = 240_000;

interface Chunk<F> {
  readonly frames: F[];
  readonly sentMs: number;
  readonly arrivalMs: number;
  readonly last: boolean;
}

interface PipeOptions<F> {
  readonly scheduler: Scheduler;
  readonly receiver: () => Actor;
  readonly latencyMs: () => number;
  readonly isBlocked: () => boolean;
  readonly take: (frame: F) => boolean;
  readonly onEnd: () => void;
}

/** One direction: first in, first out. */
class Pipe<F> {
  readonly #options: PipeOptions<F>;
  #queue: Chunk<F>[] = [];
  #lastArrivalMs = 0;
  #broken = false;
  #ended = false;

  constructor(options: PipeOptions<F>) {
    this.#options = options;
  }

  /** What is written in one turn is read in one. */
  send(frame: F): void {
    if (this.#broken || this.#ended) return;
    const last = this.#queue.at(-1);
    if (last?.sentMs === this.#options.scheduler.nowMs) last.frames.push(frame);
    else this.#dispatch([frame], false);
  }

  /** Nothing more will be sent; the receiver hears of it after all that was. */
  end(): void {
    if (this.#broken || this.#ended) return;
    this.#ended = true;
    this.#dispatch([], true);
  }

  /** What is in flight is lost. */
  cut(): void {
    this.#broken = true;
    this.#queue = [];
  }

  unblock(): void {
    if (this.#queue.length > 0) this.#planArrival(this.#options.latencyMs());
  }

  #dispatch(frames: F[], last: boolean): void {
    const { nowMs } = this.#options.scheduler;
    const arrivalMs = Math.max(this.#lastArrivalMs, nowMs + this.#options.latencyMs());
    this.#lastArrivalMs = arrivalMs;
    this.#queue.push({ frames, sentMs: nowMs, arrivalMs, last });
    this.#planArrival(arrivalMs - nowMs);
  }

  #planArrival(inMs: number): void {
    const { scheduler, receiver } = this.#options;
    scheduler.after(receiver(), inMs, () => this.#arrive());
  }

  #arrive(): void {
    for (;;) {
      const [chunk] = this.#queue;
      if (chunk === undefined || this.#options.isBlocked()) return;
      if (chunk.arrivalMs > this.#options.scheduler.nowMs) return;
      this.#queue.shift();
      for (const frame of chunk.frames) if (!this.#options.take(frame)) return;
      if (chunk.last) this.#options.onEnd();
    }
  }
}

interface Path {
  blocked: boolean;
  latency: Latency;
}

interface Connection {
  readonly dialer: Dialer;
  readonly session: Session;
  readonly up: Pipe<ClientFrame>;
  readonly down: Pipe<ServerFrame>;
  /** The node still holds its end. */
  nodeOpen: boolean;
  brokerOpen: boolean;
}

export class Network {
  readonly #options: NetworkOptions;
  readonly #paths = new Map<string, Readonly<Record<Direction, Path>>>();
  readonly #connections = new Set<Connection>();
  /** How often each node's link was healed: silence that ended does not count. */
  readonly #heals = new Map<string, number>();

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** Undefined: refused or unreachable now. The caller has waited for the handshake. */
  dial(dialer: Dialer): Wire | undefined {
    const { broker } = this.#options;
    if (!this.reachable(dialer.name)) return undefined;
    const path = this.#pathOf(dialer.name);
    const connection: Connection = {
      dialer,
      session: broker.open(dialer.name, (frame) => connection.down.send(frame)),
      up: this.#pipe<ClientFrame>(path['to-broker'], {
        receiver: () => broker.actor,
        take: (frame) => {
          broker.handle(connection.session, frame);
          return true;
        },
        onEnd: () => this.#closeAtBroker(connection),
      }),
      down: this.#pipe<ServerFrame>(path['from-broker'], {
        receiver: () => dialer.actor,
        take: (frame) => {
          if (!connection.nodeOpen || !dialer.actor.alive) return false;
          dialer.onFrame(frame);
          return true;
        },
        onEnd: () => this.#tellNode(connection, 'the server closed the connection'),
      }),
      nodeOpen: true,
      brokerOpen: true,
    };
    this.#connections.add(connection);
    return {
      send: (frame) => {
        if (connection.nodeOpen && dialer.actor.alive) connection.up.send(frame);
      },
      close: () => this.#closeAtNode(connection),
    };
  }

  /** Milliseconds from a dial to the first message: two round trips. */
  handshakeMs(node: string): number {
    const path = this.#pathOf(node);
    return 2 * (this.#draw(path['to-broker']) + this.#draw(path['from-broker']));
  }

  reachable(node: string): boolean {
    const path = this.#pathOf(node);
    const { actor } = this.#options.broker;
    return actor.alive && !actor.paused && !path['to-broker'].blocked && !path['from-broker'].blocked;
  }

  setLatency(node: string, latency: Latency, direction?: Direction): void {
    const path = this.#pathOf(node);
    if (direction !== 'from-broker') path['to-broker'].latency = latency;
    if (direction !== 'to-broker') path['from-broker'].latency = latency;
  }

  /** Stalls one direction or both, until `heal`. After 10 to 15 s of it the node gives its connection up. */
  partition(node: string, direction?: Direction): void {
    const path = this.#pathOf(node);
    if (direction !== 'from-broker') path['to-broker'].blocked = true;
    if (direction !== 'to-broker') path['from-broker'].blocked = true;
    this.#note('partition', node, direction);
    const heals = this.#heals.get(node);
    const isSilent = (): boolean => this.#heals.get(node) === heals;
    for (const connection of this.#of(node)) this.#watch(connection, isSilent);
  }

  heal(node: string): void {
    const path = this.#pathOf(node);
    path['to-broker'].blocked = false;
    path['from-broker'].blocked = false;
    this.#heals.set(node, (this.#heals.get(node) ?? 0) + 1);
    this.#note('heal', node);
    for (const { up, down } of this.#of(node)) {
      up.unblock();
      down.unblock();
    }
  }

  /** Resets the node's connections: what is in flight, in both directions, is lost. */
  cut(node: string): void {
    this.#note('cut', node);
    for (const connection of this.#of(node)) {
      connection.up.cut();
      connection.down.cut();
      this.#closeAtBroker(connection);
      const { scheduler } = this.#options;
      scheduler.after(connection.dialer.actor, 0, () => this.#tellNode(connection, 'connection reset'));
    }
  }

  /** The node's process is gone; its kernel still sends what it was given. */
  nodeDied(node: string): void {
    for (const connection of this.#of(node)) this.#closeAtNode(connection);
  }

  brokerDied(): void {
    for (const connection of this.#connections) {
      connection.brokerOpen = false;
      connection.up.cut();
      connection.down.end();
    }
  }

  brokerPaused(): void {
    const { actor } = this.#options.broker;
    for (const connection of this.#connections) this.#watch(connection, () => actor.paused);
  }

  /** Both ends give up on silence, the node much sooner. */
  #watch(connection: Connection, isSilent: () => boolean): void {
    const { scheduler, random, broker } = this.#options;
    const staleMs = random.between(STALE_MIN_MS, STALE_MAX_MS);
    const since = scheduler.nowMs;
    const silent = (): boolean => isSilent() && this.#connections.has(connection);
    scheduler.after(connection.dialer.actor, staleMs, () => {
      if (silent() && connection.nodeOpen) {
        this.#note('stale', connection.dialer.name, `${Math.round(scheduler.nowMs - since)} ms`);
        this.#tellNode(connection, 'stale connection');
      }
    });
    scheduler.after(broker.actor, SERVER_STALE_MS, () => {
      if (silent() && connection.brokerOpen) this.#closeAtBroker(connection);
    });
  }

  #tellNode(connection: Connection, why: string): void {
    if (!connection.nodeOpen) return;
    this.#closeAtNode(connection);
    connection.dialer.onBroken(why);
  }

  #closeAtNode(connection: Connection): void {
    if (!connection.nodeOpen) return;
    connection.nodeOpen = false;
    connection.down.cut();
    if (connection.brokerOpen) connection.up.end();
    this.#forget(connection);
  }

  #closeAtBroker(connection: Connection): void {
    if (!connection.brokerOpen) return;
    connection.brokerOpen = false;
    this.#options.broker.close(connection.session);
    if (connection.nodeOpen) connection.down.end();
    this.#forget(connection);
  }

  #forget(connection: Connection): void {
    if (!connection.nodeOpen && !connection.brokerOpen) this.#connections.delete(connection);
  }

  #of(node: string): readonly Connection[] {
    return [...this.#connections].filter(({ dialer }) => dialer.name === node);
  }

  #pathOf(node: string): Readonly<Record<Direction, Path>> {
    let path = this.#paths.get(node);
    if (path === undefined) {
      const { latency } = this.#options;
      path = { 'to-broker': { blocked: false, latency }, 'from-broker': { blocked: false, latency } };
      this.#paths.set(node, path);
    }
    return path;
  }

  #draw({ latency: { minMs, maxMs } }: Path): number {
    return this.#options.random.between(minMs, maxMs);
  }

  #pipe<F>(path: Path, options: Pick<PipeOptions<F>, 'receiver' | 'take' | 'onEnd'>): Pipe<F> {
    const { scheduler } = this.#options;
    const latencyMs = (): number => this.#draw(path);
    return new Pipe<F>({ ...options, scheduler, latencyMs, isBlocked: () => path.blocked });
  }

  #note(type: string, where: string, detail?: string): void {
    const { scheduler, trace } = this.#options;
    trace.add({
      atMs: scheduler.nowMs,
      type,
      where,
      number: 0,
      ...(detail === undefined ? {} : { detail }),
    });
  }
}
