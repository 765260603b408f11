// Goal: a command that kills its workers is found and told apart from its neighbours, a drained worker loses nothing
// and leaves nothing. Method: workers whose connection dies in mid-call, short ack waits, a real nats-server.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { done, refused } from '../../src/runtime/worker-answers.ts';
import type { Handler } from '../../src/runtime/worker-call.ts';
import { eventually } from '../kit/eventually.ts';
import { gate, WorkerWorld, type Commander, type TestWorker } from '../kit/worker-kit.ts';

const ACK_WAIT_MS = 500;
let world: WorkerWorld;
let bank: Commander;
beforeAll(async () => {
  world = await WorkerWorld.start();
});
afterAll(() => world.stop());
afterEach(() => bank.stop());

/** A worker that dies as it touches input `poison`; everything else is answered. */
async function mortal(seen: string[]): Promise<{ died: Promise<void> }> {
  const death = gate();
  const started = gate<TestWorker>();
  const execute: Handler = async ({ input }) => {
    seen.push(JSON.stringify(input));
    if (input !== 'poison') return done(input);
    await (await started.opened).world.close();
    death.open();
    return new Promise(() => {});
  };
  started.open(
    await bank.worker({ barrier: 'none', ackWaitMs: ACK_WAIT_MS, actions: { charge: { execute } } }),
  );
  return { died: death.opened };
}

describe('a command that kills its worker', () => {
  it('runs alone with its neighbours stored before, is isolated the third time, and given up alone', async () => {
    bank = await world.participant('saga');
    const seen: string[] = [];
    const before = bank.command('execute', { input: 'before' });
    const poison = bank.command('execute', { input: 'poison' });
    const after = bank.command('execute', { input: 'after' });

    const first = await mortal(seen);
    await bank.send(before, poison, after);
    await first.died;
    const second = await mortal(seen);
    await second.died;
    // The one before it was reported before the poison began, the one after it never began again.
    expect(await bank.report(before)).toMatchObject({ answer: 'done' });
    expect(seen.slice(0, 3).sort()).toEqual(['"after"', '"before"', '"poison"']);
    expect(seen.slice(3)).toEqual(['"before"', '"poison"']);

    const third = await mortal(seen);
    expect(await bank.report(poison)).toMatchObject({ answer: 'retry', code: 'isolate', mayHaveRun: true });
    expect(await bank.report(after)).toBeDefined();
    await bank.allAcked('open');

    const alone = { ...poison, attempt: 2, alone: true };
    await bank.send(alone);
    await third.died;
    const fourth = await mortal(seen);
    await fourth.died;
    await mortal(seen);
    expect(await bank.report(alone)).toMatchObject({ answer: 'unknown', code: 'crashed' });
    await bank.allAcked('open');
    expect(seen.filter((input) => input === '"poison"')).toHaveLength(4);
    // The neighbour that was isolated with it gets its answer in its own next attempt.
    const retried = { ...after, attempt: 2, alone: true };
    expect(await bank.ask(retried)).toMatchObject({ answer: 'done', output: 'after' });
  });
});

describe('a redelivered command', () => {
  it('is answered a no that cannot speak for its first delivery', async () => {
    bank = await world.participant('saga');
    const first = await mortal([]);
    const command = bank.command('execute', { input: 'poison' });
    await bank.send(command);
    await first.died;
    const actions = { charge: { execute: () => refused('no') } };
    await bank.worker({ barrier: 'none', ackWaitMs: ACK_WAIT_MS, actions });
    expect(await bank.report(command)).toMatchObject({ answer: 'refused', mayHaveRun: true });
    const fresh = await bank.ask(bank.command('execute'));
    expect(fresh).toMatchObject({ answer: 'refused' });
    expect(fresh.mayHaveRun).toBeUndefined();
  });
});

describe('a slow command', () => {
  it('keeps its message by in-progress signals', async () => {
    bank = await world.participant('saga');
    const hold = gate();
    let calls = 0;
    const execute: Handler = async () => {
      calls += 1;
      await hold.opened;
    };
    const { worker } = await bank.worker({
      barrier: 'none',
      ackWaitMs: 300,
      actions: { charge: { execute } },
    });
    const command = bank.command('execute');
    await bank.send(command);
    await eventually(() => calls, { what: 'the call' });
    const began = performance.now();
    await eventually(() => performance.now() - began > 1_200, { what: 'four ack waits' });
    expect(calls).toBe(1);
    hold.open();
    await bank.report(command);
    await bank.allAcked('open');
    expect(bank.reports).toHaveLength(1);
    await worker.drain();
  });
});

