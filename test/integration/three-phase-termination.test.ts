// Goal: when its coordinator is silent a 3PC participant ends its steps on its own, durably, once, and the coordinator
// that comes back reads what happened; what comes too late meets the record.
// Method: real nats-server, real workers with barrier kv and a wait of one second; coordinators that go and come back.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { subjects, type Subject } from '../../src/kernel/subjects.ts';
import type { Log } from '../../src/ports/log.ts';
import { startCoordinator } from '../../src/runtime/coordinator.ts';
import { threePhaseCommit } from '../../src/runtime/client/index.ts';
import type { Action } from '../../src/runtime/worker-call.ts';
import { done } from '../../src/runtime/worker-answers.ts';
import { eventually } from '../kit/eventually.ts';
import { Rig } from '../kit/rig.ts';
import { gate, WorkerWorld, type Commander } from '../kit/worker-kit.ts';

const WAIT = { terminationTimeoutMs: 1_000, barrier: 'kv' as const };

describe('3PC, a coordinator that goes and comes back', () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start({ shards: 1 });
  });
  afterEach(() => rig.reset());
  afterAll(() => rig.stop());

  /** Precommit waits `precommitMs` for its answers. */
  const book = (precommitMs: number, ...participants: readonly string[]) => {
    let plan = threePhaseCommit('trip');
    for (const participant of participants)
      plan = plan.step(participant, { participant, action: 'book', input: { for: participant } });
    return plan.build({ deadlines: { prepare: { lower: 120_000 }, precommit: { lower: precommitMs } } });
  };

  async function serve(participant: string, calls: string[], more: Action = {}): Promise<void> {
    const record = ({ step, phase, input }: { step: string; phase: string; input: unknown }): void =>
      void calls.push(`${step} ${phase} ${JSON.stringify(input)}`);
    const book: Action = { prepare: record, precommit: record, commit: record, abort: record, ...more };
    await rig.worker({ participant, patterns: ['3pc'], actions: { book }, ...WAIT });
  }

  const reported = (participant: string, answer: string): Promise<unknown> =>
    eventually(
      async () => {
        const filter = subjects.input('3pc', participant, 'report', 0);
        return (await rig.envelopes('3pc', filter)).some((report) => report['answer'] === answer);
      },
      { what: `${answer} of ${participant}` },
    );

  it('commits in three phases when its coordinator speaks', async () => {
    const calls: string[] = [];
    await serve('ferry', calls);
    await rig.coordinator();
    const client = await rig.client();
    expect(await client.run(book(5_000, 'ferry'), { timeoutMs: 10_000 })).toMatchObject({
      status: 'committed',
    });
    expect(calls.map((call) => call.split(' ')[1])).toEqual(['prepare', 'precommit', 'commit']);
  });

  it('aborts on its own while a vote is missing, and the coordinator ends aborted', async () => {
    const calls: string[] = [];
    await serve('hotel', calls);
    const coordinator = await rig.coordinator();
    const client = await rig.client();
    const handle = await client.begin(book(5_000, 'hotel', 'nobody'));
    await reported('hotel', 'done');
    await coordinator.close();
    await reported('hotel', 'terminated');
    expect(calls).toEqual(['hotel prepare {"for":"hotel"}', 'hotel abort {"for":"hotel"}']);
    await rig.coordinator();
    await serve('nobody', calls);
    expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({
      status: 'aborted',
      code: 'terminated',
      step: 'hotel',
    });
    expect(calls.filter((call) => call.startsWith('hotel'))).toHaveLength(2);
  });

  it('aborts on its own although all votes are in the log unread: a contradiction, told', async () => {
    const calls: string[] = [];
    const held = gate();
    await serve('car', calls);
    await serve('train', calls, { prepare: () => held.opened });
    const coordinator = await rig.coordinator();
    const client = await rig.client();
    const handle = await client.begin(book(500, 'car', 'train'));
    await eventually(() => calls.length === 1, { what: 'the first vote' });
    await coordinator.close();
    held.open();
    await eventually(() => calls.filter((call) => call.includes('abort')).length === 2, { what: 'aborts' });
    await rig.coordinator();
    expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({
      status: 'mixed',
      code: 'terminated',
      attention: true,
    });
    expect(calls.some((call) => call.includes('commit'))).toBe(false);
  });

  it('commits on its own once precommitted, and the coordinator ends committed', async () => {
    const calls: string[] = [];
    const held = gate();
    await serve('boat', calls);
    await serve('plane', calls, { precommit: () => held.opened });
    const coordinator = await rig.coordinator();
    const client = await rig.client();
    const handle = await client.begin(book(120_000, 'boat', 'plane'));
    await eventually(() => calls.some((call) => call.startsWith('boat precommit')), { what: 'precommit' });
    await coordinator.close();
    held.open();
    await eventually(() => calls.filter((call) => /(boat|plane) commit/.test(call)).length === 2, {
      what: 'commits',
    });
    await rig.coordinator();
    expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({ status: 'committed' });
    expect(calls.filter((call) => call.includes(' commit'))).toHaveLength(2);
  });

  it('splits when precommit reaches one only and the rest comes after the wait: told as mixed', async () => {
    const calls: string[] = [];
    await serve('first', calls);
    await serve('second', calls);
    const { world } = await rig.world();
    const late = gate();
    const held: readonly Subject[] = (['precommit', 'commit'] as const).map((phase) =>
      subjects.command('3pc', 'second', phase),
    );
    const { log } = world;
    const paused: Log = {
      append: async (subject, data, options) => {
        if (held.includes(subject)) await late.opened;
        return log.append(subject, data, options);
      },
      read: (options) => log.read(options),
      get: (stream, seq) => log.get(stream, seq),
      state: (stream) => log.state(stream),
      subjects: (stream, filter) => log.subjects(stream, filter),
    };
    const coordinator = await startCoordinator({ ...world, log: paused });
    try {
      const client = await rig.client();
      const handle = await client.begin(book(4_000, 'first', 'second'));
      await eventually(() => ['first commit', 'second abort'].every((one) => told(calls, one)), {
        what: 'both own ends',
      });
      late.open();
      expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({
        status: 'mixed',
        code: 'terminated',
        step: 'second',
        attention: true,
      });
      expect(told(calls, 'second precommit')).toBe(false);
    } finally {
      late.open();
      await coordinator.close();
    }
  });
});

