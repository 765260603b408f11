// Goal: duplicates, empty undos, late acts and takeovers end as the table says, with real workers on real buckets.
// Method: two workers as two processes would be (connections of their own), commands by hand, short ack waits.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { barrierBucket } from '../../src/reliability/barrier.ts';
import { done, retry } from '../../src/runtime/worker-answers.ts';
import type { Action, Handler } from '../../src/runtime/worker-call.ts';
import type { CommandEnvelope } from '../../src/protocol/envelopes.ts';
import { eventually } from '../kit/eventually.ts';
import { gate, WorkerWorld, type Commander } from '../kit/worker-kit.ts';

const ACK_WAIT_MS = 600;
let world: WorkerWorld;
let bank: Commander;
beforeAll(async () => {
  world = await WorkerWorld.start();
});
afterAll(() => world.stop());
afterEach(() => bank.stop());

const again = (command: CommandEnvelope): CommandEnvelope => ({ ...command, attempt: command.attempt + 1 });

/** Asks with rising attempts until the answer is none of `busy`. */
async function insist(command: CommandEnvelope) {
  let current = command;
  return eventually(
    async () => {
      const report = await bank.ask(current);
      current = again(current);
      return report.code === 'busy' ? undefined : report;
    },
    { what: 'an answer other than busy', everyMs: 50 },
  );
}

/** Whether so many messages are at work, not acknowledged. */
async function delivered(messages: number): Promise<boolean> {
  const subject = `$JS.API.CONSUMER.INFO.DTX_SAGA_STREAM.saga-${bank.participant}-open`;
  const info = await world.main.connection.nc.request(subject);
  return info.json<{ num_ack_pending: number }>().num_ack_pending === messages;
}

