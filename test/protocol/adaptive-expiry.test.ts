// Goal: deadlines move with what was observed, and never out of their bounds.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdaptiveExpiry } from '../../src/reliability/adaptive-expiry.ts';

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
