// Goal: no envelope, however odd, takes a worker's consumer down or keeps its message for ever, and no copy of a command
// that asked nobody vouches for another. Method: consumer and executor on hand-made ports and a clock moved by hand.
import { describe, expect, it } from 'vitest';
import { passOn } from '../../src/ports/crash-points.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import type { Delivery, Work, WorkOptions } from '../../src/ports/work.ts';
import type { World } from '../../src/ports/world.ts';
import type { CommandEnvelope } from '../../src/protocol/envelopes.ts';
import type { Barrier, GuardedCommand, Reply } from '../../src/reliability/barrier.ts';
import { ServerClock } from '../../src/runtime/server-clock.ts';
import { Consumer } from '../../src/runtime/worker-consumer.ts';
import { Executor, type ExecutorOptions } from '../../src/runtime/worker-execute.ts';
import { Reports } from '../../src/runtime/worker-reports.ts';
import type { Action } from '../../src/runtime/worker-call.ts';
import { CountingRandom, HandClock, settled } from '../kit/hand-clock.ts';

const T0 = 1_700_000_000_000;
const command = (fields: Partial<CommandEnvelope> = {}): CommandEnvelope => ({
  v: 1,
  tx: 't',
  run: '7.0.1000',
  step: 'pay',
  phase: 'execute',
  attempt: 1,
  shard: 1,
  action: 'charge',
  cause: { at: '9.3', time: 1_000 },
  since: T0,
  ...fields,
});

interface Told {
  readonly actions?: Readonly<Record<string, Action>>;
  readonly barrier?: Barrier;
  /** What is sent is stored when this resolves. Default: at once. */
  readonly storing?: Promise<unknown>;
  /** The server's own answer; undefined: none comes. */
  readonly serverMs?: number;
}

function given({ actions, barrier, serverMs }: Told = {}) {
  const clock = new HandClock(T0);
  const server = new ServerClock(clock);
  server.observe(T0);
  const calls: string[] = [];
  let asked = 0;
  const options: ExecutorOptions = {
    actions: actions ?? { charge: { execute: ({ tx }) => void calls.push(tx) } },
    barrier,
    barrierKeepMs: 604_800_000,
    terminationTimeoutMs: undefined,
    handlerTimeoutMs: undefined,
    clock,
    server,
    confirmTime: async () => {
      asked += 1;
      if (serverMs !== undefined) server.correct(serverMs);
      return serverMs !== undefined;
    },
    logger: silentLogger,
    passing: passOn,
  };
  const executor = new Executor(options);
  const execute = async (fields: Partial<CommandEnvelope>): Promise<Reply | undefined> => {
    let reply: Reply | undefined;
    const task = { pattern: 'saga', redelivered: false, seq: 1, index: 0, command: command(fields) } as const;
    executor.execute(task, (answer) => (reply = answer));
    await settled();
    return reply;
  };
  return { clock, server, executor, execute, calls, asked: () => asked };
}

async function consuming(told: Told = {}) {
  const { clock, server, executor, calls } = given(told);
  const stored: { readonly subject: string; readonly body: unknown }[] = [];
  const log = {
    append: async (subject: string, data: Uint8Array) => {
      await told.storing;
      stored.push({ subject, body: JSON.parse(Buffer.from(data).toString()) });
      return { seq: stored.length, duplicate: false };
    },
  };
  const random = new CountingRandom();
  const bus = { publish: () => undefined };
  const world = { clock, random, log, bus, logger: silentLogger, passing: passOn } as unknown as World;
  let deliver: WorkOptions['onDelivery'] = () => undefined;
  const work: Work = {
    open: async ({ onDelivery }) => {
      deliver = onDelivery;
      return { request: () => undefined, close: async () => undefined };
    },
    progress: async () => ({ lastSeq: 0, ackFloor: 0 }),
  };
  const reportsOut = new Reports(world, 'bank');
  const consumer = new Consumer({
    pattern: 'saga',
    durable: 'saga-bank-open',
    filters: [],
    slots: 4,
    ackWaitMs: 30_000,
    work,
    executor,
    reports: reportsOut,
    server,
    logger: silentLogger,
    passing: passOn,
  });
  await consumer.open();
  const receive = async (body: string, deliveries = 1): Promise<string[]> => {
    const settledBy: string[] = [];
    const delivery: Delivery = {
      seq: 5,
      timeMs: T0,
      subject: 'saga.bank.execute',
      data: Buffer.from(body),
      deliveries,
      ack: () => void settledBy.push('ack'),
      nak: () => void settledBy.push('nak'),
      working: () => void settledBy.push('working'),
    };
    deliver(delivery);
    for (let turns = 0; turns < 10 && settledBy.length === 0; turns += 1) await settled();
    consumer.signal();
    return settledBy;
  };
  const of = (start: string) => stored.filter(({ subject }) => subject.startsWith(start));
  /** Reports that are not stored by now are given up. */
  const giveUp = async (): Promise<void> => {
    const closed = reportsOut.close(1);
    clock.advance(1);
    await closed;
    await settled();
  };
  return { receive, giveUp, calls, dead: () => of('dead.'), reports: () => of('saga.') };
}

