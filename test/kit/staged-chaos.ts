/** A random life of a staged run: faults of every kind by a script, then healing; how it ended is judged. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { recordOf } from './staged-part.ts';
import type { Conduct, StagedWorld } from './staged-world.ts';

type Move = (world: StagedWorld, pick: number) => void;

const CONDUCTS: readonly Conduct[] = [
  ...(['done', 'done', 'done', 'done', 'done', 'read-only', 'refused', 'retry', 'unknown'] as const),
  ...(['unknown-with-effect', 'conflict', 'slow', 'slow', 'crash', 'crash-with-effect'] as const),
];

/** What can happen now, each thing as often as it is likely. */
function moves(world: StagedWorld): readonly Move[] {
  const found: Move[] = [];
  world.commands.forEach((_, place) => {
    const deliver: Move = (w, pick) => w.deliverCommand(place, CONDUCTS[pick % CONDUCTS.length]!);
    found.push(deliver, deliver, deliver);
    found.push((w) => (w.commands = [...w.commands, w.commands[place]!]));
    found.push((w) => (w.commands = w.commands.toSpliced(place, 1)));
  });
  world.reports.forEach(({ lateEffect }, place) => {
    const deliver: Move = (w) => w.deliverReport(place);
    found.push(deliver, deliver, deliver, deliver);
    found.push((w) => (w.reports = [...w.reports, w.reports[place]!]));
    // A command is acknowledged only after its report is stored, and only that report can tell of a late effect.
    if (lateEffect !== true) found.push((w) => (w.reports = w.reports.toSpliced(place, 1)));
  });
  for (const timer of world.timers()) found.push((w) => w.fire(timer));
  world.parts.forEach((part, index) => {
    if (part.slow === 0) return;
    found.push((w) => w.finish(index));
    if (!part.expired) found.push((w) => w.expire(index));
  });
  for (const item of world.items()) {
    const { raised, step, phase } = item;
    found.push((w) => w.feed({ type: 'item_retried', raised, step, phase }));
  }
  if (world.plan.gate?.signal !== undefined) {
    found.push((w, pick) => {
      w.signal(pick % 4 === 0 ? 'reject' : 'approve');
    });
  }
  found.push((w, pick) => {
    if (pick % 4 === 0) w.feed({ type: 'cancelled', reason: 'enough' });
  });
  return found;
}

function chaos(world: StagedWorld, script: readonly (readonly [number, number])[]): void {
  for (const [what, pick] of script) {
    const possible = moves(world);
    possible[what % possible.length]?.(world, pick);
  }
}

/** Every fault ceases: all goes through, timers fire, a person retries what waits for one. */
function heal(world: StagedWorld, finishSlow: boolean): void {
  if (finishSlow) world.parts.forEach((part, index) => part.slow > 0 && world.finish(index));
  world.parts.forEach((part, index) => part.slow > 0 && world.expire(index));
  for (let turn = 0; turn < 3_000 && world.outcome === undefined; turn += 1) {
    if (world.reports.length > 0) world.deliverReport(0);
    else if (world.commands.length > 0) world.deliverCommand(0, 'done');
    else nudge(world);
  }
  expect(world.outcome, 'converged').toBeDefined();
  for (let turn = 0; turn < 3_000 && world.commands.length > 0; turn += 1) world.deliverCommand(0, 'done');
  world.parts.forEach((part, index) => part.slow > 0 && world.finish(index));
  while (world.reports.length > 0) world.deliverReport(0);
}

function nudge(world: StagedWorld): void {
  const [timer] = [...world.timers()].sort((a, b) => a.dueMs - b.dueMs);
  const [item] = world.items();
  const isAtGate = world.decided === undefined && world.plan.gate?.signal !== undefined && !world.signalled;
  if (timer === undefined && isAtGate) {
    world.signal('approve');
    return;
  }
  if (timer !== undefined) {
    world.fire(timer);
    return;
  }
  if (item === undefined) throw new Error('stuck: nothing is under way and nobody is asked');
  const { code: _, message: __, ...ref } = item;
  const before = world.fold.state;
  const index = world.plan.indexOf.get(item.step)!;
  // Past the point of no return only the slow execution itself can end the wait.
  if (item.phase === 'execute' && recordOf(world.parts[index]!, 'execute') === 'started') {
    world.finish(index);
    return;
  }
  const isRefused = item.phase === 'execute' && recordOf(world.parts[index]!, 'execute') === 'refused';
  if (!isRefused) world.feed({ type: 'item_retried', ...ref });
  else if (world.decided === undefined) world.feed({ type: 'item_resolved', answer: 'refused', ...ref });
  if (world.fold.state !== before) return;
  // What was refused stays refused, and an input that cannot be made stays so: a person does it instead.
  world.doByHand(index);
  world.feed({ type: 'item_resolved', answer: 'done', output: { of: item.step }, ...ref });
  expect(world.fold.state).not.toBe(before);
}

/** Healthy steps in any order, so that faults also meet the later stages. */
export function calm(world: StagedWorld, picks: readonly number[]): void {
  for (const pick of picks) {
    const { commands, reports } = world;
    const place = pick % (commands.length + reports.length || 1);
    const gate = world.timers().find(({ kind }) => kind === 'gate');
    if (place < commands.length) world.deliverCommand(place, 'done');
    else if (reports.length > 0) world.deliverReport(place - commands.length);
    else if (gate !== undefined) world.fire(gate);
    else if (world.plan.gate?.signal !== undefined) world.signal('approve');
  }
}

export const scripts = (maxLength: number) =>
  fc.array(fc.tuple(fc.nat(1_000_000), fc.nat(1_000_000)), { maxLength, size: 'max' });

export function live(
  world: StagedWorld,
  script: readonly (readonly [number, number])[],
  finishSlow: boolean,
): string {
  chaos(world, script);
  heal(world, finishSlow);
  world.judgeEnd();
  expect(world.machine.outstanding(world.facts, world.fold.state)).toStrictEqual([]);
  return world.outcome?.status ?? 'none';
}
