// Goal: virtual time is deterministic, promises settle between two events, and the dead do nothing.
import { describe, expect, it } from 'vitest';

import { ULID_PATTERN, ulidTimeMs } from '../../src/kernel/ids.ts';
import { SeededRandom } from '../../src/simulation/random.ts';
import { Actor, Scheduler } from '../../src/simulation/scheduler.ts';
import { Interests, subjectMatches } from '../../src/simulation/routing.ts';

const draws = (random: SeededRandom, count = 50): number[] =>
  Array.from({ length: count }, () => random.next());

describe('random', () => {
  it('draws the same for the same seed, and something else for another', () => {
    expect(draws(new SeededRandom(7))).toEqual(draws(new SeededRandom(7)));
    expect(draws(new SeededRandom(7))).not.toEqual(draws(new SeededRandom(8)));
  });

  it('forks streams that depend on their names alone', () => {
    const used = new SeededRandom(7);
    draws(used, 1_000);
    expect(draws(used.fork('a'))).toEqual(draws(new SeededRandom(7).fork('a')));
    expect(draws(used.fork('a'))).not.toEqual(draws(used.fork('b')));
    expect(draws(used.fork('a').fork('b'))).not.toEqual(draws(used.fork('b').fork('a')));
  });

  it('is spread evenly over [0, 1)', () => {
    const random = new SeededRandom(1);
    const counts = new Array<number>(16).fill(0);
    for (const value of draws(random, 160_000))
      counts[Math.floor(value * 16)] = (counts[Math.floor(value * 16)] ?? 0) + 1;
    // Four standard deviations of a binomial with n = 160,000 and p = 1/16 are 388.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(388);
  });

  it('makes ULIDs of their time', () => {
    const random = new SeededRandom(1);
    const made = Array.from({ length: 100 }, () => random.ulid(1_790_000_000_123));
    for (const ulid of made) {
      expect(ulid).toMatch(ULID_PATTERN);
      expect(ulidTimeMs(ulid)).toBe(1_790_000_000_123);
    }
    expect(new Set(made).size).toBe(100);
  });
});

describe('scheduler', () => {
  it('runs by time, and at the same time in the order of planning', async () => {
    const scheduler = new Scheduler();
    const actor = new Actor('a', 'node');
    const random = new SeededRandom(3);
    const planned = Array.from({ length: 500 }, (_, order) => ({ atMs: random.below(20), order }));
    const ran: typeof planned = [];
    for (const each of planned) scheduler.after(actor, each.atMs, () => void ran.push(each));
    expect(await scheduler.run()).toBe('idle');
    expect(ran).toEqual([...planned].sort((a, b) => a.atMs - b.atMs || a.order - b.order));
    expect(scheduler.nowMs).toBe(Math.max(...planned.map(({ atMs }) => atMs)));
  });

  it('lets every promise chain of an event end before the next event', async () => {
    const scheduler = new Scheduler();
    const actor = new Actor('a', 'node');
    const story: string[] = [];
    scheduler.after(actor, 1, () => {
      void (async () => {
        for (let step = 0; step < 10_000; step += 1) await Promise.resolve();
        story.push('chain');
      })();
    });
    scheduler.after(actor, 1, () => void story.push('next event'));
    await scheduler.run();
    expect(story).toEqual(['chain', 'next event']);
  });

  it('stops at a time, a condition or a number of events, and goes on from there', async () => {
    const scheduler = new Scheduler();
    const actor = new Actor('a', 'engine');
    const ran: number[] = [];
    for (const ms of [1, 2, 3, 4, 5]) scheduler.after(actor, ms, () => void ran.push(ms));
    expect(await scheduler.run({ untilMs: 1.5 })).toBe('time');
    expect([ran, scheduler.nowMs]).toEqual([[1], 1.5]);
    expect(await scheduler.run({ until: () => ran.length === 2 })).toBe('condition');
    expect(await scheduler.run({ maxEvents: 1 })).toBe('events');
    expect(ran).toEqual([1, 2, 3]);
    expect(await scheduler.run()).toBe('idle');
    expect(ran).toEqual([1, 2, 3, 4, 5]);
  });

  it('drops what belongs to the dead and what was cancelled', async () => {
    const scheduler = new Scheduler();
    const dying = new Actor('dying', 'node');
    const other = new Actor('other', 'node');
    const ran: string[] = [];
    scheduler.after(dying, 1, () => dying.kill());
    scheduler.after(dying, 1, () => void ran.push('dead'));
    const cancelled = scheduler.after(other, 2, () => void ran.push('cancelled'));
    scheduler.after(other, 1, () => scheduler.cancel(cancelled));
    scheduler.after(other, 3, () => void ran.push('other'));
    await scheduler.run();
    expect(ran).toEqual(['other']);
  });

  it('holds what becomes due in a pause: timers first, cancelled ones never', async () => {
    const scheduler = new Scheduler();
    const paused = new Actor('paused', 'node');
    const driver = new Actor('driver', 'engine');
    const ran: string[] = [];
    paused.pause();
    scheduler.after(paused, 1, () => void ran.push('frame'));
    scheduler.after(paused, 2, () => void ran.push('timer'), 'timer');
    const cancelled = scheduler.after(paused, 3, () => void ran.push('cancelled'), 'timer');
    scheduler.after(driver, 10, () => scheduler.resume(paused));
    scheduler.after(driver, 10, () => scheduler.cancel(cancelled));
    await scheduler.run({ untilMs: 9 });
    expect(ran).toEqual([]);
    await scheduler.run();
    expect(ran).toEqual(['timer', 'frame']);
  });
});

describe('subjects', () => {
  it.each([
    ['a.b', 'a.b', true],
    ['a.b', 'a.c', false],
    ['a.*', 'a.b', true],
    ['a.*', 'a.b.c', false],
    ['a.*', 'a', false],
    ['*.*.c', 'a.b.c', true],
    ['a.>', 'a.b.c', true],
    ['a.>', 'a', false],
    ['a.>', 'ab.c', false],
    ['a.*.>', 'a.b.c.d', true],
    ['a.*.>', 'a.b', false],
    ['>', 'a', true],
  ])('%s against %s: %s', (filter, subject, expected) => {
    expect(subjectMatches(filter, subject)).toBe(expected);
    const interests = new Interests<string>();
    interests.add({ filter, queue: undefined, owner: 'me', sid: 1 });
    expect(interests.first(subject)).toBe(expected ? 'me' : undefined);
  });
});
