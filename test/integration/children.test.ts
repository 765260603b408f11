// Goal: a transaction as a step of another, on a real nats-server: begun once, reported for every begin, undone by another.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { subjects } from '../../src/kernel/subjects.ts';
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import { saga, twoPhaseCommit, twoPhaseSaga } from '../../src/runtime/client/index.ts';
import { replayLog } from '../../src/runtime/audit.ts';
import { startCoordinator } from '../../src/runtime/coordinator.ts';
import type { StoryEvent } from '../../src/runtime/story.ts';
import { done, refused } from '../../src/runtime/worker-answers.ts';
import type { Action } from '../../src/runtime/worker-call.ts';
import { eventually } from '../kit/eventually.ts';
import { Rig } from '../kit/rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ shards: 2 });
});
afterEach(() => rig.reset());
afterAll(() => rig.stop());

const PATTERNS: readonly Pattern[] = ['2pc', 'saga'];

const transfer = (from: string, to: string, amount: number) =>
  twoPhaseCommit('transfer')
    .step('from', { participant: from, action: 'move', input: { amount: -amount } })
    .step('to', { participant: to, action: 'move', input: { amount } })
    .build();

/** Two accounts that may not be overdrawn, moved by a 2PC. */
async function bank(more: { onPrepare?: () => Promise<void>; onCommit?: () => Promise<void> } = {}) {
  const accounts: Record<string, number> = { alice: 100, bob: 0 };
  const log: string[] = [];
  const account = (name: string): Action => ({
    prepare: async ({ tx, step, input }) => {
      log.push(`prepare ${step} ${tx}`);
      await more.onPrepare?.();
      const { amount } = input as { amount: number };
      return (accounts[name] ?? 0) + amount < 0 ? refused('broke') : done();
    },
    commit: async ({ tx, step }) => {
      await more.onCommit?.();
      log.push(`commit ${step} ${tx}`);
    },
    abort: ({ tx, step }) => {
      log.push(`abort ${step} ${tx}`);
    },
  });
  for (const name of ['alice', 'bob'])
    await rig.worker({ participant: name, actions: { move: account(name) } });
  return { log };
}

async function shop(more: Action = {}): Promise<string[]> {
  const calls: string[] = [];
  const action: Action = {
    execute: ({ step }) => {
      calls.push(`execute ${step}`);
    },
    compensate: ({ step }) => {
      calls.push(`compensate ${step}`);
    },
    ...more,
  };
  await rig.worker({ participant: 'stock', actions: { go: action } });
  return calls;
}

const order = (amount: number, retry: object = {}) =>
  saga('order')
    .step('reserve', { participant: 'stock', action: 'go' })
    .child('pay', { child: transfer('alice', 'bob', amount), undo: transfer('bob', 'alice', 0), ...retry })
    .step('ship', { participant: 'stock', action: 'go', input: { paid: { $from: 'pay/status' } } })
    .build();

const notesOf = async (tx: string) =>
  (await rig.envelopes('2pc', subjects.allInputs('2pc'))).filter((envelope) => envelope['tx'] === tx);
const begins = async (parentTx: string, phase = 'execute') =>
  (await rig.envelopes('2pc', subjects.allInputs('2pc'))).filter(({ subject, parent }) => {
    const named = parent as { tx: string; phase: string } | undefined;
    return subject.startsWith('2pc.coordinator.begin.') && named?.tx === parentTx && named.phase === phase;
  });
const reports = async (tx: string) =>
  (await rig.envelopes('saga', subjects.allInputs('saga'))).filter(
    (envelope) => envelope.subject.startsWith('saga.coordinator.report.') && envelope['tx'] === tx,
  );

