// Goal: every command gets one typed report, whatever the handler does, and nothing is acknowledged before its
// reports are stored. Method: a real nats-server, commands published by hand, reports read from the log.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { subjects } from '../../src/kernel/subjects.ts';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import { done, heuristic, readOnly, refused, retry } from '../../src/runtime/worker-answers.ts';
import type { Call, Handler } from '../../src/runtime/worker-call.ts';
import { startWorker, type WorkerOptions } from '../../src/runtime/worker.ts';
import { eventually } from '../kit/eventually.ts';
import { gate, WorkerWorld, type Commander } from '../kit/worker-kit.ts';

let world: WorkerWorld;
let bank: Commander;
beforeAll(async () => {
  world = await WorkerWorld.start();
});
afterAll(() => world.stop());
afterEach(() => bank.stop());

describe('a call', () => {
  it('carries the command in and the answer out, and the message is acknowledged', async () => {
    bank = await world.participant('2pc');
    const calls: Call[] = [];
    const note: Handler = (call) => {
      calls.push(call);
      return done({ held: 5 });
    };
    await bank.worker({ barrier: 'kv', actions: { charge: { prepare: note, commit: note } } });
    const prepare = bank.command('prepare', { input: { amount: 5 }, meta: { trace: 'a' } });
    const report = await bank.ask(prepare);
    const { tx, run } = prepare;
    const identity = { v: 1, tx, run, step: 'pay', phase: 'prepare', attempt: 1 };
    expect(report).toEqual({ ...identity, cause: prepare.cause, answer: 'done', output: { held: 5 } });
    expect(calls[0]).toMatchObject({ input: { amount: 5 }, meta: { trace: 'a' }, attempt: 1 });
    expect(calls[0]?.operationId).toBe(`2pc.${tx}.7.0.1000.pay`);
    await bank.ask(bank.command('commit', { tx }));
    expect(calls[1]).toMatchObject({ tx, phase: 'commit', output: { held: 5 } });
    expect(Math.abs((calls[1]?.serverTimeMs ?? 0) - Date.now())).toBeLessThan(2_000);
    await bank.allAcked('open');
    await bank.allAcked('close');
  });

  it.each<[string, Handler, object]>([
    ['nothing', () => undefined, { answer: 'done' }],
    ['a promise of nothing', async () => {}, { answer: 'done' }],
    ['read-only', () => readOnly(), { answer: 'read-only' }],
    [
      'refused',
      () => refused('no-funds', 'too poor'),
      { answer: 'refused', code: 'no-funds', message: 'too poor' },
    ],
    ['retry', () => retry('locked', { afterMs: 50 }), { answer: 'retry', code: 'locked', retryAfter: 50 }],
    ['heuristic', () => heuristic('committed'), { answer: 'heuristic', result: 'committed' }],
    [
      'a throw',
      () => {
        throw new TypeError('boom');
      },
      { answer: 'unknown', code: 'handler-error', message: 'TypeError: boom' },
    ],
    [
      'a rejection of null',
      async () => {
        throw null;
      },
      { answer: 'unknown', code: 'handler-error', message: 'null' },
    ],
    ['nonsense', () => ({ answer: 'maybe' }) as never, { answer: 'unknown', code: 'bad-answer' }],
    ['a number', () => 42 as never, { answer: 'unknown', code: 'bad-answer' }],
    [
      'a getter that throws',
      () =>
        ({
          get answer(): string {
            throw new Error('x');
          },
        }) as never,
      { answer: 'unknown', code: 'bad-answer' },
    ],
    ['an output beyond 2^53', () => done(2 ** 60), { answer: 'done', code: 'output-dropped' }],
    [
      'an output that is too large',
      () => done('x'.repeat(16_385)),
      { answer: 'done', code: 'output-dropped' },
    ],
  ])('reports %s', async (_name, execute, expected) => {
    bank = await world.participant('saga');
    await bank.worker({ barrier: 'none', actions: { charge: { execute } } });
    const report = await bank.ask(bank.command('execute'));
    expect(report).toMatchObject(expected);
    expect(report.mayHaveRun).toBeUndefined();
    await bank.allAcked('open');
  });

  it('cuts an endless message of a throw to what a report may carry', async () => {
    bank = await world.participant('saga');
    const execute: Handler = () => Promise.reject(new Error('y'.repeat(100_000)));
    await bank.worker({ barrier: 'kv', actions: { charge: { execute } } });
    expect((await bank.ask(bank.command('execute'))).message).toHaveLength(1_024);
  });

  it('that nobody here can serve is answered retry, so that another worker may', async () => {
    bank = await world.participant('saga');
    await bank.worker({ barrier: 'kv', patterns: ['saga'], actions: { charge: { execute: () => done() } } });
    const expected = { answer: 'retry', code: 'no-handler' };
    expect(await bank.ask(bank.command('execute', { action: 'toString' }))).toMatchObject(expected);
    expect(await bank.ask(bank.command('compensate', { ran: true }))).toMatchObject(expected);
    // What never ran needs no handler to be undone.
    expect(await bank.ask(bank.command('compensate'))).toMatchObject({ answer: 'done', code: 'empty' });
  });

  it('of one phase is made of prepare and commit where it has no handler of its own', async () => {
    bank = await world.participant('2pc');
    const ran: string[] = [];
    const prepare: Handler = ({ input }) => {
      ran.push('prepare');
      return input === 'no' ? refused('no') : done('held');
    };
    const commit: Handler = ({ input }) => {
      ran.push('commit');
      return input === 'later' ? retry('later') : undefined;
    };
    await bank.worker({ barrier: 'kv', actions: { charge: { prepare, commit } } });
    const ask = (input: string) => bank.ask(bank.command('commit-one-phase', { input }));
    expect(await ask('yes')).toMatchObject({ answer: 'done', output: 'held' });
    expect(await ask('no')).toMatchObject({ answer: 'refused', code: 'no' });
    expect(await ask('later')).toMatchObject({ answer: 'unknown', code: 'handler-error' });
    expect(ran).toEqual(['prepare', 'commit', 'prepare', 'prepare', 'commit']);
  });

  it('that hangs is reported when it is due, frees its slot, and its late answer is still told', async () => {
    bank = await world.participant('saga');
    const late = gate();
    let aborted = false;
    const execute: Handler = async ({ input, signal }) => {
      if (input !== 'hang') return done('quick');
      signal.addEventListener('abort', () => (aborted = true));
      await late.opened;
      return done('late');
    };
    await bank.worker({ barrier: 'kv', concurrency: { open: 1 }, actions: { charge: { execute } } });
    const hanging = bank.command('execute', { input: 'hang', due: Date.now() + 300 });
    expect(await bank.ask(hanging)).toMatchObject({ answer: 'unknown', code: 'timeout' });
    expect(aborted).toBe(true);
    expect(await bank.ask(bank.command('execute'))).toMatchObject({ output: 'quick' });
    late.open();
    expect(await bank.report(hanging, 2)).toMatchObject({ answer: 'done', output: 'late' });
  });

  it('has the limit of the worker where the command has none', async () => {
    bank = await world.participant('saga');
    const execute: Handler = () => new Promise(() => {});
    await bank.worker({ barrier: 'none', handlerTimeoutMs: 100, actions: { charge: { execute } } });
    expect(await bank.ask(bank.command('execute'))).toMatchObject({ answer: 'unknown', code: 'timeout' });
  });

  it('does not begin what came after it was due, or is older than half of what the barrier keeps', async () => {
    bank = await world.participant('saga');
    let calls = 0;
    const count: Handler = () => void (calls += 1);
    await bank.worker({ barrier: 'none', barrierKeepMs: 60_000, actions: { charge: { execute: count } } });
    const due = Date.now() - 5_000;
    expect(await bank.ask(bank.command('execute', { due }))).toMatchObject({
      answer: 'retry',
      code: 'expired',
    });
    const since = Date.now() - 31_000;
    expect(await bank.ask(bank.command('execute', { since }))).toMatchObject({ answer: 'stale' });
    expect(calls).toBe(0);
  });

  it('is answered also on core NATS where the command asks for it', async () => {
    bank = await world.participant('saga');
    await bank.worker({ barrier: 'none', actions: { charge: { execute: () => done(1) } } });
    const command = bank.command('execute', { reply: true, meta: { trace: 'b' } });
    const heard: string[] = [];
    const subject = subjects.response(command.tx, bank.participant, 'execute');
    world.main.world.bus.subscribe(subject, ({ data }) => heard.push(Buffer.from(data).toString()));
    const report = await bank.ask(command);
    await eventually(() => heard.length, { what: 'the response' });
    expect(JSON.parse(heard[0]!)).toEqual([{ ...report, pattern: 'saga', meta: { trace: 'b' } }]);
  });
});

