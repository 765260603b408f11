// Goal: what the batcher was given is stored once and in order, across a server that dies under it.
// Method: a real nats-server, killed and started again while envelopes keep coming.
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { streamOf, subjects, type Subject } from '../../src/kernel/subjects.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { ensureStreams } from '../../src/nats/streams.ts';
import { natsWorld, type NatsWorld } from '../../src/nats/world.ts';
import type { LogMessage } from '../../src/ports/log.ts';
import type { World } from '../../src/ports/world.ts';
import { Batcher, type BatcherOptions } from '../../src/runtime/batcher.ts';
import { createClient, twoPhaseCommit } from '../../src/runtime/client/index.ts';
import { eventually } from '../kit/eventually.ts';
import { FakeCoordinator } from '../kit/fake-coordinator.ts';
import { testNats } from '../kit/nats.ts';

const logger = pino({ level: 'silent' });
let server: NatsServerHandle;
let nats: NatsWorld;

beforeAll(async () => {
  server = await testNats();
  nats = await natsWorld({ url: server.url, logger, appendTimeoutMs: 500 });
  await ensureStreams(nats.connection.nc, { patterns: ['2pc', 'saga'], shards: 2 });
});
afterAll(async () => {
  await nats.close();
  await server.stop();
});

const batcherOn = (world: World, options: Partial<BatcherOptions> = {}): Batcher => {
  const { log, clock, random } = world;
  return new Batcher({ log, clock, random, logger, identified: true, ...options });
};

async function stored(subject: Subject, count: number): Promise<LogMessage[]> {
  const messages: LogMessage[] = [];
  const reading = await nats.world.log.read({
    stream: streamOf('saga'),
    filters: [subject],
    after: 0,
    onMessage: (message) => void messages.push(message),
    onLost: () => undefined,
  });
  await eventually(() => envelopesOf(messages).length >= count, { what: `${count} envelopes` });
  await reading.close();
  return messages;
}
const envelopesOf = (messages: readonly LogMessage[]): number[] =>
  messages.flatMap(({ data }) => JSON.parse(new TextDecoder().decode(data)) as number[]);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('Batcher on a real server', () => {
  it('stores exact bytes, with one header or none at all', async () => {
    const quiet = subjects.input('saga', 'quiet', 'report', 0);
    const named = subjects.input('saga', 'named', 'report', 0);
    for (const [subject, identified] of [
      [quiet, false],
      [named, true],
    ] as const) {
      const batcher = batcherOn(nats.world, { identified });
      batcher.add(subject, '{"é":1}');
      batcher.add(subject, '2');
      await batcher.close();
      const [message] = await stored(subject, 2);
      expect(new TextDecoder().decode(message?.data)).toBe('[{"é":1},2]');
      expect([...(message?.headers?.keys() ?? [])]).toEqual(identified ? ['Nats-Msg-Id'] : []);
    }
  });

  it('stores one message although its acknowledgements get lost', async () => {
    const subject = subjects.input('saga', 'deaf', 'begin', 0);
    const append = nats.world.log.append.bind(nats.world.log);
    let lost = 0;
    const log = {
      append: async (...args: Parameters<typeof append>) => {
        const appended = await append(...args);
        if (lost >= 2) return appended;
        lost += 1;
        const { PhasorError } = await import('../../src/errors/phasor-error.ts');
        throw new PhasorError('TIMEOUT', 'planted');
      },
    } as unknown as World['log'];
    const batcher = batcherOn({ ...nats.world, log });
    const positions: string[] = [];
    for (const n of [0, 1])
      batcher.add(subject, String(n), (result) => void positions.push('at' in result ? result.at : 'lost'));
    await batcher.close();
    const messages = await stored(subject, 2);
    expect(lost).toBe(2);
    expect(messages).toHaveLength(1);
    expect(positions).toEqual([`${messages[0]?.seq}.0`, `${messages[0]?.seq}.1`]);
  });

  it('neither loses, reorders nor duplicates when the server is killed in mid-stream', async () => {
    const lanes = [0, 1].map((shard) => subjects.input('saga', 'steady', 'begin', shard));
    const batcher = batcherOn(nats.world, { maxEnvelopes: 8 });
    const told = new Map<string, string>();
    const total = 3_000;
    const feeding = (async () => {
      for (const n of numbers(total)) {
        for (const lane of lanes)
          batcher.add(lane, String(n), (result) =>
            told.set(`${lane}/${n}`, 'at' in result ? result.at : result.error.code),
          );
        const room = batcher.ready();
        if (room !== undefined) await room;
        if (n % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    await eventually(() => told.size > 200, { what: 'the first acknowledgements' });
    await server.kill('SIGKILL');
    await server.restart();
    await feeding;
    await batcher.close({ timeoutMs: 20_000 });
    for (const lane of lanes) {
      const messages = await stored(lane, total);
      expect(envelopesOf(messages)).toEqual(numbers(total));
      for (const { seq, data } of messages)
        (JSON.parse(new TextDecoder().decode(data)) as number[]).forEach((n, index) =>
          expect(told.get(`${lane}/${n}`)).toBe(`${seq}.${index}`),
        );
    }
  });
});

describe('the client across a server restart', () => {
  it('begins each transaction once, and finds the outcomes told while it was away', async () => {
    const far = await natsWorld({ url: server.url, logger, appendTimeoutMs: 500 });
    const coordinator = await new FakeCoordinator(far.world, '2pc').start();
    const client = await createClient(nats.world, { sender: 'orders' });
    const plan = twoPhaseCommit('move').step('debit', { participant: 'hdfc', action: 'debit' }).build();
    const before = await Promise.all(numbers(50).map(() => client.begin(plan)));
    const waiting = Promise.all(before.map((handle) => handle.outcome({ timeoutMs: 20_000 })));
    await Promise.all(before.map(({ tx }) => coordinator.begun(tx)));
    await server.kill('SIGKILL');
    const during = numbers(50).map(() => client.begin(plan));
    // Told into the void: nobody is connected.
    for (const begin of coordinator.begins) {
      const outcome = coordinator.outcome(begin);
      coordinator.known.set(begin.envelope.tx, coordinator.found(begin, { open: false, outcome }));
    }
    await server.restart();
    const handles = [...before, ...(await Promise.all(during))];
    expect((await waiting).map(({ status }) => status)).toEqual(before.map(() => 'committed'));
    await Promise.all(handles.map(({ tx }) => coordinator.begun(tx)));
    expect(coordinator.begins.map(({ envelope }) => envelope.tx).sort()).toEqual(
      handles.map(({ tx }) => tx).sort(),
    );
    await client.close();
    await far.close();
  });
});
