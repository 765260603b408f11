/**
 * Virtual time. Events run one at a time, ordered by their time and, at the same time, by when they were planned.
 *
 * Invariants: 1. Between two events of an actor every promise continuation has run, however long its chain: only
 * what waits for another event is left. 2. Nothing of a dead actor runs; what becomes due for a paused one is held
 * and runs when it resumes, timers before the rest (an event loop looks at its timers before its sockets).
 */
import { invariant } from '../kernel/assert.ts';

/** Whose code an event runs. `engine` runs none that was written for promises, so nothing needs to be drained. */
export type ActorKind = 'node' | 'engine';

export type TaskKind = 'timer' | 'io';

export interface Task {
  readonly atMs: number;
  readonly order: number;
  readonly actor: Actor;
  readonly kind: TaskKind;
  /** Undefined: cancelled. */
  run: (() => void) | undefined;
}

/** One life of a process: a node that restarts is another actor. */
export class Actor {
  readonly name: string;
  readonly kind: ActorKind;
  #alive = true;
  #paused = false;
  #held: Task[] = [];

  constructor(name: string, kind: ActorKind) {
    this.name = name;
    this.kind = kind;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get paused(): boolean {
    return this.#paused;
  }

  kill(): void {
    this.#alive = false;
    this.#held = [];
  }

  pause(): void {
    this.#paused = true;
  }

  /** @returns what became due meanwhile, in the order in which it is to run. */
  resume(): readonly Task[] {
    this.#paused = false;
    const held = this.#held;
    this.#held = [];
    return [...held.filter(({ kind }) => kind === 'timer'), ...held.filter(({ kind }) => kind !== 'timer')];
  }

  hold(task: Task): void {
    this.#held.push(task);
  }
}

export interface RunOptions {
  /** Stops at this virtual time; the clock then stands there. Default: no bound. */
  readonly untilMs?: number;
  /** Stops as soon as this is true; asked before every event. */
  readonly until?: () => boolean;
  /** Default: 10_000_000. */
  readonly maxEvents?: number;
}

export type RunEnd = 'condition' | 'time' | 'idle' | 'events';

const DEFAULT_MAX_EVENTS = 10_000_000;
/** Events between two turns of the real event loop, so that a test's own timeout can fire. */
const EVENTS_PER_TURN = 4_096;

export class Scheduler {
  readonly #heap: Task[] = [];
  #nowMs = 0;
  #order = 0;
  #events = 0;
  #running = false;
  #sinceTurn = 0;

  /** Virtual milliseconds since the start, with fractions. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events run so far. */
  get events(): number {
    return this.#events;
  }

  /** When the next event is due; Infinity when there is none. */
  get nextMs(): number {
    return this.#heap[0]?.atMs ?? Infinity;
  }

  after(actor: Actor, delayMs: number, run: () => void, kind: TaskKind = 'io'): Task {
    const atMs = this.#nowMs + Math.max(0, delayMs);
    const task: Task = { atMs, order: (this.#order += 1), actor, kind, run };
    push(this.#heap, task);
    return task;
  }

  cancel(task: Task): void {
    task.run = undefined;
  }

  resume(actor: Actor): void {
    for (const task of actor.resume()) {
      const { run } = task;
      if (run === undefined) continue;
      const again = this.after(
        actor,
        0,
        () => {
          if (task.run !== undefined) run();
        },
        task.kind,
      );
      invariant(again.atMs >= task.atMs, 'a held task runs late, never early');
    }
  }

  /** Lets the continuations of promises run that were settled outside of any event. */
  settle(): Promise<void> {
    return new Promise(drained);
  }

  async run(options: RunOptions = {}): Promise<RunEnd> {
    invariant(!this.#running, 'the scheduler runs already');
    this.#running = true;
    const { untilMs = Infinity, until = never, maxEvents = DEFAULT_MAX_EVENTS } = options;
    const last = this.#events + maxEvents;
    try {
      await this.settle();
      for (;;) {
        if (until()) return 'condition';
        const due = this.#take(untilMs);
        if (due === undefined) return this.#stop(untilMs);
        if (this.#events >= last) {
          push(this.#heap, due);
          return 'events';
        }
        this.#fire(due);
        if (due.actor.kind === 'node') await this.#drain();
      }
    } finally {
      this.#running = false;
    }
  }

  #stop(untilMs: number): RunEnd {
    const idle = this.#heap.length === 0;
    if (Number.isFinite(untilMs)) this.#nowMs = Math.max(this.#nowMs, untilMs);
    return idle ? 'idle' : 'time';
  }

  /** The next event that has somebody to run it. */
  #take(untilMs: number): Task | undefined {
    for (;;) {
      const [next] = this.#heap;
      if (next === undefined || next.atMs > untilMs) return undefined;
      pop(this.#heap);
      if (next.run === undefined || !next.actor.alive) continue;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      if (!next.actor.paused) return next;
      next.actor.hold(next);
    }
  }

  #fire(task: Task): void {
    this.#events += 1;
    const { run } = task;
    task.run = undefined;
    run?.();
  }

  #drain(): Promise<void> {
    this.#sinceTurn += 1;
    if (this.#sinceTurn < EVENTS_PER_TURN) return new Promise(drained);
    this.#sinceTurn = 0;
    return new Promise((resolve) => setImmediate(resolve));
  }
}

const never = (): boolean => false;

/**
 * The callback of a nextTick asked for by a microtask runs once the microtask queue is empty, however many were added
 * meanwhile: a turn of the event loop without its cost (Node runs the two queues alternately until both are empty).
 */
function drained(resolve: () => void): void {
  queueMicrotask(() => process.nextTick(resolve));
}

const isBefore = (a: Task, b: Task): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);

function push(heap: Task[], task: Task): void {
  let at = heap.length;
  heap.push(task);
  while (at > 0) {
    const above = (at - 1) >> 1;
    const parent = heap[above];
    if (parent === undefined || !isBefore(task, parent)) break;
    heap[at] = parent;
    at = above;
  }
  heap[at] = task;
}

function pop(heap: Task[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    const left = at * 2 + 1;
    const first = heap[left];
    if (first === undefined) break;
    const second = heap[left + 1];
    const below = second !== undefined && isBefore(second, first) ? left + 1 : left;
    const child = heap[below];
    if (child === undefined || !isBefore(child, last)) break;
    heap[at] = child;
    at = below;
  }
  heap[at] = last;
}