describe('slots', () => {
  it('bound how many calls run at once, also of one message', async () => {
    bank = await world.participant('saga');
    let running = 0;
    let most = 0;
    const execute: Handler = async () => {
      most = Math.max(most, (running += 1));
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
    };
    await bank.worker({ barrier: 'none', concurrency: { open: 3 }, actions: { charge: { execute } } });
    const commands = Array.from({ length: 40 }, () => bank.command('execute'));
    await bank.send(...commands);
    await Promise.all(commands.map((command) => bank.report(command)));
    expect(most).toBe(3);
  });

  it('of closing phases are their own: a commit does not queue behind prepares', async () => {
    bank = await world.participant('2pc');
    const hold = gate();
    const prepare: Handler = () => hold.opened;
    const actions = { charge: { prepare, commit: () => done('committed') } };
    await bank.worker({ barrier: 'kv', concurrency: { open: 1 }, actions });
    const waiting = Array.from({ length: 5 }, () => bank.command('prepare'));
    for (const command of waiting) await bank.send(command);
    expect(await bank.ask(bank.command('commit'))).toMatchObject({ output: 'committed' });
    expect(bank.reportsOf(waiting[0]!)).toEqual([]);
    hold.open();
    await Promise.all(waiting.map((command) => bank.report(command)));
  });

  it('let a thousand calls share few messages', async () => {
    bank = await world.participant('saga');
    await bank.worker({ barrier: 'none', actions: { charge: { execute: () => done() } } });
    const commands = Array.from({ length: 1_000 }, () => bank.command('execute'));
    for (let from = 0; from < 1_000; from += 250) await bank.send(...commands.slice(from, from + 250));
    await eventually(() => bank.reports.length >= 1_000, { what: 'all reports' });
    expect(new Set(bank.reports.map(({ tx }) => tx)).size).toBe(1_000);
    expect(bank.reports).toHaveLength(1_000);
    expect(bank.reportMessages).toBeLessThan(100);
    await bank.allAcked('open');
  });
});

