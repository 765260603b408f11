// Goal: outcomes that nobody heard are asked for: in batches, ever more rarely, and at once after a reconnect.
// Method: the client on a world driven by hand.
import { describe, expect, it } from 'vitest';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import type { World } from '../../src/ports/world.ts';
import type { QueryRequest } from '../../src/protocol/query.ts';
import { createClient, twoPhaseCommit } from '../../src/runtime/client/index.ts';
import { CountingRandom, HandClock, settled } from '../kit/hand-clock.ts';

const move = twoPhaseCommit('move').step('debit', { participant: 'hdfc', action: 'debit' }).build();

async function given() {
  const clock = new HandClock();
  const asked: { readonly atMs: number; readonly txs: readonly string[] }[] = [];
  let connection: (state: 'connected' | 'disconnected') => void = () => undefined;
  let answering = true;
  let seq = 0;
  const bus = {
    subscribe: () => ({ unsubscribe: () => undefined }),
    onConnection: (listener: typeof connection) => {
      connection = listener;
      listener('connected');
      return () => undefined;
    },
    request: async (_subject: string, data: Uint8Array) => {
      const { txs } = JSON.parse(new TextDecoder().decode(data)) as QueryRequest;
      asked.push({ atMs: clock.monotonicMs(), txs });
      if (!answering) throw new PhasorError('TIMEOUT', 'by hand');
      return new TextEncoder().encode('{"v":1,"found":[]}');
    },
  };
  const log = {
    state: async () => ({ shards: 1, duplicateWindowMs: 120_000, lastTimeMs: 0 }),
    append: async () => ({ seq: (seq += 1), duplicate: false }),
  };
  const ports = { clock, bus, log, random: new CountingRandom(), logger: silentLogger };
  const world = { ...ports, passing: () => undefined } as unknown as World;
  const client = await createClient(world, { sender: 'orders' });
  const pass = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 50) {
      clock.advance(50);
      await settled();
    }
  };
  return {
    ...{ clock, client, asked, pass },
    connect: (state: 'connected' | 'disconnected') => connection(state),
    answer: (yes: boolean) => (answering = yes),
  };
}

describe('questions about missed outcomes', () => {
  it('come at growing intervals, at most 15 s apart, also when nobody answers', async () => {
    const { client, asked, pass, answer } = await given();
    await client.begin(move);
    await pass(20_000);
    answer(false);
    await pass(60_000);
    const gaps = asked.slice(1).map(({ atMs }, i) => atMs - (asked[i]?.atMs ?? 0));
    expect(asked[0]?.atMs).toBeLessThanOrEqual(1_100);
    expect(gaps.slice(0, 3).every((gap, i) => gap < (gaps[i + 1] ?? 0))).toBe(true);
    expect(gaps.slice(-2).every((gap) => gap >= 15_000 && gap <= 15_100)).toBe(true);
  });

  it('ask for 64 transactions together', async () => {
    const { client, asked, pass } = await given();
    await Promise.all(Array.from({ length: 150 }, () => client.begin(move)));
    await pass(1_200);
    expect(asked.map(({ txs }) => txs.length)).toEqual([64, 64, 22]);
    expect(new Set(asked.flatMap(({ txs }) => txs)).size).toBe(150);
  });

  it('come at once after a reconnect', async () => {
    const { client, asked, pass, connect, clock } = await given();
    await client.begin(move);
    await pass(9_000);
    const before = asked.length;
    connect('disconnected');
    connect('connected');
    const at = clock.monotonicMs();
    await pass(200);
    expect(asked).toHaveLength(before + 1);
    expect((asked.at(-1)?.atMs ?? 0) - at).toBeLessThanOrEqual(100);
  });

  it('stop, and no timer remains, when the client closes', async () => {
    const { client, asked, pass, clock } = await given();
    await client.begin(move);
    await client.close();
    const before = asked.length;
    await pass(30_000);
    expect([asked.length - before, clock.timers]).toEqual([0, 0]);
  });
});
