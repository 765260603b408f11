// Goal: whatever is lost, repeated, late or reordered, a saga ends fully done or exactly undone, in reverse.
// Method: random graphs and fault scripts in a model world (staged-world.ts), then healing; the checkers read what the
// participants hold and what the log proved. Some runs check M1-M4 after every step too.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planOf, shapes } from '../kit/saga-plans.ts';
import { live, scripts } from '../kit/staged-chaos.ts';
import { bareWorld, checkedWorld } from '../kit/staged-folders.ts';
import { net } from '../kit/staged-part.ts';

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
