/** Faults of the world, drawn per seed. Each kind draws from a random of its own: leaving one out changes no other. */
import { streamOf } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { CRASH_POINTS, type CrashPoint } from '../../ports/crash-points.ts';
import type { PublishFate } from '../broker.ts';
import type { SeededRandom } from '../random.ts';
import type { Simulation } from '../simulation.ts';
import { KINDS } from './kinds.ts';

export const WORLD_FAULTS = [
  'lost-answer',
  'lost-publish',
  'overrun',
  'crash-point',
  'crash',
  'pause',
  'partition',
  'one-way',
  'cut',
  'latency',
  'skew',
  'clock-jump',
  'broker-crash',
  'broker-pause',
  'leader',
  'consumers',
] as const;
/** Faults of participants and callers, which lie in the workload. */
export const WORK_FAULTS = ['slow', 'wrong', 'duplicate'] as const;
export const FAULTS = [...WORLD_FAULTS, ...WORK_FAULTS] as const;
export type Fault = (typeof FAULTS)[number];

export const isFault = (text: string): text is Fault => (FAULTS as readonly string[]).includes(text);

export const isWorkFault = (fault: Fault): boolean => (WORK_FAULTS as readonly Fault[]).includes(fault);

const LIKELIHOOD = 0.35;
/** There are many points. */
const OFTEN = 0.65;

/** A random subset: what never happens together hides what only a few together break. */
export const drawFaults = (random: SeededRandom): readonly Fault[] =>
  FAULTS.filter((fault) => random.chance(fault === 'crash-point' ? OFTEN : LIKELIHOOD));

export interface FaultOptions {
  readonly sim: Simulation;
  readonly random: SeededRandom;
  readonly faults: ReadonlySet<Fault>;
  readonly patterns: readonly Pattern[];
  readonly seed: number;
  /** Nothing happens later. */
  readonly untilMs: number;
  /** Longest partition or pause. */
  readonly longMs: number;
}

const POINTS = Object.keys(CRASH_POINTS) as CrashPoint[];
const TARGETS = 2;

/** Plans all faults of a seed and heals them. */
export class Faults {
  /** How often each kind struck. */
  readonly struck = new Map<Fault, number>();
  /** Nodes killed at each point. */
  readonly crashedAt = new Map<CrashPoint, number>();
  readonly #options: FaultOptions;
  #over = false;

  constructor(options: FaultOptions) {
    this.#options = options;
  }

  begin(): void {
    const { faults } = this.#options;
    this.#planPublishes();
    if (faults.has('crash-point')) this.#planCrashPoints();
    for (const fault of Object.keys(ACTS) as (keyof typeof ACTS)[]) {
      if (!faults.has(fault)) continue;
      const random = this.#options.random.fork(fault);
      const times = 1 + random.below(4);
      for (let count = 0; count < times; count += 1) this.#planAct(fault, random);
    }
  }

  /** All faults are gone and everybody runs. */
  heal(): void {
    const { sim } = this.#options;
    this.#over = true;
    sim.onPassing = undefined;
    sim.broker.onPublish = undefined;
    sim.startBroker();
    sim.resumeBroker();
    for (const { name } of sim.nodes) {
      sim.resume(name, 'runs');
      sim.heal(name);
      sim.setLatency(name, { minMs: 0.2, maxMs: 2 });
      sim.restart(name);
    }
  }

  #planAct(fault: keyof typeof ACTS, random: SeededRandom): void {
    const { sim, untilMs, patterns } = this.#options;
    const nodes = chooseNodes(sim, random);
    const chosen = { nodes, stream: streamOf(random.pick(patterns) ?? '2pc'), longMs: this.#options.longMs };
    const act = ACTS[fault](sim, chosen, random);
    const stop = act.stop;
    const atMs = random.between(0, untilMs * 0.9);
    sim.after(atMs, () => {
      if (this.#over) return;
      this.#count(fault);
      act.start();
      if (stop === undefined) return;
      sim.after(act.lastsMs, () => {
        if (!this.#over) stop();
      });
    });
  }

  #planPublishes(): void {
    const { sim, faults, random: root } = this.#options;
    const random = root.fork('publishes');
    const fates: readonly (readonly [Fault, PublishFate, number])[] = [
      ['lost-answer', 'lose-answer', random.between(0, 0.1)],
      ['lost-publish', 'lose', random.between(0, 0.1)],
      ['overrun', 'overrun', random.between(0, 0.1)],
    ];
    const active = fates.filter(([fault]) => faults.has(fault));
    if (active.length === 0) return;
    sim.broker.onPublish = () => {
      for (const [fault, fate, chance] of active) {
        if (!random.chance(chance)) continue;
        this.#count(fault);
        return fate;
      }
      return 'normal';
    };
  }

  /** A few points of this seed, so that all have their turn, and any other at times. */
  #planCrashPoints(): void {
    const { sim, seed } = this.#options;
    const random = this.#options.random.fork('crash-point');
    const targets = new Map<CrashPoint, number>();
    // Not in step with the kinds, which follow the seed as well.
    const own = POINTS[Math.floor(seed / KINDS.length) % POINTS.length];
    for (let index = 0; index < TARGETS; index += 1) {
      const point = random.pick(POINTS);
      if (point !== undefined) targets.set(point, 1 + random.below(20));
    }
    if (own !== undefined) targets.set(own, 1);
    const seen = new Map<CrashPoint, number>();
    sim.onPassing = (node, point) => {
      const nth = (seen.get(point) ?? 0) + 1;
      seen.set(point, nth);
      if (targets.get(point) !== nth) return;
      this.#count('crash-point');
      this.crashedAt.set(point, (this.crashedAt.get(point) ?? 0) + 1);
      sim.crash(node.name);
      sim.after(random.between(50, 6_000), () => {
        if (!this.#over) sim.restart(node.name);
      });
    };
  }

  #count(fault: Fault): void {
    this.struck.set(fault, (this.struck.get(fault) ?? 0) + 1);
  }
}

