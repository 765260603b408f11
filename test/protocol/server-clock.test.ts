// Goal: the estimate of the server's time is never ahead of it. Method: a clock moved by hand, delays drawn at random.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ServerClock } from '../../src/runtime/server-clock.ts';
import { HandClock } from '../kit/hand-clock.ts';

describe('the estimate of the server time', () => {
  it('follows the answer of a server whose clock was set back, whatever older messages tell', () => {
    const clock = new HandClock();
    const server = new ServerClock(clock);
    server.observe(1_060_000);
    server.observe(1_000_000);
    expect(server.nowMs()).toBe(1_060_000);
    expect(server.isCorrected).toBe(false);
    server.correct(1_000_000);
    expect(server.isCorrected).toBe(true);
    clock.advance(500);
    server.observe(1_060_000);
    expect(server.nowMs()).toBe(1_000_499);
    clock.advance(500);
    expect(server.isCorrected).toBe(false);
    server.observe(1_002_000);
    expect(server.nowMs()).toBe(1_002_000);
  });

  it('goes on between messages, and is not set back by one that was long on its way', () => {
    const clock = new HandClock();
    const server = new ServerClock(clock);
    server.observe(1_000_000);
    clock.advance(500);
    server.observe(1_000_100);
    expect(server.nowMs()).toBeGreaterThanOrEqual(1_000_499);
    expect(server.nowMs()).toBeLessThanOrEqual(1_000_500);
  });

  it('is never ahead, whatever the delays, and behind by the shortest recent one at most', () => {
    const message = fc.record({ afterMs: fc.nat(60_000), delayMs: fc.nat(5_000) });
    fc.assert(
      fc.property(fc.array(message, { minLength: 1 }), (messages) => {
        const clock = new HandClock(1_700_000_000_000);
        const server = new ServerClock(clock);
        for (const { afterMs, delayMs } of messages) {
          clock.advance(afterMs);
          server.observe(clock.wallMs() - delayMs);
          expect(server.nowMs()).toBeLessThanOrEqual(clock.wallMs());
          expect(server.nowMs()).toBeGreaterThanOrEqual(clock.wallMs() - delayMs - 1);
        }
      }),
    );
  });
});