describe('the kv barrier', () => {
  it('answers a command that came twice from its record', async () => {
    bank = await world.participant('saga');
    let calls = 0;
    const execute: Handler = () => done({ call: (calls += 1) });
    await bank.worker({ barrier: 'kv', actions: { charge: { execute } } });
    const command = bank.command('execute');
    await bank.send(command, command);
    await bank.report(command, 2);
    await bank.send(again(command));
    await bank.report(again(command));
    const answers = bank.reports.map(({ answer, code, output }) => ({ answer, code, output }));
    expect(answers).toEqual(Array.from({ length: 3 }, () => ({ answer: 'done', output: { call: 1 } })));
    expect(calls).toBe(1);
  });

  it('lets one of two workers run what both got', async () => {
    bank = await world.participant('saga');
    const hold = gate();
    let calls = 0;
    const execute: Handler = async () => {
      calls += 1;
      await hold.opened;
      return done(calls);
    };
    // One slot each: the second message must go to the other worker.
    const options = { barrier: 'kv', concurrency: { open: 1 }, actions: { charge: { execute } } } as const;
    await bank.worker(options);
    await bank.worker(options);
    const command = bank.command('execute');
    await bank.send(command);
    await bank.send(command);
    await eventually(() => delivered(2), { what: 'both deliveries' });
    hold.open();
    expect(await bank.report(command)).toMatchObject({ answer: 'done', output: 1 });
    expect(await bank.report(command, 2)).toMatchObject({ answer: 'done', output: 1 });
    expect(await bank.ask(again(command))).toMatchObject({ answer: 'done', output: 1 });
    expect(calls).toBe(1);
  });

  it('spares the handler of an undo that came first, and catches its act when it comes', async () => {
    bank = await world.participant('saga');
    const ran: string[] = [];
    const note: Handler = ({ phase }) => void ran.push(phase);
    await bank.worker({ barrier: 'kv', actions: { charge: { execute: note, compensate: note } } });
    const undo = bank.command('compensate');
    expect(await bank.ask(undo)).toMatchObject({ answer: 'done', code: 'empty' });
    const act = bank.command('execute', { tx: undo.tx });
    expect(await bank.ask(act)).toMatchObject({ answer: 'refused', code: 'late' });
    expect(await bank.ask(again(undo))).toMatchObject({ answer: 'done', code: 'empty' });
    expect(ran).toEqual([]);
  });

  it('runs an undo without a record where the act is known to have run', async () => {
    bank = await world.participant('saga');
    const ran: string[] = [];
    const note: Handler = ({ phase, ran: known }) => void ran.push(`${phase} ${known}`);
    await bank.worker({ barrier: 'kv', actions: { charge: { execute: note, compensate: note } } });
    expect(await bank.ask(bank.command('compensate', { ran: true }))).toMatchObject({ answer: 'done' });
    expect(ran).toEqual(['compensate true']);
  });

  it('refuses abort after commit, and commit after abort, on another worker too', async () => {
    bank = await world.participant('2pc');
    const note: Handler = () => {};
    const options = {
      barrier: 'kv',
      concurrency: { close: 1 },
      actions: { charge: { prepare: note, commit: note, abort: note } },
    } as const;
    await bank.worker(options);
    await bank.worker(options);
    const first = bank.command('prepare');
    for (const phase of ['prepare', 'commit'] as const)
      expect(await bank.ask(bank.command(phase, { tx: first.tx }))).toMatchObject({ answer: 'done' });
    expect(await bank.ask(bank.command('abort', { tx: first.tx, ran: true }))).toMatchObject({
      answer: 'conflict',
    });
    const second = bank.command('abort');
    expect(await bank.ask(second)).toMatchObject({ answer: 'done', code: 'empty' });
    expect(await bank.ask(bank.command('commit', { tx: second.tx }))).toMatchObject({ answer: 'conflict' });
  });

  it('leaves no answer behind for retry, and says when a throw may have left something', async () => {
    bank = await world.participant('saga');
    const answers: Handler[] = [
      () => retry('locked'),
      () => {
        throw new Error('half done');
      },
      () => retry('locked'),
      () => done('at last'),
    ];
    const execute: Handler = (call) => answers.shift()?.(call);
    await bank.worker({ barrier: 'kv', actions: { charge: { execute } } });
    let command = bank.command('execute');
    const reports = [];
    for (let attempt = 1; attempt <= 4; attempt += 1) {
      reports.push(await bank.ask(command));
      command = again(command);
    }
    expect(reports.map(({ answer, mayHaveRun }) => ({ answer, mayHaveRun }))).toEqual([
      { answer: 'retry', mayHaveRun: undefined },
      { answer: 'unknown', mayHaveRun: undefined },
      { answer: 'retry', mayHaveRun: true },
      { answer: 'done', mayHaveRun: undefined },
    ]);
  });

  it('has one record per run and step, in the bucket of its participant, and each write renews its life', async () => {
    bank = await world.participant('2pc');
    const note: Handler = () => {};
    await bank.worker({ barrier: 'kv', actions: { charge: { prepare: note, commit: note } } });
    const prepare = bank.command('prepare');
    await bank.ask(prepare);
    await bank.ask(bank.command('commit', { tx: prepare.tx }));
    const bucket = await world.main.world.keyValue.bucket(barrierBucket(bank.participant));
    const keys = (await bucket.keys()).filter((key) => !key.startsWith('worker.'));
    expect(keys).toEqual([`2pc.${prepare.tx}.7.0.1000.pay`]);
    const entry = await bucket.get(keys[0]!);
    const record: unknown = JSON.parse(Buffer.from(entry!.value).toString());
    expect(record).toMatchObject({
      phases: { prepare: { status: 'answered' }, commit: { status: 'answered' } },
    });
    const stream = `KV_${barrierBucket(bank.participant)}`;
    const subject = `$KV.${barrierBucket(bank.participant)}.${keys[0]}`;
    const ask = JSON.stringify({ last_by_subj: subject });
    const got = await world.main.connection.nc.request(`$JS.API.STREAM.MSG.GET.${stream}`, ask);
    const { message } = got.json<{ message: { hdrs: string } }>();
    expect(Buffer.from(message.hdrs, 'base64').toString()).toContain('Nats-TTL: 604800');
  });

  it('keeps two outputs of the largest size within one record', async () => {
    bank = await world.participant('2pc');
    const large: Handler = ({ phase }) => done(`${phase}${'x'.repeat(16_000)}`);
    await bank.worker({ barrier: 'kv', actions: { charge: { prepare: large, commit: large } } });
    const prepare = bank.command('prepare');
    await bank.ask(prepare);
    const commit = bank.command('commit', { tx: prepare.tx });
    const report = await bank.ask(commit);
    expect(report).toMatchObject({ answer: 'done' });
    expect(report.lateEffect).toBeUndefined();
    expect((await bank.ask(again(commit))).output).toBe(report.output);
  });
});

