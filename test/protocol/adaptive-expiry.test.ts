// Goal: deadlines move with what was observed, and never out of their bounds.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Timer } from '../../src/protocol/machine.ts';
import type { RunRecord } from '../../src/protocol/run.ts';
import { boundsOf } from '../../src/protocol/timer-bounds.ts';
import { AdaptiveExpiry, RunExpiry } from '../../src/reliability/adaptive-expiry.ts';
import { compiled } from '../kit/compiled.ts';

const bounds = { lowerMs: 1_000, upperMs: 10_000 };

function observed(durationsMs: readonly number[], openRuns = 10): AdaptiveExpiry {
  const expiry = new AdaptiveExpiry();
  for (const duration of durationsMs) expiry.observe('pay/execute', duration, openRuns);
  return expiry;
}
const times = (count: number, durationMs: number): number[] =>
  Array.from({ length: count }, () => durationMs);

describe('adaptive expiry', () => {
  it('is the lower bound while little is known', () => {
    expect(observed(times(49, 5_000)).extraMs('pay/execute', bounds, 10)).toBe(0);
    expect(observed(times(512, 5_000)).extraMs('other', bounds, 10)).toBe(0);
  });

  it('is the lower bound for what is quick', () => {
    expect(observed(times(512, 20)).extraMs('pay/execute', bounds, 10)).toBe(0);
  });

  it('allows twice the p99 of what is slow', () => {
    const slowTail = [...times(500, 20), ...times(12, 2_000)];
    expect(observed(slowTail).extraMs('pay/execute', bounds, 10)).toBe(3_000);
    expect(observed([...times(508, 20), ...times(4, 2_000)]).extraMs('pay/execute', bounds, 10)).toBe(0);
  });

  it('stretches with more open runs than usual, not below them', () => {
    const expiry = observed(times(512, 1_000), 100);
    expect(expiry.extraMs('pay/execute', bounds, 100)).toBe(1_000);
    expect(expiry.extraMs('pay/execute', bounds, 300)).toBe(5_000);
    expect(expiry.extraMs('pay/execute', bounds, 1)).toBe(1_000);
  });

  it('forgets what was long ago', () => {
    const expiry = observed([...times(512, 5_000), ...times(512, 10)]);
    expect(expiry.extraMs('pay/execute', bounds, 10)).toBe(0);
  });

  it('never leaves the bounds', () => {
    const durations = fc.array(fc.double({ min: 0, max: 1e9, noNaN: true }), { maxLength: 200 });
    fc.assert(
      fc.property(durations, fc.nat(1e6), fc.nat(1e6), fc.nat(1e6), (samples, open, lowerMs, slack) => {
        const expiry = observed(samples, open);
        const extra = expiry.extraMs('pay/execute', { lowerMs, upperMs: lowerMs + slack }, open * 3);
        expect(extra).toBeGreaterThanOrEqual(0);
        expect(extra).toBeLessThanOrEqual(slack);
      }),
    );
  });
});

describe('what the runs of a pattern teach', () => {
  const wide = { lowerMs: 1_000, upperMs: 60_000 };
  const plan = compiled('2ps', ['shop', { step: 'pay', deadline: { lowerMs: 500, upperMs: 900 } }], {
    deadlines: { prepare: wide, execute: { lowerMs: 5_000, upperMs: 5_000 }, run: wide },
  });
  const run = { facts: { plan } } as unknown as RunRecord;
  const timer = (more: Partial<Timer>): Timer => ({ kind: 'phase', armed: '1.0', dueMs: 0, ...more });

  it('finds the bounds of every kind of timer, and none where there is nothing to choose', () => {
    expect(boundsOf(plan, timer({ phase: 'prepare' }))).toEqual(wide);
    expect(boundsOf(plan, timer({ kind: 'run' }))).toEqual(wide);
    expect(boundsOf(plan, timer({ kind: 'step', step: 'pay', phase: 'prepare' }))).toMatchObject({
      upperMs: 900,
    });
    expect(boundsOf(plan, timer({ kind: 'step', step: 'shop', phase: 'prepare' }))).toEqual(wide);
    for (const kind of ['attempt', 'backoff', 'start', 'gate', 'reservation'] as const)
      expect(boundsOf(plan, timer({ kind, step: 'shop', phase: 'prepare' }))).toBeUndefined();
  });

  it('finds the plan’s bounds for what closes a step, whatever deadline the step itself has', () => {
    const undo = { lowerMs: 5_000, upperMs: 6_000 };
    const closing = compiled('2ps', [{ step: 'pay', deadline: { lowerMs: 500, upperMs: 900_000 } }], {
      deadlines: { compensate: undo, cancel: undo, confirm: undo },
    });
    for (const phase of ['compensate', 'cancel', 'confirm'] as const)
      expect(boundsOf(closing, timer({ kind: 'step', step: 'pay', phase }))).toEqual(undo);
    expect(boundsOf(closing, timer({ kind: 'step', step: 'pay', phase: 'release' }))).toBeUndefined();
  });

  it('stretches a deadline by how long reports of that participant and phase take', () => {
    const expiry = new RunExpiry(() => 1);
    const report = (sender: string): void =>
      expiry.reported({
        address: { pattern: '2ps', sender, kind: 'report', shard: 0 },
        envelope: { phase: 'prepare', cause: { at: '1.0', time: 1_000 } },
        timeMs: 4_000,
      } as Parameters<RunExpiry['reported']>[0]);
    for (let index = 0; index < 64; index += 1) report('shop');
    expect(expiry.extraMs(run, timer({ step: 'shop', phase: 'prepare' }))).toBe(5_000);
    expect(expiry.extraMs(run, timer({ phase: 'prepare' }))).toBe(5_000);
    expect(expiry.extraMs(run, timer({ step: 'pay', phase: 'prepare' }))).toBe(0);
    expect(expiry.extraMs(run, timer({ phase: 'execute' }))).toBe(0);
    expect(expiry.extraMs(run, timer({ kind: 'run' }))).toBe(0);
  });
});
