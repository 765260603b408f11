// Goal: whatever is lost, repeated, late or reordered, a 2PS or 3PS ends fully done or exactly undone; nothing executes
// unless all are prepared (and verified behind an open gate) or have validated; never both undos for one step, in reverse.
// Method: random plans and fault scripts in a model world (staged-world.ts), then healing; the checkers read what the
// participants hold and what the log proved. Some runs check M1-M4 after every step too.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { calm, live, scripts } from '../kit/staged-chaos.ts';
import { bareWorld, checkedWorld } from '../kit/staged-folders.ts';
import { STAGED, stagedPlan } from '../kit/staged-plans.ts';

const worlds = (name: keyof typeof STAGED, length: number) =>
  fc.record({
    plan: STAGED[name].map(stagedPlan),
    picks: fc.array(fc.nat(1_000_000), { maxLength: 36, size: 'max' }),
    script: scripts(length),
    finishSlow: fc.boolean(),
  });

describe.each(['2ps', '2ps-ov', '3ps'] as const)('%s under faults', (name) => {
  it('every machine invariant holds at every step', () => {
    fc.assert(
      fc.property(worlds(name, 40), ({ plan, picks, script, finishSlow }) => {
        const world = checkedWorld(plan);
        calm(world, picks);
        live(world, script, finishSlow);
      }),
      { numRuns: 40 },
    );
  });

  it('ends fully done or exactly undone, and every kind of end is reached', () => {
    const ends: Record<string, number> = {};
    const sent: Record<string, number> = {};
    fc.assert(
      fc.property(worlds(name, 80), ({ plan, picks, script, finishSlow }) => {
        const world = bareWorld(plan);
        calm(world, picks);
        const status = live(world, script, finishSlow);
        ends[status] = (ends[status] ?? 0) + 1;
        for (const { undo } of world.proofs) if (undo !== undefined) sent[undo] = (sent[undo] ?? 0) + 1;
      }),
      { numRuns: 600 },
    );
    console.log(`${name} worlds: ${JSON.stringify(ends)}, undos ${JSON.stringify(sent)}`);
    for (const status of ['completed', 'compensated', 'cancelled']) expect(ends[status]).toBeGreaterThan(2);
    expect(sent['compensate']).toBeGreaterThan(20);
    expect(sent[name === '3ps' ? 'release' : 'cancel']).toBeGreaterThan(20);
  });
});
