// Goal: whatever is lost, repeated, late or reordered, a saga ends fully done or exactly undone, in reverse.
// Method: random graphs and fault scripts in a model world (saga-world.ts), then healing; the checkers read what the
// participants hold and what the log proved. Some runs check M1-M4 after every step too.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { saga } from '../../src/protocol/saga.ts';
import { bareWorld, checkedWorld, planOf, shapes } from '../kit/saga-plans.ts';
import { net, type Conduct, type SagaWorld } from '../kit/saga-world.ts';

type Move = (world: SagaWorld, pick: number) => void;

const CONDUCTS: readonly Conduct[] = [
  ...(['done', 'done', 'done', 'done', 'done', 'read-only', 'refused', 'retry', 'unknown'] as const),
  ...(['unknown-with-effect', 'conflict', 'slow', 'slow', 'crash', 'crash-with-effect'] as const),
];

/** What can happen now, each thing as often as it is likely. */
function moves(world: SagaWorld): readonly Move[] {
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
  found.push((w, pick) => {
    if (pick % 8 === 0) w.feed({ type: 'cancelled', reason: 'enough' });
  });
  return found;
}

function chaos(world: SagaWorld, script: readonly (readonly [number, number])[]): void {
  for (const [what, pick] of script) {
    const possible = moves(world);
    possible[what % possible.length]?.(world, pick);
  }
}

/** Every fault ceases: all goes through, timers fire, a person retries what waits for one. */
function heal(world: SagaWorld, finishSlow: boolean): void {
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

function nudge(world: SagaWorld): void {
  const [timer] = [...world.timers()].sort((a, b) => a.dueMs - b.dueMs);
  const [item] = world.items();
  if (timer !== undefined) {
    world.fire(timer);
    return;
  }
  if (item === undefined) throw new Error('stuck: nothing is under way and nobody is asked');
  const { code: _, message: __, ...ref } = item;
  const before = world.fold.state;
  const index = world.plan.indexOf.get(item.step)!;
  // Past the point of no return only the slow execution itself can end the wait.
  if (item.phase === 'execute' && world.parts[index]!.record === 'started') {
    world.finish(index);
    return;
  }
  const isRefused = item.phase === 'execute' && world.parts[index]!.record === 'refused';
  if (!isRefused) world.feed({ type: 'item_retried', ...ref });
  else if (world.decided === undefined) world.feed({ type: 'item_resolved', answer: 'refused', ...ref });
  if (world.fold.state !== before) return;
  // What was refused stays refused, and an input that cannot be made stays so: a person does it instead.
  world.doByHand(index);
  world.feed({ type: 'item_resolved', answer: 'done', output: { of: item.step }, ...ref });
  expect(world.fold.state).not.toBe(before);
}

const scripts = (maxLength: number) =>
  fc.array(fc.tuple(fc.nat(1_000_000), fc.nat(1_000_000)), { maxLength, size: 'max' });

function live(world: SagaWorld, script: readonly (readonly [number, number])[], finishSlow: boolean): string {
  chaos(world, script);
  heal(world, finishSlow);
  world.judgeEnd();
  expect(saga.outstanding(world.facts, world.fold.state)).toStrictEqual([]);
  return world.outcome?.status ?? 'none';
}

describe('saga under faults', () => {
  it('ends fully done or exactly undone, and every machine invariant holds at every step', () => {
    fc.assert(
      fc.property(shapes, scripts(40), fc.boolean(), (shape, script, finishSlow) => {
        live(checkedWorld(planOf(shape)), script, finishSlow);
      }),
      { numRuns: 60 },
    );
  });

  it('ends fully done or exactly undone, in many more worlds, and every kind of end is reached', () => {
    const ends: Record<string, number> = {};
    let taken = 0;
    let late = 0;
    fc.assert(
      fc.property(shapes, scripts(80), fc.boolean(), (shape, script, finishSlow) => {
        const world = bareWorld(planOf(shape));
        const status = live(world, script, finishSlow);
        ends[status] = (ends[status] ?? 0) + 1;
        taken += world.parts.reduce((sum, { undos }) => sum + undos, 0);
        late += world.parts.filter((part) => net(part) === 1 && status !== 'completed').length;
      }),
      { numRuns: 1_000 },
    );
    console.log(`saga worlds: ${JSON.stringify(ends)}, effects taken back ${taken}, late or skipped ${late}`);
    for (const status of ['completed', 'compensated', 'cancelled']) expect(ends[status]).toBeGreaterThan(20);
    expect(taken).toBeGreaterThan(100);
  });
});