describe('a message', () => {
  it('is acknowledged once its report is stored, and not before', async () => {
    let store = (): void => undefined;
    const storing = new Promise<void>((resolve) => (store = resolve));
    const { receive, calls, reports } = await consuming({ storing });
    const settledBy = await receive(JSON.stringify([command()]));
    expect(calls).toEqual(['t']);
    expect(settledBy).toEqual(['working']);
    store();
    await settled();
    expect(reports()).toHaveLength(1);
    expect(settledBy).toEqual(['working', 'ack']);
  });

  it('comes again when its report was given up', async () => {
    const { receive, giveUp, calls } = await consuming({ storing: new Promise<void>(() => undefined) });
    const settledBy = await receive(JSON.stringify([command()]));
    await giveUp();
    expect(calls).toEqual(['t']);
    expect(settledBy).toEqual(['working', 'nak']);
  });

  it('with an envelope nested too deep for a text is acknowledged; the letter holds the whole body', async () => {
    const { receive, calls, dead, reports } = await consuming();
    const deep = '['.repeat(100_000) + ']'.repeat(100_000);
    const body = `[${deep},${JSON.stringify(command())}]`;
    expect(await receive(body)).toEqual(['ack']);
    expect(calls).toEqual(['t']);
    expect(reports()).toHaveLength(1);
    expect(dead()).toHaveLength(1);
    const letter = dead()[0]?.body as { readonly position: string; readonly data: string };
    expect(letter.position).toBe('5.0');
    expect(Buffer.from(letter.data, 'base64').toString()).toBe(body.slice(0, 131_072));
  });

  it('whose handler cannot even be looked up is reported unknown, and its neighbours run', async () => {
    const calls: string[] = [];
    const bad = Object.defineProperty({}, 'execute', {
      get: () => {
        throw new Error('planted');
      },
    });
    const actions = { bad, charge: { execute: () => void calls.push('charge') } };
    const { receive, reports } = await consuming({ actions });
    const body = JSON.stringify([command({ action: 'bad', tx: 'a' }), command({ tx: 'b' })]);
    expect(await receive(body)).toEqual(['ack']);
    expect(calls).toEqual(['charge']);
    const [a, b] = reports().flatMap(({ body: reported }) => reported as { readonly answer: string }[]);
    expect([a?.answer, b?.answer]).toEqual(['unknown', 'done']);
  });
});

describe('a copy of a command that asked no barrier', () => {
  it('does not vouch for another copy when it has expired', async () => {
    const { execute, calls } = given({ serverMs: T0 });
    expect(await execute({ due: T0 - 1 })).toMatchObject({ code: 'expired', mayHaveRun: true });
    expect(calls).toEqual([]);
  });

  it('does not vouch for another copy when there is no handler', async () => {
    const reply = await given().execute({ action: 'other' });
    expect(reply).toMatchObject({ answer: 'retry', code: 'no-handler', mayHaveRun: true });
  });

  it('lets the barrier speak where there is no handler', async () => {
    const guarded: GuardedCommand[] = [];
    const barrier: Barrier = {
      name: 'by hand',
      recall: async () => undefined,
      guard: (told, execution) => {
        guarded.push(told);
        return told.phase === 'compensate' ? { answer: 'done', code: 'empty' } : execution.run({});
      },
    };
    const { execute } = given({ barrier });
    const act = await execute({ action: 'other' });
    expect(act).toMatchObject({ answer: 'retry', code: 'no-handler' });
    expect(act?.mayHaveRun).toBeUndefined();
    expect(await execute({ action: 'other', phase: 'compensate', ran: false })).toMatchObject({
      code: 'empty',
    });
    expect(guarded.map(({ phase }) => phase)).toEqual(['execute', 'compensate']);
  });
});

