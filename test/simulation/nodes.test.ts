// Goal: a simulated node lives, dies, pauses and reads its clocks as a process on a machine of its own.
import { describe, expect, it } from 'vitest';

import { Simulation, type Store } from '../../src/simulation/index.ts';
import { append, body, rig, runFor, STREAM, SUBJECT } from './rig.ts';

describe('nodes', () => {
  it('do nothing after the crash point at which they died, not even in the code that still runs', async () => {
    const { sim, world, lives, stored } = await rig();
    const store: Store<{ effects: number }> | undefined = lives[0]?.store('bank', () => ({ effects: 0 }));
    sim.onPassing = (node, _, nth) => {
      if (nth === 2) sim.crash(node.name);
    };
    const after: string[] = [];
    const act = async (): Promise<void> => {
      world.passing('p1');
      await store?.transact((bank) => (bank.effects += 1));
      world.clock.after(1, () => void after.push('timer'));
      world.bus.publish(SUBJECT, body);
      await world.log.append(SUBJECT, body);
      after.push('append');
    };
    void act();
    await runFor(sim, 100);
    const before = [sim.stored('bank'), after, stored()];
    expect(before).toEqual([{ effects: 1 }, ['timer', 'append'], 2]);
    after.length = 0;
    void act();
    await runFor(sim, 60_000);
    expect([sim.stored('bank'), after, stored()]).toEqual([{ effects: 1 }, [], 2]);
    sim.restart('n');
    await runFor(sim, 100);
    expect([lives.length, lives[1]?.life, sim.node('n').passed.get('p1')]).toEqual([2, 2, 2]);
    expect(lives[1]?.store('bank', () => ({ effects: 9 })).value).toEqual({ effects: 1 });
  });

  it('send what they handed to the kernel before they died', async () => {
    const { sim, world, stored } = await rig();
    const seen = append(world);
    sim.crash('n');
    await runFor(sim, 100);
    expect([seen.result, stored()]).toEqual(['pending', 1]);
  });

  it.each([
    ['stands', 2_000, 1_000],
    ['runs', 5_000, 0],
  ] as const)('have a monotonic clock that %s in a pause', async (clock, monotonicMs, leftMs) => {
    const { sim, world } = await rig();
    const startMs = world.clock.monotonicMs();
    let fired = false;
    world.clock.after(3_000, () => (fired = true));
    await runFor(sim, 2_000);
    sim.pause('n');
    const seen = append(world);
    await runFor(sim, 3_000);
    expect([fired, seen.result]).toEqual([false, 'pending']);
    sim.resume('n', clock);
    expect(world.clock.monotonicMs() - startMs).toBeCloseTo(monotonicMs);
    await runFor(sim, 10);
    expect([fired, seen.result]).toEqual([leftMs === 0, '1']);
    await runFor(sim, leftMs);
    expect(fired).toBe(true);
  });

  it('end when their main function fails, and are started again', async () => {
    const sim = new Simulation({ seed: 1 });
    const lives: number[] = [];
    sim.addNode('n', {
      main: async ({ world, life }) => {
        lives.push(life);
        await world.log.state(life === 1 ? 'NOSUCHSTREAM' : STREAM);
        lives.push(life);
      },
    });
    await sim.run({ untilMs: 900 });
    expect([lives, sim.node('n').alive, sim.failures.length]).toEqual([[1], false, 1]);
    expect(sim.failures[0]).toMatchObject({ node: 'n', error: { code: 'STREAM_MISSING' } });
    await sim.run({ untilMs: 1_100 });
    expect([lives, sim.node('n').alive]).toEqual([[1, 2, 2], true]);
  });

  it('wait for a broker before their main function runs', async () => {
    const sim = new Simulation({ seed: 1 });
    let started = 0;
    sim.crashBroker();
    sim.addNode('n', { main: () => void (started += 1) });
    await sim.run({ untilMs: 5_000 });
    expect(started).toBe(0);
    sim.startBroker();
    await sim.run({ untilMs: 6_000 });
    expect(started).toBe(1);
  });

  it('have wall clocks that may be wrong, and jump', async () => {
    const { sim, world } = await rig();
    expect(world.clock.wallMs()).toBe(sim.broker.wallMs);
    sim.jumpClock('n', -90_000);
    expect(world.clock.wallMs()).toBe(sim.broker.wallMs - 90_000);
    sim.crash('n');
    sim.restart('n');
    await runFor(sim, 1_000);
    expect(sim.failures).toEqual([]);
  });
});