describe('drain', () => {
  it('finishes what runs, stores its reports, acknowledges, and takes nothing new', async () => {
    bank = await world.participant('saga');
    const begun = gate();
    const hold = gate();
    const execute: Handler = async () => {
      begun.open();
      await hold.opened;
      return done('finished');
    };
    const { worker } = await bank.worker({ barrier: 'kv', actions: { charge: { execute } } });
    const running = bank.command('execute');
    await bank.send(running);
    await begun.opened;
    let drained = false;
    const drain = worker.drain().then(() => (drained = true));
    await eventually(() => pulls(bank), { what: 'the end of its pulls' });
    const later = bank.command('execute');
    await bank.send(later);
    expect(drained).toBe(false);
    hold.open();
    await drain;
    expect(await bank.report(running)).toMatchObject({ answer: 'done', output: 'finished' });
    expect(bank.reportsOf(later)).toEqual([]);
    await bank.worker({ barrier: 'kv', actions: { charge: { execute: () => done('by another') } } });
    expect(await bank.report(later)).toMatchObject({ output: 'by another' });
    expect(bank.reportsOf(running)).toHaveLength(1);
    await bank.allAcked('open');
  });

  it('that takes too long aborts, reports nothing, and another worker gets the command', async () => {
    bank = await world.participant('saga');
    const begun = gate();
    let reason: unknown;
    const execute: Handler = ({ signal }) => {
      signal.addEventListener('abort', () => (reason = signal.reason as unknown));
      begun.open();
      return new Promise(() => {});
    };
    const { worker } = await bank.worker({
      barrier: 'kv',
      ackWaitMs: ACK_WAIT_MS,
      actions: { charge: { execute } },
    });
    const command = bank.command('execute');
    await bank.send(command);
    await begun.opened;
    await worker.drain({ timeoutMs: 50 });
    expect(reason).toMatchObject({ code: 'CLOSED' });
    expect(bank.reports).toEqual([]);
    await bank.worker({
      barrier: 'kv',
      ackWaitMs: ACK_WAIT_MS,
      actions: { charge: { execute: () => done(2) } },
    });
    expect(await bank.report(command)).toMatchObject({ answer: 'done', output: 2 });
  });
});

describe('crash points', () => {
  it('are passed in the order of the work', async () => {
    bank = await world.participant('2pc');
    const passed: string[] = [];
    const handler: Handler = () => {};
    const actions = { charge: { prepare: handler, commit: handler, abort: handler } };
    await bank.worker({ barrier: 'kv', actions }, (point) => passed.push(point));
    const next = async (phase: 'prepare' | 'commit' | 'abort', fields: object): Promise<string[]> => {
      passed.length = 0;
      await bank.ask(bank.command(phase, fields));
      await eventually(() => passed.includes('p4'), { what: 'the ack' });
      return [...passed];
    };
    expect(await next('prepare', { tx: 'a' })).toEqual(['p1', 'p2', 'p3', 'p5', 'p4']);
    expect(await next('commit', { tx: 'a' })).toEqual(['p1', 'p2', 'p6', 'p3', 'p4']);
    expect(await next('abort', { tx: 'b', ran: true })).toEqual(['p1', 'p2', 'p7', 'p3', 'p4']);
    expect(await next('abort', { tx: 'c' })).toEqual(['p8', 'p3', 'p4']);
  });
});

/** Whether nobody waits at the open consumer any more. */
async function pulls(commander: Commander): Promise<boolean> {
  const subject = `$JS.API.CONSUMER.INFO.DTX_SAGA_STREAM.saga-${commander.participant}-open`;
  const { num_waiting } = (await world.main.connection.nc.request(subject)).json<{ num_waiting?: number }>();
  return (num_waiting ?? 0) === 0;
}

describe('a consumer that was deleted and is made again', () => {
  it('delivers old commands once more, and a commit whose record is gone does not run again', async () => {
    bank = await world.participant('2pc');
    let commits = 0;
    const actions = { charge: { prepare: () => done(), commit: () => void (commits += 1) } };
    const { worker } = await bank.worker({ barrier: 'kv', actions });
    const since = Date.now() - 31_000;
    const old = bank.command('commit', { since });
    expect(await bank.ask(old)).toMatchObject({ answer: 'done' });
    const young = bank.command('commit');
    expect(await bank.ask(young)).toMatchObject({ answer: 'done' });
    await bank.allAcked('close');
    await worker.drain();

    const { nc } = world.main.connection;
    await nc.request(`$JS.API.CONSUMER.DELETE.DTX_2PC_STREAM.2pc-${bank.participant}-close`);
    await nc.request(`$JS.API.STREAM.DELETE.KV_DTX_BARRIER_${bank.participant}`);
    await bank.worker({ barrier: 'kv', barrierKeepMs: 60_000, actions });
    expect(await bank.report(old, 2)).toMatchObject({ answer: 'stale' });
    // A young one without a record was never begun, as far as anybody can tell.
    expect(await bank.report(young, 2)).toMatchObject({ answer: 'done' });
    expect(commits).toBe(3);
  });
});
