/**
 * Every reachable state of a small staged world, each visited once. Times and positions are taken out of the identity of
 * a state, and any armed timer may fire at any moment, so that every speed of every part is covered.
 */
import { expect } from 'vitest';
import { isUndoPhase } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { bareWorld } from './staged-folders.ts';
import type { Conduct, StagedWorld } from './staged-world.ts';

export interface Budget {
  /** Crashes, losses and duplicates, in any mixture. */
  readonly faults: number;
  readonly cancels: number;
  /** What it costs that a deadline passes although the command or its report is still under way. */
  readonly delay: 0 | 1;
}

interface Node extends Budget {
  readonly world: StagedWorld;
}

export interface Tally {
  states: number;
  readonly ends: Record<string, number>;
}

const keyOf = ({ world, faults, cancels }: Node): string => {
  const { fold, commands, reports, parts, proofs, outcome, signalled, approved, delayed } = world;
  const flying = [commands, reports].map((list) => list.map((item) => JSON.stringify(item)).sort());
  const all = JSON.stringify([
    ...[fold.state, flying, parts, proofs, outcome?.status, signalled, approved, delayed],
    ...[faults, cancels],
  ]);
  return all
    .replace(/"(?:since|time|dueMs|expiresAt)":\d+/g, '')
    .replace(/"(?:at|armed|raised)":"[\d.]+"/g, '');
};

const at = (world: StagedWorld, index: number): string | undefined => world.plan.steps[index]?.step;

type Move = readonly [cost: number, (world: StagedWorld) => void];

const HEALTHY: readonly Conduct[] = ['done', 'refused'];
const CRASHES: readonly Conduct[] = ['crash', 'crash-with-effect'];

function movesOf({ world, delay }: Node): readonly Move[] {
  const { commands, reports } = world;
  const found: Move[] = [];
  commands.forEach((command, place) => {
    const healthy = isUndoPhase(command.phase) ? HEALTHY.slice(0, 1) : HEALTHY;
    for (const conduct of healthy) found.push([0, (w) => w.deliverCommand(place, conduct)]);
    for (const conduct of CRASHES) found.push([1, (w) => w.deliverCommand(place, conduct)]);
    found.push([1, (w) => (w.commands = [...w.commands, command])]);
  });
  reports.forEach((report, place) => {
    found.push([0, (w) => w.deliverReport(place)]);
    found.push([1, (w) => (w.reports = w.reports.toSpliced(place, 1))]);
    found.push([1, (w) => (w.reports = [...w.reports, report])]);
  });
  if (world.plan.gate?.signal !== undefined && world.outcome === undefined && !world.signalled) {
    for (const verdict of ['approve', 'reject'] as const) found.push([0, (w) => w.signal(verdict)]);
  }
  for (const timer of world.timers()) {
    const isUnderWay =
      commands.some(({ index, phase }) => phase === timer.phase && at(world, index) === timer.step) ||
      reports.some(({ step, phase }) => phase === timer.phase && step === timer.step);
    found.push([isUnderWay ? delay : 0, (w) => w.fire(timer)]);
  }
  return found;
}

export function search(plan: CompiledPlan, budget: Budget): Tally {
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
function judge(world: StagedWorld, tally: Tally): void {
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