describe('claims', () => {
  const killed = async (actions: Record<string, Action>): Promise<{ kill: () => Promise<void> }> => {
    const { world: its } = await bank.worker({ barrier: 'kv', ackWaitMs: ACK_WAIT_MS, actions });
    return { kill: () => its.close() };
  };

  it('of a killed worker end with its ack wait: another one takes the command over', async () => {
    bank = await world.participant('saga');
    const begun = gate();
    const { kill } = await killed({
      charge: {
        execute: () => {
          begun.open();
          return new Promise(() => {});
        },
      },
    });
    const command = bank.command('execute');
    await bank.send(command);
    await begun.opened;
    await kill();
    let answer: Handler = () => retry('not yet');
    const execute: Handler = (call) => answer(call);
    await bank.worker({ barrier: 'kv', ackWaitMs: ACK_WAIT_MS, actions: { charge: { execute } } });
    // Redelivered, and after an execution that nobody heard of again: this retry cannot speak for that one.
    expect(await bank.report(command)).toMatchObject({ answer: 'retry', code: 'not yet', mayHaveRun: true });
    answer = () => done('taken over');
    expect(await bank.ask(again(command))).toMatchObject({ answer: 'done', output: 'taken over' });
  });

  it('of a slow handler are renewed, and its message is not delivered again', async () => {
    bank = await world.participant('saga');
    const hold = gate();
    let calls = 0;
    const execute: Handler = async () => {
      calls += 1;
      await hold.opened;
      return done();
    };
    const options = { barrier: 'kv', ackWaitMs: ACK_WAIT_MS, actions: { charge: { execute } } } as const;
    await bank.worker(options);
    await bank.worker(options);
    const command = bank.command('execute');
    await bank.send(command);
    let next = again(command);
    const until = performance.now() + 3 * ACK_WAIT_MS;
    while (performance.now() < until) {
      expect(await bank.ask(next)).toMatchObject({ code: 'busy' });
      next = again(next);
    }
    hold.open();
    await bank.report(command);
    expect(calls).toBe(1);
    expect(bank.reportsOf(command)).toHaveLength(1);
    await bank.allAcked('open');
  });

  it('of a handler that ran out of time end; its effect after the undo is reported late, and undone again', async () => {
    bank = await world.participant('saga');
    const hold = gate();
    const effects: string[] = [];
    const execute: Handler = async () => {
      await hold.opened;
      effects.push('execute');
      return done('too late');
    };
    const compensate: Handler = () => void effects.push('compensate');
    await bank.worker({
      barrier: 'kv',
      ackWaitMs: ACK_WAIT_MS,
      handlerTimeoutMs: 100,
      actions: { charge: { execute, compensate } },
    });
    const act = bank.command('execute');
    expect(await bank.ask(act)).toMatchObject({ answer: 'unknown', code: 'timeout' });
    const undo = bank.command('compensate', { tx: act.tx });
    expect(await bank.ask(undo)).toMatchObject({ answer: 'retry', code: 'busy' });
    const undone = await insist(again(undo));
    expect(undone).toMatchObject({ answer: 'done' });
    expect(undone.code).toBeUndefined();
    hold.open();
    expect(await bank.report(act, 2)).toMatchObject({ answer: 'done', output: 'too late', lateEffect: true });
    const last = { ...undo, attempt: undone.attempt + 1 };
    expect(await bank.ask(last)).toMatchObject({ answer: 'done' });
    expect(await bank.ask(again(last))).toMatchObject({ answer: 'done' });
    expect(effects).toEqual(['compensate', 'execute', 'compensate']);
  });
});