interface Act {
  readonly start: () => void;
  readonly lastsMs: number;
  readonly stop?: () => void;
}

interface Chosen {
  readonly nodes: readonly string[];
  readonly stream: string;
  readonly longMs: number;
}

/** One node, or all of one role: replicas stand side by side, and fall side by side. */
function chooseNodes(sim: Simulation, random: SeededRandom): readonly string[] {
  const names = sim.nodes.map(({ name }) => name);
  const one = random.pick(names) ?? '';
  const role = one.replace(/-[^-]*$/, '-');
  return random.chance(0.3) ? names.filter((name) => name.startsWith(role)) : [one];
}

type MakeAct = (sim: Simulation, chosen: Chosen, random: SeededRandom) => Act;

const SECONDS = 1_000;
const once = (start: () => void): Act => ({ start, lastsMs: 0 });

const each = (nodes: readonly string[], act: (node: string) => void) => (): void => nodes.forEach(act);

const ACTS = {
  crash: (sim, { nodes }, random) => ({
    start: each(nodes, (node) => sim.crash(node)),
    lastsMs: random.between(10, 15 * SECONDS),
    stop: each(nodes, (node) => sim.restart(node)),
  }),
  pause: (sim, { nodes, longMs }, random) => {
    const clock = random.chance(0.5) ? 'stands' : 'runs';
    return {
      start: each(nodes, (node) => sim.pause(node)),
      lastsMs: random.between(10, longMs),
      stop: each(nodes, (node) => sim.resume(node, clock)),
    };
  },
  partition: (sim, { nodes, longMs }, random) => ({
    start: each(nodes, (node) => sim.partition(node)),
    lastsMs: random.between(10, longMs),
    stop: each(nodes, (node) => sim.heal(node)),
  }),
  'one-way': (sim, { nodes, longMs }, random) => {
    const direction = random.chance(0.5) ? 'to-broker' : 'from-broker';
    return {
      start: each(nodes, (node) => sim.partition(node, direction)),
      lastsMs: random.between(10, longMs),
      stop: each(nodes, (node) => sim.heal(node)),
    };
  },
  cut: (sim, { nodes }) => once(each(nodes, (node) => sim.cut(node))),
  latency: (sim, { nodes }, random) => {
    const maxMs = random.between(10, 3 * SECONDS);
    return {
      start: each(nodes, (node) => sim.setLatency(node, { minMs: 1, maxMs })),
      lastsMs: random.between(SECONDS, 15 * SECONDS),
      stop: each(nodes, (node) => sim.setLatency(node, { minMs: 0.2, maxMs: 2 })),
    };
  },
  skew: (sim, { nodes }, random) => {
    const byMs = random.between(-90 * SECONDS, 90 * SECONDS);
    return once(each(nodes, (node) => sim.jumpClock(node, byMs)));
  },
  'clock-jump': (sim, { nodes }, random) => {
    const byMs = random.between(-30 * SECONDS, 30 * SECONDS);
    return once(each(nodes, (node) => sim.jumpClock(node, byMs)));
  },
  'broker-crash': (sim, _, random) => {
    const forgottenAcks = random.below(5);
    return {
      start: () => sim.crashBroker(),
      lastsMs: random.between(10, 5 * SECONDS),
      stop: () => sim.startBroker({ forgottenAcks }),
    };
  },
  'broker-pause': (sim, _, random) => ({
    start: () => sim.pauseBroker(),
    lastsMs: random.between(10, 15 * SECONDS),
    stop: () => sim.resumeBroker(),
  }),
  leader: (sim, _, random) => {
    const change = {
      electionMs: random.between(10, 8 * SECONDS),
      stepMs: Math.round(random.between(-3 * SECONDS, 3 * SECONDS)),
      forgottenAcks: random.below(5),
    };
    return once(() => {
      if (sim.broker.actor.alive) sim.changeLeader(change);
    });
  },
  consumers: (sim, { stream }) => once(() => sim.dropConsumers(stream)),
} as const satisfies Readonly<Partial<Record<Fault, MakeAct>>>;
