// Goal: whatever is lost, repeated, late or reordered, each step of a 0.5PS ends taken or dead, and none is lost.
// Method: random plans and fault scripts in a model world (eventual-world.ts), then healing; the checkers read what the
// participants hold and what the log proved. Some runs check M1-M4 after every step too.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eventual } from '../../src/protocol/eventual.ts';
import { compiled, RETRY } from '../kit/compiled.ts';
import { EventualWorld, type Conduct } from '../kit/eventual-world.ts';

type Move = (world: EventualWorld, pick: number) => void;

const CONDUCTS: readonly Conduct[] = [
  ...(['done', 'done', 'done', 'read-only', 'refused', 'retry', 'retry', 'unknown', 'unknown'] as const),
  ...(['unknown-with-effect', 'conflict', 'slow', 'crash', 'crash', 'crash-with-effect'] as const),
];

function moves(world: EventualWorld): readonly Move[] {
  const found: Move[] = [];
  world.commands.forEach((_, place) => {
    const deliver: Move = (w, pick) => w.deliverCommand(place, CONDUCTS[pick % CONDUCTS.length]!);
    found.push(deliver, deliver, deliver);
    found.push((w) => (w.commands = [...w.commands, w.commands[place]!]));
    found.push((w) => (w.commands = w.commands.toSpliced(place, 1)));
  });
  world.reports.forEach((_, place) => {
    const deliver: Move = (w) => w.deliverReport(place);
    found.push(deliver, deliver, deliver);
    found.push((w) => (w.reports = [...w.reports, w.reports[place]!]));
    found.push((w) => (w.reports = w.reports.toSpliced(place, 1)));
  });
  for (const timer of world.timers()) if (timer.kind !== 'run') found.push((w) => w.fire(timer));
  world.parts.forEach(({ slow }, index) => slow > 0 && found.push((w) => w.finish(index)));
  for (const { raised, step, phase } of world.items()) {
    found.push((w, pick) => {
      if (pick % 3 === 0) w.feed({ type: 'item_skipped', raised, step, phase });
      else w.feed({ type: 'item_retried', raised, step, phase });
    });
  }
  found.push((w, pick) => {
    if (pick % 4 === 0) w.feed({ type: 'cancelled', reason: 'enough' });
    const run = w.timers().find(({ kind }) => kind === 'run');
    if (pick % 16 === 1 && run !== undefined) w.fire(run);
  });
  return found;
}

function chaos(world: EventualWorld, script: readonly (readonly [number, number])[]): void {
  for (const [what, pick] of script) {
    const possible = moves(world);
    possible[what % possible.length]?.(world, pick);
  }
}

/** Every fault ceases: all goes through, timers fire, a person retries what waits for one. */
function heal(world: EventualWorld): void {
  world.parts.forEach(({ slow }, index) => slow > 0 && world.finish(index));
  for (let turn = 0; turn < 2_000 && world.outcome === undefined; turn += 1) {
    if (world.reports.length > 0) world.deliverReport(0);
    else if (world.commands.length > 0) world.deliverCommand(0, 'done');
    else nudge(world);
  }
  expect(world.outcome, 'converged').toBeDefined();
  while (world.commands.length > 0) world.deliverCommand(0, 'done');
  while (world.reports.length > 0) world.deliverReport(0);
}

function nudge(world: EventualWorld): void {
  const [timer] = [...world.timers()].sort((a, b) => a.dueMs - b.dueMs);
  const [item] = world.items();
  if (timer !== undefined) world.fire(timer);
  else if (item === undefined) throw new Error('stuck: nothing is under way and nobody is asked');
  else {
    const { raised, step, phase } = item;
    world.feed({ type: 'item_retried', raised, step, phase });
  }
}

interface Shape {
  readonly steps: number;
  readonly attempts: number;
  readonly confirm: boolean;
  readonly run: boolean;
  readonly slowMs: number;
}
const shapes: fc.Arbitrary<Shape> = fc.record({
  steps: fc.integer({ min: 1, max: 4 }),
  attempts: fc.integer({ min: 1, max: 4 }),
  confirm: fc.boolean(),
  run: fc.boolean(),
  slowMs: fc.constantFrom(0, 50, 15_000),
});
const bounds = (ms: number) => ({ lowerMs: ms, upperMs: ms });

function planOf({ steps, attempts, confirm, run, slowMs }: Shape) {
  const policy = { ...RETRY, maxAttempts: attempts };
  const specs = Array.from({ length: steps }, (_, index) => ({
    step: `s${index}`,
    retry: policy,
    undoRetry: policy,
  }));
  return compiled('eventual', specs, {
    deadlines: {
      ...(confirm ? { confirm: bounds(20_000) } : {}),
      ...(run ? { run: bounds(30_000) } : {}),
      ...(slowMs > 0 ? { execute: bounds(slowMs) } : {}),
    },
  });
}

const scripts = (maxLength: number) =>
  fc.array(fc.tuple(fc.nat(1_000_000), fc.nat(1_000_000)), { maxLength, size: 'max' });

function live(world: EventualWorld, script: readonly (readonly [number, number])[]): string {
  chaos(world, script);
  heal(world);
  world.judgeEnd();
  expect(eventual.outstanding(world.facts, world.fold.state)).toStrictEqual([]);
  return world.outcome?.status ?? 'none';
}

describe('0.5PS under faults', () => {
  it('takes or buries every step, and every machine invariant holds at every step', () => {
    fc.assert(
      fc.property(shapes, scripts(40), (shape, script) => {
        live(EventualWorld.checked(planOf(shape)), script);
      }),
      { numRuns: 150 },
    );
  });

  it('takes or buries every step, in many more worlds, and every kind of end is reached', () => {
    const ends: Record<string, number> = {};
    let late = 0;
    fc.assert(
      fc.property(shapes, scripts(60), (shape, script) => {
        const world = EventualWorld.bare(planOf(shape));
        const status = live(world, script);
        ends[status] = (ends[status] ?? 0) + 1;
        late += world.proofs.filter(
          ({ buried, positive }) => buried !== undefined && positive !== undefined,
        ).length;
      }),
      { numRuns: 3_000 },
    );
    console.log(`0.5PS worlds: ${JSON.stringify(ends)}, dead and taken after all ${late}`);
    for (const status of ['completed', 'dead', 'resolved']) expect(ends[status]).toBeGreaterThan(5);
    expect(late).toBeGreaterThan(20);
  });
});