describe('a saga step that is a 2PC', () => {
  it('commits: the step is done, with the name and outcome of the child as its output', async () => {
    const { log } = await bank();
    const inputs: unknown[] = [];
    await shop({ execute: ({ step, input }) => (step === 'ship' ? void inputs.push(input) : undefined) });
    await rig.coordinator({ patterns: PATTERNS });
    const client = await rig.client();
    const outcome = await client.run(order(40), { timeoutMs: 15_000 });
    expect(outcome.status).toBe('completed');
    expect(inputs).toEqual([{ paid: 'committed' }]);
    const [begin] = await begins(outcome.tx);
    const child = String(begin?.['tx']);
    expect(begin).toMatchObject({
      id: 'own',
      shards: 2,
      parent: { pattern: 'saga', step: 'pay', attempt: 1 },
    });
    const ends = log.filter((line) => !line.startsWith('prepare'));
    expect(ends.sort()).toEqual([`commit from ${child}`, `commit to ${child}`]);
    expect(outcome.outputs).toMatchObject({ pay: { pattern: '2pc', tx: child, status: 'committed' } });
    const told: StoryEvent[] = [];
    await replayLog((await rig.world()).world, {
      pattern: 'saga',
      txs: [outcome.tx],
      onStory: ({ events }) => told.push(...events),
    });
    const begun = told.find(({ what, step }) => what === 'command' && step === 'pay');
    expect(begun).toMatchObject({ who: 'coordinator', detail: `begins 2pc ${child}` });
    expect(begun).not.toHaveProperty('participant');
  });

  it('aborts: the saga compensates what came before, with the reason of the child', async () => {
    await bank();
    const calls = await shop();
    await rig.coordinator({ patterns: PATTERNS });
    const client = await rig.client();
    const outcome = await client.run(order(1_000), { timeoutMs: 15_000 });
    expect(outcome).toMatchObject({ status: 'compensated', code: 'broke', step: 'pay' });
    expect(calls).toEqual(['execute reserve', 'compensate reserve']);
    expect(await begins(outcome.tx, 'compensate'), 'known not to have run: nothing to undo').toEqual([]);
  });

  it('is undone by another child when a later step fails', async () => {
    const { log } = await bank();
    const calls = await shop({
      execute: ({ step }) => (step === 'ship' ? refused('no-truck') : undefined),
    });
    await rig.coordinator({ patterns: PATTERNS });
    const client = await rig.client();
    const outcome = await client.run(order(40), { timeoutMs: 15_000 });
    expect(outcome).toMatchObject({ status: 'compensated', code: 'no-truck', step: 'ship' });
    const [pay] = await begins(outcome.tx);
    const [undo] = await begins(outcome.tx, 'compensate');
    expect(undo?.['tx']).not.toBe(pay?.['tx']);
    const committed = (begin: Record<string, unknown> | undefined) =>
      log.filter((line) => line.startsWith('commit') && line.endsWith(String(begin?.['tx'])));
    expect([committed(pay).length, committed(undo).length]).toEqual([2, 2]);
    expect(calls.at(-1)).toBe('compensate reserve');
  });

  it('begun again by every attempt: one run, and a report for each begin', async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const { log } = await bank({ onPrepare: () => gate });
    await shop();
    await rig.coordinator({ patterns: PATTERNS });
    const client = await rig.client();
    const retry = { retry: { attempt: 200, initial: 50, max: 50, maxAttempts: 500 } };
    const handle = await client.begin(order(40, retry));
    await eventually(async () => (await begins(handle.tx)).length >= 3, { what: 'three begins' });
    release();
    expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({ status: 'completed' });
    const begun = await begins(handle.tx);
    const [child, ...others] = new Set(begun.map(({ tx }) => String(tx)));
    expect(others).toEqual([]);
    expect(log.filter((line) => line === `commit from ${child}`)).toHaveLength(1);
    const told = await eventually(
      async () => {
        const attempts = (await reports(handle.tx)).map(({ attempt }) => attempt);
        return begun.every(({ parent }) => attempts.includes((parent as { attempt: number }).attempt));
      },
      { what: 'a report for each begin' },
    );
    expect(told).toBe(true);
    const verdicts = (await notesOf(String(child))).filter(({ kind }) => kind === 'verdict');
    expect(verdicts.filter(({ value }) => value === 'admit')).toHaveLength(1);
    expect(verdicts.filter(({ value }) => value === 'duplicate')).toHaveLength(begun.length - 1);
  });

  it('begun again after its end: judged by its key, and reported again', async () => {
    await bank();
    await shop();
    await rig.coordinator({ patterns: PATTERNS });
    const client = await rig.client();
    const { tx } = await client.run(order(40), { timeoutMs: 15_000 });
    const [begin] = await begins(tx);
    const { subject, ...envelope } = begin ?? { subject: '' };
    const { world } = await rig.world();
    const parent = { ...(envelope['parent'] as object), attempt: 7 };
    await world.log.append(subject as never, Buffer.from(JSON.stringify([{ ...envelope, parent }])));
    const again = await eventually(async () => (await reports(tx)).find(({ attempt }) => attempt === 7), {
      what: 'the report of the duplicate',
    });
    expect(again).toMatchObject({ answer: 'done', output: { tx: envelope['tx'], status: 'committed' } });
    const other = { ...envelope, parent: { ...parent, attempt: 8 }, plan: transfer('alice', 'bob', 1).plan };
    await world.log.append(subject as never, Buffer.from(JSON.stringify([other])));
    const mismatch = await eventually(async () => (await reports(tx)).find(({ attempt }) => attempt === 8), {
      what: 'the report of the mismatch',
    });
    expect(mismatch).toMatchObject({ answer: 'refused', code: 'plan-differs' });
    const stale = { ...envelope, parent: { ...parent, attempt: 9, since: 1_000 } };
    await world.log.append(subject as never, Buffer.from(JSON.stringify([stale])));
    const refusal = await eventually(async () => (await reports(tx)).find(({ attempt }) => attempt === 9), {
      what: 'the report of the stale begin',
    });
    expect(refusal).toMatchObject({ answer: 'stale', code: 'stale' });
  });

  it('ends for its parent also when its coordinator dies between the end and the report', async () => {
    await bank();
    await shop();
    const { world, connection } = await rig.world();
    let died = false;
    const doomed = await startCoordinator(
      {
        ...world,
        passing: (point) => {
          if (point !== 'c18') return;
          died = true;
          void connection.nc.close();
        },
      },
      { patterns: ['2pc'] },
    );
    await doomed.ready;
    // The parent's lives on, and its attempts are long: only the replay of the child's log can report in time.
    await rig.coordinator({ patterns: ['saga'] });
    const client = await rig.client();
    const handle = await client.begin(order(40, { retry: { attempt: 120_000 } }));
    await eventually(() => died, { what: 'the crash' });
    expect(await reports(handle.tx)).toEqual([]);
    void doomed.close();
    await rig.coordinator({ patterns: ['2pc'] });
    expect(await handle.outcome({ timeoutMs: 20_000 })).toMatchObject({ status: 'completed' });
    expect(await begins(handle.tx)).toHaveLength(1);
  });
});