describe('dead letters', () => {
  const problems = async (phase: 'execute' | 'compensate', body: string): Promise<void> => {
    bank = await world.participant('saga');
    await bank.worker({
      barrier: 'none',
      actions: { charge: { execute: () => done() } },
      patterns: ['saga'],
    });
    await bank.sendRaw(phase, body);
    await eventually(() => bank.dead.length, { what: 'a dead letter' });
  };

  it.each(['not json', '{}', '[]', '\u0000', '[1'])('take a body that is none: %j', async (body) => {
    await problems('execute', body);
    const [letter] = bank.dead;
    expect(letter).toMatchObject({ subject: subjects.command('saga', bank.participant, 'execute') });
    expect(letter?.position).toMatch(/^\d+\.0$/);
    expect(Buffer.from(letter?.data ?? '', 'base64').toString()).toBe(body);
    await bank.allAcked('open');
  });

  it('take single envelopes, and leave their neighbours alone', async () => {
    bank = await world.participant('saga');
    await bank.worker({ barrier: 'none', actions: { charge: { execute: () => done() } } });
    const good = bank.command('execute');
    const bad = [
      { ...bank.command('execute'), v: 2 },
      { ...bank.command('execute'), surprise: 1 },
      bank.command('compensate'),
      null,
    ];
    await bank.sendRaw('execute', JSON.stringify([bad[0], good, bad[1], bad[2], bad[3]]));
    await bank.report(good);
    await eventually(() => bank.dead.length >= 4, { what: 'four dead letters' });
    const byIndex = [...bank.dead].sort((a, b) => a.position.localeCompare(b.position));
    expect(byIndex.map(({ position }) => position.split('.')[1])).toEqual(['0', '2', '3', '4']);
    expect(byIndex[2]?.problem).toBe('phase: says compensate, but was published for execute');
    expect(JSON.parse(Buffer.from(byIndex[1]!.data, 'base64').toString())).toEqual(bad[1]);
    expect(bank.reports).toHaveLength(1);
    await bank.allAcked('open');
  });
});

