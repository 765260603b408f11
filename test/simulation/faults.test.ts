// Goal: each fault shows a node exactly what the real thing would show it, and leaves the broker in the state that
// the real thing would leave behind.
import { describe, expect, it } from 'vitest';

import type { Delivery } from '../../src/ports/work.ts';
import { append, body, COMMANDS, reading, rig, runFor, settled, STREAM, type Rig } from './rig.ts';

describe('links', () => {
  it('deliver late, whole and in order when a short partition heals', async () => {
    const { sim, world, stored } = await rig();
    sim.partition('n');
    const seen = Array.from({ length: 20 }, () => append(world));
    await runFor(sim, 3_000);
    expect([stored(), seen[0]?.result]).toEqual([0, 'pending']);
    sim.heal('n');
    await runFor(sim, 100);
    expect(seen.map(({ result }) => result)).toEqual(seen.map((_, index) => String(index + 1)));
  });

  it('keep their order when they stall, flow and stall again', async () => {
    const { sim, world } = await rig();
    sim.setLatency('n', { minMs: 1, maxMs: 50 });
    const seen: { result: string }[] = [];
    for (let round = 0; round < 30; round += 1) {
      seen.push(append(world));
      if (round % 3 === 0) sim.partition('n', round % 2 === 0 ? 'to-broker' : 'from-broker');
      if (round % 3 === 2) sim.heal('n');
      await runFor(sim, 7);
    }
    sim.heal('n');
    await runFor(sim, 1_000);
    expect(seen.map(({ result }) => result)).toEqual(seen.map((_, index) => String(index + 1)));
  });

  it('break after a long partition: unknown to the publisher, and stored when what was sent arrives after all', async () => {
    const { sim, world, stored } = await rig();
    const states: string[] = [];
    world.bus.onConnection((state) => void states.push(state));
    sim.partition('n', 'to-broker');
    const early = append(world);
    await runFor(sim, 9_000);
    expect([early.result, states]).toEqual(['TIMEOUT', ['connected']]);
    const late = append(world);
    await runFor(sim, 7_000);
    expect([late.result, states, stored()]).toEqual(['CONNECTION_FAILED', ['connected', 'disconnected'], 0]);
    sim.heal('n');
    await runFor(sim, 1_000);
    expect([states.at(-1), stored()]).toEqual(['connected', 2]);
    const after = append(world);
    await runFor(sim, 100);
    expect(after.result).toBe('3');
  });

  it('survive short partitions one after the other', async () => {
    const { sim, world } = await rig();
    const states: string[] = [];
    world.bus.onConnection((state) => void states.push(state));
    for (let round = 0; round < 10; round += 1) {
      sim.partition('n');
      await runFor(sim, 8_000);
      sim.heal('n');
      await runFor(sim, 10);
    }
    expect(states).toEqual(['connected']);
  });

  it('store what arrives while the answers do not', async () => {
    const { sim, world, stored } = await rig();
    sim.partition('n', 'from-broker');
    const seen = append(world);
    await runFor(sim, 6_000);
    expect([seen.result, stored()]).toEqual(['TIMEOUT', 1]);
  });

  it('lose what is in flight when they are reset', async () => {
    const { sim, world, stored } = await rig();
    sim.setLatency('n', { minMs: 5, maxMs: 5 });
    const lost = append(world);
    await runFor(sim, 1);
    sim.cut('n');
    await runFor(sim, 1_000);
    expect([lost.result, stored()]).toEqual(['CONNECTION_FAILED', 0]);
    const answerLost = append(world);
    await runFor(sim, 7);
    sim.cut('n');
    await runFor(sim, 1_000);
    expect([answerLost.result, stored()]).toEqual(['CONNECTION_FAILED', 1]);
  });
});