/** Whether the step fails before its child has ended: one short attempt. */
const HASTY = { retry: { maxAttempts: 1, attempt: 300 } };

function latch(): { readonly promise: Promise<void>; readonly open: () => void } {
  let open: () => void = () => undefined;
  const promise = new Promise<void>((resolve) => (open = resolve));
  return { promise, open };
}

describe('the undo of a child that is not known to have run', () => {
  it('that is open: it is cancelled, and what has been aborted needs no undo', async () => {
    const gate = latch();
    const { log } = await bank({ onPrepare: () => gate.promise });
    const calls = await shop();
    await rig.coordinator({ patterns: PATTERNS });
    const client = await rig.client();
    const handle = await client.begin(order(40, HASTY));
    const [begin] = await eventually(
      async () => {
        const found = await begins(handle.tx);
        return found.length > 0 && found;
      },
      { what: 'the child' },
    );
    const child = String(begin?.['tx']);
    await eventually(async () => (await notesOf(child)).some(({ subject }) => subject.includes('.cancel.')), {
      what: 'the cancel',
    });
    gate.open();
    expect(await handle.outcome({ timeoutMs: 20_000 })).toMatchObject({
      status: 'compensated',
      code: 'deadline',
      step: 'pay',
    });
    expect(await begins(handle.tx, 'compensate')).toEqual([]);
    expect(log.filter((line) => line.startsWith('commit'))).toEqual([]);
    expect(calls.at(-1)).toBe('compensate reserve');
  });

  it('that is past its point of no return: it is waited for, and undone once it has ended', async () => {
    const gate = latch();
    const { log } = await bank({ onCommit: () => gate.promise });
    await shop();
    await rig.coordinator({ patterns: PATTERNS });
    const client = await rig.client();
    const handle = await client.begin(order(40, HASTY));
    const isCancelled = async () => {
      const [begin] = await begins(handle.tx);
      const notes = begin === undefined ? [] : await notesOf(String(begin['tx']));
      return notes.some(({ subject }) => subject.includes('.coordinator.cancel.'));
    };
    await eventually(isCancelled, { what: 'the cancel' });
    expect(await begins(handle.tx, 'compensate'), 'nothing is undone before its end').toEqual([]);
    gate.open();
    expect(await handle.outcome({ timeoutMs: 20_000 })).toMatchObject({ status: 'compensated' });
    const [pay] = await begins(handle.tx);
    const [undo] = await begins(handle.tx, 'compensate');
    const first = (begin: Record<string, unknown> | undefined, what: string) =>
      log.findIndex((line) => line.startsWith(what) && line.endsWith(String(begin?.['tx'])));
    expect(first(pay, 'commit')).toBeGreaterThanOrEqual(0);
    expect(first(undo, 'prepare')).toBeGreaterThan(first(pay, 'commit'));
    expect(first(undo, 'commit')).toBeGreaterThan(first(undo, 'prepare'));
  });

  it('that nobody has judged yet: it can never begin, however late its coordinator comes', async () => {
    const { log } = await bank();
    await shop();
    await rig.coordinator({ patterns: ['saga'] });
    const client = await rig.client();
    const outcome = await client.run(order(40, HASTY), { timeoutMs: 20_000 });
    expect(outcome).toMatchObject({ status: 'compensated', code: 'deadline', step: 'pay' });
    const [begin] = await begins(outcome.tx);
    expect(begin).toBeDefined();
    await rig.coordinator({ patterns: ['2pc'] });
    const verdict = await eventually(
      async () => (await notesOf(String(begin?.['tx']))).find(({ kind }) => kind === 'verdict'),
      { what: 'the verdict' },
    );
    expect(verdict).toMatchObject({ value: 'mismatch', of: '0.0.0' });
    expect(log).toEqual([]);
    expect(await begins(outcome.tx, 'compensate')).toEqual([]);
  });
});