describe('options', () => {
  const charge = { execute: (): void => {} };
  const threePhase = { prepare: charge.execute, precommit: charge.execute, commit: charge.execute };
  it.each<[string, Partial<WorkerOptions>]>([
    ['participant', { participant: 'coordinator' }],
    ['actions.a b', { actions: { 'a b': charge } }],
    ['actions.charge', { actions: { charge: { exceute: charge.execute } as never } }],
    ['actions.charge.execute', { actions: { charge: { execute: 'now' } } as never }],
    ['actions', { actions: {} }],
    ['actions', { actions: undefined as never }],
    ['actions.a', { actions: { a: charge.execute } as never }],
    ['patterns', { patterns: ['2pc'] }],
    ['patterns', { actions: { charge: { compensate: charge.execute } } }],
    ['participant', { participant: undefined as never }],
    ['barrier', { barrier: undefined as never }],
    ['barrier', { barrier: 'none', patterns: ['3pc'], actions: { charge: threePhase } }],
    ['concurrency.open', { concurrency: { open: 0 } }],
    ['ackWaitMs', { ackWaitMs: Number.NaN }],
  ])('name the bad one: %s', async (name, wrong) => {
    bank = await world.participant('saga');
    const error: unknown = await bank
      .worker({ barrier: 'none', actions: { charge }, ...wrong } as never)
      .catch((thrown: unknown) => thrown);
    expect(PhasorError.is(error, 'CONFIG_INVALID')).toBe(true);
    expect((error as PhasorError).what).toMatch(new RegExp(`^${name} `));
    expect((error as PhasorError).details['field']).toBe(name);
  });

  it('must be there at all', async () => {
    const { world: there } = world.main;
    await expect(startWorker(there, undefined as never)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      details: { field: 'participant' },
    });
    bank = await world.participant('saga');
    const { worker } = await bank.worker({ barrier: 'none', actions: { charge } });
    await expect(worker.drain({ timeoutMs: 'soon' as never })).rejects.toMatchObject({
      details: { field: 'timeoutMs' },
    });
    await worker.drain({ timeoutMs: 1_000 });
  });

  it.each([
    [['prepare', 'commit', 'abort'], ['2pc']],
    [
      ['prepare', 'precommit', 'commit', 'abort'],
      ['2pc', '3pc'],
    ],
    [
      ['execute', 'compensate'],
      ['saga', 'eventual'],
    ],
    [
      ['prepare', 'commit', 'abort', 'execute', 'compensate'],
      ['2pc', 'saga', '2ps', 'eventual'],
    ],
    [
      ['reserve', 'validate', 'execute', 'release'],
      ['saga', '3ps', 'eventual'],
    ],
  ] as const)('default to the patterns that an action serves: %j', async (phases, patterns) => {
    bank = await world.participant('saga');
    const handler = (): void => {};
    const charge = Object.fromEntries(phases.map((phase) => [phase, handler]));
    const { worker } = await bank.worker({ barrier: 'kv', actions: { charge } });
    expect(worker.patterns).toEqual(patterns);
  });
});
