// Goal: for small sagas no order of events at all breaks the promise, with one crash, loss or duplicate anywhere.
// Method: walk every reachable state of the model world (saga-world.ts) once; times and positions are taken out of the
// identity of a state, and any armed timer may fire at any moment, so that every speed of every part is covered.
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import { bareWorld } from '../kit/saga-plans.ts';
import type { Conduct, SagaWorld } from '../kit/saga-world.ts';

interface Budget {
  /** Crashes, losses and duplicates, in any mixture. */
  readonly faults: number;
  readonly cancels: number;
  /** What it costs that a deadline passes although the command or its report is still under way. */
  readonly delay: 0 | 1;
}

interface Node extends Budget {
  readonly world: SagaWorld;
}

interface Tally {
  states: number;
  readonly ends: Record<string, number>;
}

const keyOf = ({ world, faults, cancels }: Node): string => {
  const { fold, commands, reports, parts, proofs, outcome } = world;
  const flying = [commands, reports].map((list) => list.map((item) => JSON.stringify(item)).sort());
  const all = JSON.stringify([fold.state, flying, parts, proofs, outcome?.status, faults, cancels]);
  return all.replace(/"(?:since|time|dueMs)":\d+/g, '').replace(/"(?:at|armed|raised)":"[\d.]+"/g, '');
};

const at = (world: SagaWorld, index: number): string | undefined => world.plan.steps[index]?.step;

type Move = readonly [cost: number, (world: SagaWorld) => void];

const HEALTHY: readonly Conduct[] = ['done', 'refused'];
const CRASHES: readonly Conduct[] = ['crash', 'crash-with-effect'];

function movesOf({ world, delay }: Node): readonly Move[] {
  const { commands, reports } = world;
  const found: Move[] = [];
  commands.forEach((command, place) => {
    const healthy = command.phase === 'execute' ? HEALTHY : HEALTHY.slice(0, 1);
    for (const conduct of healthy) found.push([0, (w) => w.deliverCommand(place, conduct)]);
    for (const conduct of CRASHES) found.push([1, (w) => w.deliverCommand(place, conduct)]);
    found.push([1, (w) => (w.commands = [...w.commands, command])]);
  });
  reports.forEach((report, place) => {
    found.push([0, (w) => w.deliverReport(place)]);
    found.push([1, (w) => (w.reports = w.reports.toSpliced(place, 1))]);
    found.push([1, (w) => (w.reports = [...w.reports, report])]);
  });
  for (const timer of world.timers()) {
    const isUnderWay =
      commands.some(({ index, phase }) => phase === timer.phase && at(world, index) === timer.step) ||
      reports.some(({ step, phase }) => phase === timer.phase && step === timer.step);
    found.push([isUnderWay ? delay : 0, (w) => w.fire(timer)]);
  }
  return found;
}

function search(plan: CompiledPlan, budget: Budget): Tally {
  const tally: Tally = { states: 0, ends: {} };
  const seen = new Set<string>();
  const open: Node[] = [{ world: bareWorld(plan), ...budget }];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    const key = keyOf(node);
    if (seen.has(key)) continue;
    seen.add(key);
    tally.states += 1;
    const next = successors(node);
    if (next.length === 0) judge(node.world, tally);
    open.push(...next);
  }
  return tally;
}

function successors(node: Node): Node[] {
  const { world, faults, cancels } = node;
  // The machine ignores everything after the end: what is still in flight arrives in one order for all.
  if (world.outcome !== undefined) return [];
  const next = movesOf(node)
    .filter(([cost]) => cost <= faults)
    .map(([cost, move]): Node => {
      const twin = world.clone();
      move(twin);
      return { ...node, world: twin, faults: faults - cost };
    });
  if (cancels === 0) return next;
  const twin = world.clone();
  twin.feed({ type: 'cancelled', reason: 'enough' });
  return [...next, { ...node, world: twin, cancels: cancels - 1 }];
}