describe('1.5PS', () => {
  const confirmed = () =>
    twoPhaseSaga('order')
      .step('pay', { participant: 'payment', action: 'charge' })
      .eventually('mail', { participant: 'mailer', action: 'send', input: { to: 'you' } })
      .build();
  const serve = async (execute: () => ReturnType<typeof done>, mail: () => Promise<void>) => {
    const charge: Action = { prepare: () => done(), execute, cancel: () => done(), compensate: () => done() };
    await rig.worker({ participant: 'payment', actions: { charge }, patterns: ['2ps'] });
    const send: Action = { execute: mail };
    await rig.worker({ participant: 'mailer', actions: { send }, patterns: ['eventual'] });
    await rig.coordinator({ patterns: ['2ps', 'eventual'] });
    return rig.client();
  };

  it('tells the caller once the critical steps are done; the others follow as a 0.5PS, and end the run', async () => {
    const gate = latch();
    const client = await serve(
      () => done({ paid: true }),
      () => gate.promise,
    );
    const outcome = await client.run(confirmed(), { timeoutMs: 15_000 });
    expect(outcome).toMatchObject({
      status: 'completed',
      scope: 'critical',
      outputs: { pay: { paid: true } },
    });
    const isOpen = async () => (await client.describe('2ps', outcome.tx)).open;
    expect(await isOpen()).toBe(true);
    const [begin, ...others] = (await rig.envelopes('eventual', subjects.allInputs('eventual'))).filter(
      ({ parent }) => (parent as { tx: string } | undefined)?.tx === outcome.tx,
    );
    expect(others).toEqual([]);
    expect(begin).toMatchObject({
      parent: { pattern: '2ps', step: 'eventual', phase: 'execute', attempt: 1 },
      plan: { steps: [{ step: 'mail', participant: 'mailer', input: { to: 'you' } }] },
    });
    gate.open();
    await eventually(async () => !(await isOpen()), { what: 'the end of the run' });
    const reported = (await rig.envelopes('2ps', subjects.allInputs('2ps'))).filter(
      ({ subject, tx }) => subject.startsWith('2ps.coordinator.report.') && tx === outcome.tx,
    );
    expect(reported).toMatchObject([{ step: 'eventual', answer: 'done', output: { tx: begin?.['tx'] } }]);
  });

  it('begins nothing when a critical step fails', async () => {
    let mails = 0;
    const client = await serve(
      () => refused('no-money'),
      async () => void (mails += 1),
    );
    const outcome = await client.run(confirmed(), { timeoutMs: 15_000 });
    expect(outcome).toMatchObject({ status: 'compensated', code: 'no-money' });
    const begun = (await rig.envelopes('eventual', subjects.allInputs('eventual'))).filter(
      ({ parent }) => (parent as { tx: string } | undefined)?.tx === outcome.tx,
    );
    expect([begun, mails]).toEqual([[], 0]);
  });
});