describe('the broker', () => {
  it('stores and does not answer, neither stores nor answers, or refuses for now', async () => {
    const { sim, world, stored } = await rig();
    const fates = ['lose-answer', 'lose', 'overrun'] as const;
    const results: string[] = [];
    for (const fate of fates) {
      sim.broker.onPublish = () => fate;
      const seen = append(world, `id-${fate}`);
      await runFor(sim, 6_000);
      results.push(`${seen.result} ${stored()}`);
    }
    expect(results).toEqual(['TIMEOUT 1', 'TIMEOUT 1', 'CONNECTION_FAILED 1']);
    sim.broker.onPublish = undefined;
    const retries = fates.map((fate) => append(world, `id-${fate}`));
    await runFor(sim, 100);
    expect(retries.map(({ result }) => result)).toEqual(['1 again', '2', '3']);
    await runFor(sim, 121_000);
    const forgotten = append(world, 'id-lose');
    await runFor(sim, 100);
    expect(forgotten.result).toBe('4');
  });

  it('lets nobody take its own write of a key for a defeat when the answer was lost', async () => {
    const { sim, world } = await rig();
    const bucket = await settled(sim, world.keyValue.ensureBucket('own', {}));
    let lose = true;
    sim.broker.onPublish = () => {
      const fate = lose ? 'lose-answer' : 'normal';
      lose = false;
      return fate;
    };
    const created = await settled(sim, bucket.create('key', body));
    expect(created).toEqual({ won: true, revision: 1 });
    lose = true;
    const updated = await settled(sim, bucket.update('key', new Uint8Array([1]), { revision: 1 }));
    expect(updated).toEqual({ won: true, revision: 2 });
    const stale = await settled(sim, bucket.update('key', body, { revision: 1 }));
    expect(stale).toMatchObject({ won: false, current: { revision: 2 } });
  });

  it('tells a reader at once that its connection is gone', async () => {
    const { sim, world } = await rig();
    const lost: string[] = [];
    await settled(sim, reading(world, lost));
    sim.cut('n');
    await runFor(sim, 1);
    expect(lost).toEqual(['connection disconnected']);
  });

  it('keeps what it acknowledged over a crash, and its ids', async () => {
    const { sim, world, stored } = await rig();
    const before = append(world, 'id');
    await runFor(sim, 100);
    sim.crashBroker();
    const during = append(world);
    await runFor(sim, 1_000);
    sim.startBroker();
    await runFor(sim, 1_000);
    const again = append(world, 'id');
    await runFor(sim, 100);
    expect([before.result, during.result, again.result, stored()]).toEqual([
      '1',
      'CONNECTION_FAILED',
      '1 again',
      1,
    ]);
  });

  it('stores when it goes on what had timed out while it hung', async () => {
    const { sim, world, stored } = await rig();
    sim.pauseBroker();
    const seen = append(world);
    await runFor(sim, 6_000);
    expect([seen.result, stored()]).toEqual(['TIMEOUT', 0]);
    sim.resumeBroker();
    await runFor(sim, 10);
    expect(stored()).toBe(1);
  });

  it('changes its leader: nothing is taken meanwhile, readers are lost, stream time may step back', async () => {
    const { sim, world } = await rig();
    const lost: string[] = [];
    await settled(sim, reading(world, lost));
    append(world);
    await runFor(sim, 100);
    sim.changeLeader({ electionMs: 4_000, stepMs: -10_000 });
    const during = append(world);
    await runFor(sim, 3_000);
    expect([during.result, lost.length]).toEqual(['CONNECTION_FAILED', 1]);
    await runFor(sim, 2_000);
    append(world);
    await runFor(sim, 100);
    const [first, second] = [...(sim.broker.stream(STREAM)?.messages(sim.broker.wallMs) ?? [])];
    expect([first?.seq, second?.seq]).toEqual([1, 2]);
    expect((second?.timeMs ?? 0) - (first?.timeMs ?? 0)).toBeLessThan(-4_000);
  });

  it('goes back to an earlier state: what came later is lost and its sequences are given out again', async () => {
    const { sim, world, stored } = await rig();
    for (let index = 0; index < 5; index += 1) append(world, `id-${index}`);
    await runFor(sim, 100);
    sim.rollBack(STREAM, 2);
    await runFor(sim, 3_000);
    expect(stored()).toBe(2);
    const known = append(world, 'id-1');
    const lost = append(world, 'id-4');
    await runFor(sim, 100);
    expect([known.result, lost.result]).toEqual(['2 again', '3']);
  });
});

describe('consumers', () => {
  async function working({ sim, world }: Rig): Promise<Delivery[]> {
    const deliveries: Delivery[] = [];
    const source = await settled(
      sim,
      world.work.open({
        stream: STREAM,
        durable: 'bank-open',
        filters: [COMMANDS],
        ackWaitMs: 1_000,
        onDelivery: (delivery) => {
          deliveries.push(delivery);
          delivery.ack();
        },
      }),
    );
    source.request(100);
    for (let index = 0; index < 3; index += 1) void world.log.append(COMMANDS, body);
    await runFor(sim, 100);
    return deliveries;
  }
  const story = (deliveries: readonly Delivery[]): string[] =>
    deliveries.map(({ seq, deliveries: nth }) => `${seq}:${nth}`);

  it('deliver again what was acknowledged last when the broker forgot it', async () => {
    const at = await rig();
    const deliveries = await working(at);
    expect(story(deliveries)).toEqual(['1:1', '2:1', '3:1']);
    at.sim.crashBroker();
    at.sim.startBroker({ forgottenAcks: 2 });
    await runFor(at.sim, 2_000);
    expect(story(deliveries).slice(3)).toEqual(['2:2', '3:2']);
  });

  it('begin anew when they were dropped', async () => {
    const at = await rig();
    const deliveries = await working(at);
    at.sim.dropConsumers(STREAM);
    await runFor(at.sim, 2_000);
    expect(story(deliveries).slice(3)).toEqual(['1:1', '2:1', '3:1']);
  });

  it('deliver what gets the sequences of messages that were rolled back', async () => {
    const at = await rig();
    const deliveries = await working(at);
    at.sim.rollBack(STREAM, 1);
    await runFor(at.sim, 3_000);
    void at.world.log.append(COMMANDS, new Uint8Array([1]));
    await runFor(at.sim, 1_000);
    expect(story(deliveries).slice(3)).toEqual(['2:1']);
    expect(deliveries.at(-1)?.data).toEqual(new Uint8Array([1]));
  });

  it('deliver again what was sent into a connection that had stalled', async () => {
    const at = await rig();
    const deliveries = await working(at);
    at.sim.partition('n', 'from-broker');
    void at.world.log.append(COMMANDS, body).catch(() => undefined);
    await runFor(at.sim, 16_000);
    at.sim.heal('n');
    await runFor(at.sim, 3_000);
    expect(deliveries.length).toBe(4);
    const last = deliveries.at(-1);
    expect([last?.seq, (last?.deliveries ?? 0) > 1]).toEqual([4, true]);
  });
});