/** The run has ended rightly, whatever is still in flight; or nothing is left to happen and a person is asked. */
function judge(world: SagaWorld, tally: Tally): void {
  const end = world.outcome?.status ?? 'attention';
  tally.ends[end] = (tally.ends[end] ?? 0) + 1;
  if (world.outcome === undefined) {
    expect(world.items(), 'a person is asked').not.toHaveLength(0);
    return;
  }
  while (world.commands.length > 0) world.deliverCommand(0, 'done');
  while (world.reports.length > 0) world.deliverReport(0);
  world.judgeEnd();
}

const policy = (maxAttempts: number) => ({ ...RETRY, maxAttempts });
const plan = (attempts: number, steps: readonly StepSpec[]): CompiledPlan => {
  const pivot = steps.findIndex(({ kind }) => kind === 'pivot');
  const specs = steps.map((step) => ({ retry: policy(attempts), undoRetry: policy(attempts), ...step }));
  return compiled('saga', specs, pivot < 0 ? {} : { pivot });
};
const a: StepSpec = { step: 'a' };
const b = (...after: readonly string[]): StepSpec => ({ step: 'b', after });
const c = (...after: readonly string[]): StepSpec => ({ step: 'c', after });
const pivot = { kind: 'pivot' } as const;
const retriable = { kind: 'retriable' } as const;

describe('saga, every interleaving', () => {
  const worlds: readonly (readonly [string, CompiledPlan, Budget])[] = [
    ['2 in sequence', plan(1, [a, b('a')]), { faults: 1, cancels: 1, delay: 0 }],
    ['2 in sequence, 2 attempts', plan(2, [a, b('a')]), { faults: 2, cancels: 0, delay: 1 }],
    ['2 in sequence, 2 faults', plan(1, [a, b('a')]), { faults: 2, cancels: 0, delay: 1 }],
    ['2 in parallel', plan(1, [a, b()]), { faults: 1, cancels: 1, delay: 1 }],
    ['pivot last', plan(1, [a, { ...b('a'), ...pivot }]), { faults: 1, cancels: 1, delay: 0 }],
    ['pivot last, 2 attempts', plan(2, [a, { ...b('a'), ...pivot }]), { faults: 1, cancels: 1, delay: 1 }],
    [
      'pivot first',
      plan(2, [
        { ...a, ...pivot },
        { ...b('a'), ...retriable },
      ]),
      { faults: 1, cancels: 1, delay: 0 },
    ],
    ['3 in sequence', plan(1, [a, b('a'), c('b')]), { faults: 2, cancels: 1, delay: 1 }],
    ['3 in parallel', plan(1, [a, b(), c()]), { faults: 1, cancels: 0, delay: 1 }],
    ['fork', plan(1, [a, b('a'), c('a')]), { faults: 1, cancels: 0, delay: 1 }],
    ['join', plan(1, [a, b(), c('a', 'b')]), { faults: 1, cancels: 0, delay: 1 }],
    [
      'pivot in the middle',
      plan(1, [a, { ...b('a'), ...pivot }, { ...c('b'), ...retriable }]),
      { faults: 1, cancels: 1, delay: 0 },
    ],
    [
      'two before the pivot',
      plan(1, [a, b(), { ...c('a', 'b'), ...pivot }]),
      { faults: 1, cancels: 0, delay: 1 },
    ],
    [
      'two after the pivot',
      plan(1, [
        { ...a, ...pivot },
        { ...b('a'), ...retriable },
        { ...c('a'), ...retriable },
      ]),
      { faults: 1, cancels: 0, delay: 0 },
    ],
  ];

  it.each(worlds)('%s', (name, steps, budget) => {
    const { states, ends } = search(steps, budget);
    console.log(`saga ${name}: ${states} states, ends ${JSON.stringify(ends)}`);
    expect(states).toBeGreaterThan(100);
    expect(ends['completed']).toBeGreaterThan(0);
    expect(ends['compensated']).toBeGreaterThan(0);
  });
});
