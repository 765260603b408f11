// Goal: for two steps no order of events at all loses one or buries what was taken, with one fault anywhere.
// Method: walk every reachable state of the model world (eventual-world.ts) once; times and positions are taken out of
// the identity of a state, and any armed timer may fire at any moment.
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { compiled, RETRY } from '../kit/compiled.ts';
import { check, EventualWorld, type Conduct } from '../kit/eventual-world.ts';

interface Node {
  readonly world: EventualWorld;
  /** Crashes, losses, duplicates, and deadlines that pass while the command or its report is under way. */
  readonly faults: number;
}

interface Tally {
  states: number;
  readonly ends: Record<string, number>;
}

const keyOf = ({ world, faults }: Node): string => {
  const { fold, commands, reports, parts, proofs, outcome } = world;
  const flying = [commands, reports].map((list) => list.map((item) => JSON.stringify(item)).sort());
  const proved = proofs.map((proof) => ({ ...proof, buried: proof.buried?.mayHaveRun }));
  const all = JSON.stringify([fold.state, flying, parts, proved, outcome?.status, faults]);
  return all.replace(/"(?:since|time|dueMs)":\d+/g, '').replace(/"(?:at|armed|raised)":"[\d.]+"/g, '');
};

type Move = readonly [cost: number, (world: EventualWorld) => void];
const HEALTHY: readonly Conduct[] = ['done', 'refused', 'retry', 'slow'];
const CONFIRM: readonly Conduct[] = ['done', 'retry'];
const CRASHES: readonly Conduct[] = ['crash', 'crash-with-effect', 'unknown-with-effect'];

function movesOf({ world }: Node): readonly Move[] {
  const { commands, reports } = world;
  const found: Move[] = [];
  commands.forEach((command, place) => {
    for (const conduct of command.phase === 'execute' ? HEALTHY : CONFIRM)
      found.push([0, (w) => w.deliverCommand(place, conduct)]);
    for (const conduct of CRASHES) found.push([1, (w) => w.deliverCommand(place, conduct)]);
    found.push([1, (w) => (w.commands = [...w.commands, command])]);
  });
  reports.forEach((report, place) => {
    found.push([0, (w) => w.deliverReport(place)]);
    found.push([1, (w) => (w.reports = w.reports.toSpliced(place, 1))]);
    found.push([1, (w) => (w.reports = [...w.reports, report])]);
  });
  world.parts.forEach(({ slow }, index) => slow > 0 && found.push([0, (w) => w.finish(index)]));
  for (const timer of world.timers()) {
    const stepOf = (index: number) => world.facts.plan.steps[index]?.step;
    const isUnderWay =
      commands.some(({ index, phase }) => phase === timer.phase && stepOf(index) === timer.step) ||
      reports.some(({ step, phase }) => phase === timer.phase && step === timer.step);
    found.push([isUnderWay ? 1 : 0, (w) => w.fire(timer)]);
  }
  return found;
}

function search(plan: CompiledPlan, faults: number): Tally {
  const tally: Tally = { states: 0, ends: {} };
  const seen = new Set<string>();
  const open: Node[] = [{ world: EventualWorld.bare(plan), faults }];
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
  const { world, faults } = node;
  if (world.outcome !== undefined) return [];
  const cancelled = world.clone();
  cancelled.feed({ type: 'cancelled', reason: 'enough' });
  check(cancelled.fold.state === world.fold.state, 'a cancel changed something');
  return movesOf(node)
    .filter(([cost]) => cost <= faults)
    .map(([cost, move]): Node => {
      const twin = world.clone();
      move(twin);
      return { world: twin, faults: faults - cost };
    });
}

/** The run has ended rightly, whatever is still in flight; or nothing is left to happen and a person is asked. */
function judge(world: EventualWorld, tally: Tally): void {
  const end = world.outcome?.status ?? 'attention';
  tally.ends[end] = (tally.ends[end] ?? 0) + 1;
  if (world.outcome === undefined) {
    expect(world.items(), 'a person is asked').not.toHaveLength(0);
    return;
  }
  world.parts.forEach(({ slow }, index) => slow > 0 && world.finish(index));
  while (world.commands.length > 0) world.deliverCommand(0, 'done');
  while (world.reports.length > 0) world.deliverReport(0);
  world.judgeEnd();
}

const bounds = (ms: number) => ({ lowerMs: ms, upperMs: ms });
const policy = (maxAttempts: number) => ({ ...RETRY, maxAttempts });
const plan = (attempts: number, deadlines: CompiledPlan['deadlines'] = {}): CompiledPlan =>
  compiled(
    'eventual',
    ['a', 'b'].map((step) => ({ step, retry: policy(attempts), undoRetry: policy(attempts) })),
    { deadlines },
  );

describe('0.5PS, every interleaving of two steps with one fault', () => {
  const worlds: readonly (readonly [string, CompiledPlan])[] = [
    ['one attempt', plan(1)],
    ['two attempts', plan(2)],
    ['one attempt, run deadline', plan(1, { run: bounds(5_000) })],
    ['one attempt, confirm', plan(1, { confirm: bounds(60_000) })],
  ];
  it.each(worlds)('%s', (name, steps) => {
    const { states, ends } = search(steps, 1);
    console.log(`0.5PS ${name}: ${states} states, ends ${JSON.stringify(ends)}`);
    expect(states).toBeGreaterThan(100);
    expect(ends['completed']).toBeGreaterThan(0);
    expect(ends['dead']).toBeGreaterThan(0);
  });
});