describe('a command that must not run', () => {
  const held: Reply = { answer: 'done', output: 'C-7' };
  const knowing = (recall: Barrier['recall']): Barrier => ({
    name: 'by hand',
    recall,
    guard: (_, execution) => execution.run({}),
  });

  it('is answered from the record if that holds an answer, else isolated, on its third delivery', async () => {
    const barrier = knowing(async ({ tx }) => {
      if (tx === 'away') throw new Error('the bucket is away');
      return tx === 'held' ? held : undefined;
    });
    const { receive, reports, calls } = await consuming({ barrier });
    const body = [command({ tx: 'held' }), command({ tx: 'a' }), command({ tx: 'away' })];
    expect(await receive(JSON.stringify(body), 3)).toEqual(['ack']);
    const alone = [command({ tx: 'held', alone: true }), command({ tx: 'a', alone: true })];
    expect(await receive(JSON.stringify(alone), 4)).toEqual(['ack']);
    const told = reports().flatMap(
      ({ body: sent }) => sent as { tx: string; answer: string; code?: string }[],
    );
    expect(told.map(({ tx, answer, code }) => [tx, answer, code])).toEqual([
      ['held', 'done', undefined],
      ['a', 'retry', 'isolate'],
      ['away', 'retry', 'isolate'],
      ['held', 'done', undefined],
      ['a', 'unknown', 'crashed'],
    ]);
    expect(calls).toEqual([]);
  });

  it('is answered from the record if that holds an answer, also when it has expired', async () => {
    const barrier = knowing(async ({ tx }) => (tx === 'held' ? held : undefined));
    const { execute, calls } = given({ serverMs: T0, barrier });
    expect(await execute({ tx: 'held', due: T0 - 1 })).toEqual(held);
    expect(await execute({ tx: 'other', due: T0 - 1 })).toMatchObject({ code: 'expired' });
    expect(calls).toEqual([]);
  });
});

describe('a command that seems to be late', () => {
  it('runs when the server says that its clock was set back, and those after it need no question', async () => {
    const { execute, server, calls, asked } = given({ serverMs: T0 });
    server.observe(T0 + 60_000);
    server.observe(T0);
    expect(await execute({ tx: 'a', due: T0 + 30_000 })).toEqual({ answer: 'done' });
    expect(await execute({ tx: 'b', due: T0 + 30_000 })).toEqual({ answer: 'done' });
    expect(calls).toEqual(['a', 'b']);
    expect(asked()).toBe(1);
  });

  it('is not begun when the server agrees', async () => {
    const { execute, calls, asked } = given({ serverMs: T0 + 60_000 });
    expect(await execute({ due: T0 })).toMatchObject({ answer: 'retry', code: 'expired' });
    expect(await execute({ due: T0 })).toMatchObject({ answer: 'retry', code: 'expired' });
    expect(calls).toEqual([]);
    expect(asked()).toBe(1);
  });

  it('runs when the server does not answer: that only wastes work', async () => {
    const { execute, calls } = given();
    expect(await execute({ due: T0 })).toEqual({ answer: 'done' });
    expect(calls).toEqual(['t']);
  });

  it('is not begun once the worker gave up', async () => {
    const { execute, executor, calls } = given({ serverMs: T0 - 60_000 });
    const reply = execute({ due: T0 });
    executor.abort(new Error('the worker stops'));
    expect(await reply).toBeUndefined();
    expect(calls).toEqual([]);
  });
});
