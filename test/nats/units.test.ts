import { describe, expect, it } from 'vitest';

import { msOfTimestamp, nanosOf } from '../../src/nats/units.ts';
import { ttlSeconds } from '../../src/ports/guarded-bucket.ts';

describe('units of the server', () => {
  it('floors timestamps with any number of decimals', () => {
    const second = Date.UTC(2026, 10, 20, 21, 46, 53);
    expect(msOfTimestamp('2026-11-20T21:46:53Z')).toBe(second);
    expect(msOfTimestamp('2026-11-20T21:46:53.1Z')).toBe(second + 100);
    expect(msOfTimestamp('2026-11-20T21:46:53.042999999Z')).toBe(second + 42);
    expect(msOfTimestamp('2026-11-20T22:46:53.042999999+01:00')).toBe(second + 42);
    expect(msOfTimestamp('0001-01-01T00:00:00Z')).toBe(0);
    expect(msOfTimestamp('')).toBe(0);
  });

  it('never shortens a life, and gives whole nanoseconds', () => {
    expect([1, 999, 1_000, 1_001, 60_000].map(ttlSeconds)).toEqual([1, 1, 1, 2, 60]);
    expect(nanosOf(0.25)).toBe(0);
    expect(nanosOf(1_500)).toBe(1_500_000_000);
  });
});
