// Goal: no response subscription outlives its use, and their number is bounded.
// Method: a bus that only counts, and a clock that moves by hand.
import { describe, expect, it } from 'vitest';
import type { Bus, BusMessage } from '../../src/ports/bus.ts';
import { SubscriptionManager } from '../../src/reliability/subscription-manager.ts';
import { HandClock } from '../kit/hand-clock.ts';

class HandBus {
  readonly live = new Map<string, Set<(message: BusMessage) => void>>();
  readonly bus = { subscribe: this.#subscribe.bind(this) } as unknown as Bus;

  #subscribe(subject: string, onMessage: (message: BusMessage) => void) {
    const listeners = this.live.get(subject) ?? new Set();
    this.live.set(subject, listeners.add(onMessage));
    return {
      unsubscribe: () => {
        if (!listeners.delete(onMessage)) throw new Error('unsubscribed twice');
        if (listeners.size === 0) this.live.delete(subject);
      },
    };
  }

  tell(subject: string): void {
    for (const listener of this.live.get(`${subject}.>`) ?? [])
      listener({ subject: `${subject}.coordinator.outcome`, data: new Uint8Array() });
  }
}

function given(options: { maxSubscriptions?: number } = {}) {
  const clock = new HandClock();
  const { bus, live, tell } = ((hand) => ({ bus: hand.bus, live: hand.live, tell: hand.tell.bind(hand) }))(
    new HandBus(),
  );
  const manager = new SubscriptionManager({ bus, clock, ttlMs: 1_000, ...options });
  const heard: string[] = [];
  const listener = (name: string) => ({
    received: ({ subject }: BusMessage) => void heard.push(`${name} heard ${subject}`),
    expired: () => void heard.push(`${name} expired`),
  });
  return { clock, live, tell, manager, heard, listener };
}

describe('SubscriptionManager', () => {
  it('hears the responses of its transaction until released', () => {
    const { live, tell, manager, heard, listener } = given();
    const lease = manager.subscribe('tx-1', listener('a'));
    tell('response.tx-1');
    tell('response.tx-2');
    expect(heard).toEqual(['a heard response.tx-1.coordinator.outcome']);
    lease.release();
    lease.release();
    expect([lease.live, manager.size, live.size]).toEqual([false, 0, 0]);
  });

  it('collects what nobody used for its time to live, and tells so once', () => {
    const { clock, live, manager, heard, listener } = given();
    const lease = manager.subscribe('tx-1', listener('a'));
    clock.advance(999);
    expect(lease.live).toBe(true);
    clock.advance(251);
    expect([lease.live, live.size]).toEqual([false, 0]);
    clock.advance(10_000);
    expect(heard).toEqual(['a expired']);
  });

  it('is renewed by its owner and by every message', () => {
    const { clock, tell, manager, heard, listener } = given();
    const renewed = manager.subscribe('tx-1', listener('renewed'));
    manager.subscribe('tx-2', listener('told'));
    manager.subscribe('tx-3', listener('idle'));
    for (let i = 0; i < 4; i += 1) {
      clock.advance(500);
      renewed.renew();
      tell('response.tx-2');
    }
    expect(heard.filter((line) => line.endsWith('expired'))).toEqual(['idle expired']);
    expect(manager.size).toBe(2);
  });

  it('keeps one timer however many there are, and none when there are none', () => {
    const { clock, manager, listener } = given();
    const leases = Array.from({ length: 50 }, (_, i) => manager.subscribe(`tx-${i}`, listener('x')));
    expect(clock.timers).toBe(1);
    for (const lease of leases) lease.release();
    clock.advance(250);
    expect(clock.timers).toBe(0);
    manager.subscribe('again', listener('x'));
    expect(clock.timers).toBe(1);
  });

  it('refuses beyond its bound, and goes on after a release', () => {
    const { manager, listener } = given({ maxSubscriptions: 2 });
    const first = manager.subscribe('tx-1', listener('a'));
    manager.subscribe('tx-2', listener('b'));
    expect(() => manager.subscribe('tx-3', listener('c'))).toThrow(
      expect.objectContaining({ code: 'TOO_MANY_SUBSCRIPTIONS' }),
    );
    first.release();
    expect(manager.subscribe('tx-3', listener('c')).live).toBe(true);
  });

  it('ends everything on close, silently', () => {
    const { clock, live, manager, heard, listener } = given();
    const lease = manager.subscribe('tx-1', listener('a'));
    manager.close();
    clock.advance(10_000);
    expect([lease.live, live.size, clock.timers, heard]).toEqual([false, 0, 0, []]);
  });
});