const told = (calls: readonly string[], start: string): boolean =>
  calls.some((call) => call.startsWith(`${start} `));

describe('3PC, what comes after an own end', () => {
  let world: WorkerWorld;
  let commander: Commander;
  beforeAll(async () => {
    world = await WorkerWorld.start();
  });
  afterEach(() => commander.stop());
  afterAll(() => world.stop());

  const serve = (calls: string[], more: Action = {}) => {
    const record = ({ phase }: { phase: string }): void => void calls.push(phase);
    const charge: Action = { prepare: record, precommit: record, commit: record, abort: record, ...more };
    return commander.worker({ actions: { charge }, ...WAIT });
  };
  const ownEnd = () =>
    eventually(() => commander.reports.find(({ answer }) => answer === 'terminated'), { what: 'an own end' });

  it('from prepared: abort is done, precommit and commit are conflicts, prepare is late', async () => {
    commander = await world.participant('3pc');
    const calls: string[] = [];
    await serve(calls, { prepare: () => done({ hold: 7 }) });
    const prepare = commander.command('prepare', { input: { n: 1 }, cause: { at: '9.3', time: 5 } });
    const same = { tx: prepare.tx };
    expect((await commander.ask(prepare)).answer).toBe('done');
    expect(await ownEnd()).toMatchObject({
      phase: 'prepare',
      attempt: 1,
      result: 'aborted',
      cause: { at: '9.3', time: 5 },
    });
    expect(await commander.ask(commander.command('precommit', same))).toMatchObject({ answer: 'conflict' });
    expect(await commander.ask(commander.command('commit', same))).toMatchObject({ answer: 'conflict' });
    const abort = commander.command('abort', { ...same, ran: true });
    expect(await commander.ask(abort)).toMatchObject({ answer: 'done', code: 'terminated' });
    const again = commander.command('prepare', { ...same, attempt: 2 });
    expect(await commander.ask(again)).toMatchObject({ answer: 'refused', code: 'late' });
    expect(calls).toEqual(['abort']);
  });

  it('from precommitted: commit is done, abort is a conflict', async () => {
    commander = await world.participant('3pc');
    const calls: string[] = [];
    await serve(calls);
    const prepare = commander.command('prepare');
    const same = { tx: prepare.tx };
    await commander.ask(prepare);
    await commander.ask(commander.command('precommit', same));
    expect(await ownEnd()).toMatchObject({ phase: 'precommit', attempt: 1, result: 'committed' });
    expect(await commander.ask(commander.command('commit', same))).toMatchObject({
      answer: 'done',
      code: 'terminated',
    });
    const abort = commander.command('abort', { ...same, ran: true });
    expect(await commander.ask(abort)).toMatchObject({ answer: 'conflict' });
    expect(calls).toEqual(['prepare', 'precommit', 'commit']);
  });

  it('a fellow ends what a dead worker voted for, once', async () => {
    commander = await world.participant('3pc');
    const first: string[] = [];
    const second: string[] = [];
    const dead = await serve(first);
    const prepare = commander.command('prepare');
    expect((await commander.ask(prepare)).answer).toBe('done');
    await commander.allAcked('open');
    await dead.world.close();
    await serve(second);
    await serve(second);
    expect(await ownEnd()).toMatchObject({ tx: prepare.tx, result: 'aborted' });
    await commander.ask(commander.command('abort', { tx: prepare.tx, ran: true }));
    expect([first, second]).toEqual([['prepare'], ['abort']]);
  });

  it('waits until everything sent to it was taken in', async () => {
    commander = await world.participant('3pc');
    const held = gate();
    const calls: string[] = [];
    await serve(calls, { prepare: ({ step }) => (step === 'slow' ? held.opened : undefined) });
    const slow = commander.command('prepare', { step: 'slow' });
    await commander.send(slow);
    const waiting = commander.command('prepare');
    await commander.ask(waiting);
    // Four looks and more: an own end of what is older would have come before that of a step begun now.
    const commits = commander.command('commit', { tx: waiting.tx });
    const { keyValue } = world.main.world;
    const bucket = await keyValue.bucket(`DTX_BARRIER_${commander.participant}`);
    const key = `3pc.${waiting.tx}.${waiting.run}.${waiting.step}`;
    const writtenMs = (await bucket.get(key))?.timeMs ?? 0;
    await eventually(
      async () => (await world.main.world.log.state('DTX_3PC_STREAM')).nowMs - writtenMs > 3_000,
      { what: 'three times the wait', timeoutMs: 10_000 },
    );
    expect(calls).toEqual([]);
    expect(await commander.ask(commits)).toMatchObject({ answer: 'done' });
    held.open();
    await commander.report(slow);
    expect(commander.reports.filter(({ answer }) => answer === 'terminated')).toEqual([]);
  });
});

describe('3PC, configuration', () => {
  it('refuses barrier none, and waits out of bounds', async () => {
    const world = await WorkerWorld.start();
    const actions = { go: { prepare: () => done(), precommit: () => done(), commit: () => done() } };
    const commander = await world.participant('3pc');
    await expect(commander.worker({ actions, barrier: 'none' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    await expect(
      commander.worker({ actions, barrier: 'kv', terminationTimeoutMs: 999 }),
    ).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    await commander.stop();
    await world.stop();
  });
});
