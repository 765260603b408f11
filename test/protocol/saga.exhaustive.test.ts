// Goal: for small sagas no order of events at all breaks the promise, with one crash, loss or duplicate anywhere.
// Method: walk every reachable state of the model world (saga-world.ts) once; times and positions are taken out of the
// identity of a state, and any armed timer may fire at any moment, so that every speed of every part is covered.
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import { bareWorld } from '../kit/saga-plans.ts';
import type { Conduct, SagaWorld } from '../kit/saga-world.ts';

interface Node {
  readonly world: SagaWorld;
  /** Crashes, losses and duplicates still to come. */
  readonly faults: number;
  readonly cancels: number;
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

type Move = readonly [cost: number, (world: SagaWorld) => void];

const HEALTHY: readonly Conduct[] = ['done', 'refused'];
const CRASHES: readonly Conduct[] = ['crash', 'crash-with-effect'];

function movesOf({
  commands,
  reports,
  ...world
}: Pick<SagaWorld, 'commands' | 'reports'> & { timers: ReturnType<SagaWorld['timers']> }): readonly Move[] {
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
  for (const timer of world.timers) found.push([0, (w) => w.fire(timer)]);
  return found;
}

function search(plan: CompiledPlan, budget: { readonly faults: number; readonly cancels: number }): Tally {
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

function successors({ world, faults, cancels }: Node): Node[] {
  const moves = movesOf({ commands: world.commands, reports: world.reports, timers: world.timers() });
  const next = moves
    .filter(([cost]) => cost <= faults)
    .map(([cost, move]): Node => {
      const twin = world.clone();
      move(twin);
      return { world: twin, faults: faults - cost, cancels };
    });
  if (cancels === 0 || world.outcome !== undefined) return next;
  const twin = world.clone();
  twin.feed({ type: 'cancelled', reason: 'enough' });
  return [...next, { world: twin, faults, cancels: cancels - 1 }];
}

/** Nothing is in flight and no timer is armed: the run has ended rightly, or a person is asked. */
function judge(world: SagaWorld, tally: Tally): void {
  if (world.outcome === undefined) expect(world.items(), 'a person is asked').not.toHaveLength(0);
  else world.judgeEnd();
  const end = world.outcome?.status ?? 'attention';
  tally.ends[end] = (tally.ends[end] ?? 0) + 1;
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
  it.each([
    ['2 in sequence', plan(2, [a, b('a')]), 1, 1],
    ['2 in parallel', plan(2, [a, b()]), 1, 1],
    ['2 with a pivot', plan(2, [a, { ...b('a'), ...pivot }]), 1, 1],
    [
      'pivot and retriable',
      plan(2, [
        { ...a, ...pivot },
        { ...b('a'), ...retriable },
      ]),
      1,
      1,
    ],
    ['3 in sequence', plan(1, [a, b('a'), c('b')]), 1, 1],
    ['3 in parallel', plan(1, [a, b(), c()]), 1, 0],
    ['fork', plan(1, [a, b('a'), c('a')]), 1, 0],
    ['join', plan(1, [a, b(), c('a', 'b')]), 1, 0],
    ['pivot in the middle', plan(1, [a, { ...b('a'), ...pivot }, { ...c('b'), ...retriable }]), 1, 1],
    ['two before the pivot', plan(1, [a, b(), { ...c('a', 'b'), ...pivot }]), 1, 0],
    [
      'two after the pivot',
      plan(1, [
        { ...a, ...pivot },
        { ...b('a'), ...retriable },
        { ...c('a'), ...retriable },
      ]),
      1,
      0,
    ],
  ])('%s', (name, steps, faults, cancels) => {
    const started = performance.now();
    const { states, ends } = search(steps, { faults, cancels });
    const seconds = ((performance.now() - started) / 1_000).toFixed(1);
    console.log(`saga ${name}: ${states} states, final ${JSON.stringify(ends)}, ${seconds} s`);
    expect(states).toBeGreaterThan(100);
    expect(ends['completed']).toBeGreaterThan(0);
    expect(ends['compensated'] ?? 0).toBeGreaterThan(0);
  });
});
