// Goal: own ids are judged right, and a client finds, follows, signals and cancels runs.
// Method: a real nats-server, and a coordinator played by hand.
import { describe, expect, it } from 'vitest';
import { ulidTimeMs } from '../../src/kernel/ids.ts';
import { subjects } from '../../src/kernel/subjects.ts';
import { twoPhaseCommit } from '../../src/runtime/client/index.ts';
import { planDigest } from '../../src/runtime/outcome-keys.ts';
import { clientRig, code, transfer } from '../kit/client-rig.ts';
import { eventually } from '../kit/eventually.ts';

const rig = clientRig();
const other = twoPhaseCommit('other').step('debit', { participant: 'hdfc', action: 'debit' }).build();

describe('own ids', () => {
  it('are told the first run again, and say so', async () => {
    const client = await rig.using();
    const tx = rig.ownId();
    const first = await client.begin({ ...transfer, tx });
    const second = await client.begin({ ...transfer, tx });
    expect(second.begunAt).not.toBe(first.begunAt);
    const begin = await rig.coordinator.begun(tx);
    const outcome = rig.coordinator.outcome(begin);
    const digest = planDigest(transfer.plan);
    rig.coordinator.known.set(tx, rig.coordinator.found(begin, { outcome, digest }));
    rig.coordinator.tell(outcome);
    expect(await first.outcome()).toEqual(outcome);
    rig.coordinator.tell({ ...outcome, duplicate: true });
    expect(await second.outcome({ timeoutMs: 5_000 })).toEqual({ ...outcome, duplicate: true });
    expect([first.duplicate, second.duplicate]).toEqual([false, true]);
  });

  it('with another plan are a mismatch, also when the first outcome is told to somebody else', async () => {
    const client = await rig.using();
    const tx = rig.ownId();
    const first = await client.begin({ ...transfer, tx });
    const second = await client.begin({ ...other, tx });
    const begin = await rig.coordinator.begun(tx);
    const outcome = rig.coordinator.outcome(begin);
    const until = Date.now() + 86_400_000;
    rig.coordinator.known.set(
      tx,
      rig.coordinator.found(begin, { outcome, digest: planDigest(transfer.plan), until, open: false }),
    );
    rig.coordinator.tell({ ...outcome, duplicate: true });
    expect(await second.outcome({ timeoutMs: 5_000 })).toMatchObject({
      status: 'mismatch',
      run: begin.run,
      at: second.begunAt,
    });
    expect((await first.outcome()).status).toBe('committed');
  });

  it('do not take the outcome of a run whose window has passed', async () => {
    const client = await rig.using();
    const tx = rig.ownId();
    const old = await client.begin({ ...transfer, tx });
    const begin = await rig.coordinator.begun(tx);
    rig.coordinator.tell(rig.coordinator.outcome(begin));
    await old.outcome();
    const fields = {
      outcome: rig.coordinator.outcome(begin),
      digest: planDigest(transfer.plan),
      open: false,
    };
    rig.coordinator.known.set(tx, rig.coordinator.found(begin, { ...fields, until: Date.now() - 1 }));
    const again = await client.begin({ ...transfer, tx });
    await expect(again.outcome({ timeoutMs: 2_500 })).rejects.toThrow(code('OUTCOME_TIMEOUT'));
    expect(rig.coordinator.questions.filter(({ txs }) => txs.includes(tx)).length).toBeGreaterThan(0);
    const second = rig.coordinator.begins.filter(({ envelope }) => envelope.tx === tx)[1];
    if (second === undefined) throw new Error('no second begin');
    rig.coordinator.tell(rig.coordinator.outcome(second, { status: 'aborted' }));
    expect((await again.outcome()).status).toBe('aborted');
  });
});

describe('describe, cancel, signal, watch', () => {
  it('describes the latest run, and says when there is none', async () => {
    const client = await rig.using();
    const { tx } = await client.begin(transfer);
    await expect(client.describe('2pc', tx)).rejects.toThrow(code('TX_NOT_FOUND'));
    const found = rig.coordinator.found(await rig.coordinator.begun(tx));
    rig.coordinator.known.set(tx, found);
    expect(await client.describe('2pc', tx)).toEqual(found);
    await expect(client.describe('2pc', '>')).rejects.toThrow(code('ID_INVALID'));
  });

  it('cancels and signals the run that is there, without headers, once the coordinator knows it', async () => {
    const client = await rig.using();
    const { tx } = await client.begin(transfer);
    const begin = await rig.coordinator.begun(tx);
    const cancelling = client.cancel('2pc', tx, 'changed my mind');
    rig.coordinator.known.set(tx, rig.coordinator.found(begin));
    const { run, at } = await cancelling;
    const signalled = await client.signal('2pc', tx, { name: 'go', verdict: 'approve', data: { n: 1 } });
    const seen = await eventually(
      () => rig.coordinator.others.length >= 2 && rig.coordinator.others.slice(-2),
      {
        what: 'both inputs',
      },
    );
    expect(run).toBe(begin.run);
    expect(seen.map(({ envelope }) => envelope)).toEqual([
      { v: 1, tx, run, reason: 'changed my mind' },
      { v: 1, tx, run, name: 'go', verdict: 'approve', data: { n: 1 } },
    ]);
    expect(seen.map((input) => input.at)).toEqual([at, signalled.at]);
    expect(seen.map(({ message }) => [message.subject.split('.')[2], message.headers])).toEqual([
      ['cancel', undefined],
      ['signal', undefined],
    ]);
  });

  it('sends nothing to a run that has ended, and nothing malformed', async () => {
    const client = await rig.using();
    const { tx } = await client.begin(transfer);
    const begin = await rig.coordinator.begun(tx);
    rig.coordinator.known.set(
      tx,
      rig.coordinator.found(begin, { open: false, outcome: rig.coordinator.outcome(begin) }),
    );
    expect(await client.cancel('2pc', tx, 'late')).toEqual({ run: begin.run, at: undefined });
    await expect(client.cancel('2pc', tx, '')).rejects.toThrow(code('ENVELOPE_INVALID'));
    await expect(client.signal('2pc', tx, { name: 'a b' })).rejects.toThrow(code('ENVELOPE_INVALID'));
  });

  it('watches reports and the outcome, from before the begin', async () => {
    const client = await rig.using();
    const tx = rig.ownId();
    const events = client.watch('2pc', tx);
    await client.begin({ ...transfer, tx, reply: ['outcome', 'phases'] });
    const begin = await rig.coordinator.begun(tx);
    const report = {
      ...{ v: 1, tx, run: begin.run, pattern: '2pc', step: 'debit', phase: 'prepare', attempt: 1 },
      ...{ cause: { at: begin.at, time: begin.message.timeMs }, answer: 'done' },
    };
    const subject = subjects.response(tx, 'hdfc', 'prepare');
    const foreign = { ...report, pattern: 'saga' };
    rig.far.world.bus.publish(subject, new TextEncoder().encode(JSON.stringify([foreign, report])));
    const early = rig.coordinator.outcome(begin, { attention: true });
    rig.coordinator.tell(early);
    expect((await events.next()).value).toEqual({ type: 'reported', participant: 'hdfc', report });
    expect((await events.next()).value).toEqual({ type: 'told', outcome: early });
    const last = rig.coordinator.outcome(begin, { status: 'resolved', at: '999.0' });
    rig.coordinator.tell(last);
    const rest: unknown[] = [];
    for await (const event of events) rest.push(event);
    expect(rest).toEqual([{ type: 'ended', outcome: last }]);
  });

  it('ends a watch on a transaction that has long ended, and one that nobody reads', async () => {
    const client = await rig.using({ subscriptionTtlMs: 100 });
    const { tx } = await client.begin(transfer);
    const begin = await rig.coordinator.begun(tx);
    const unread = client.watch('2pc', 'nobody-begins-this');
    const outcome = rig.coordinator.outcome(begin);
    rig.coordinator.known.set(tx, rig.coordinator.found(begin, { open: false, outcome }));
    const events: unknown[] = [];
    for await (const event of client.watch('2pc', tx)) events.push(event);
    expect(events).toEqual([{ type: 'ended', outcome }]);
    await eventually(async () => (await unread.next()).done, { what: 'the end of the unread watch' });
  });
});

describe('a clock that is wrong', () => {
  it('is corrected by a refusal, and run begins once more', async () => {
    const ahead = { ...rig.near.world.clock, wallMs: () => Date.now() + 3_600_000 };
    const { monotonicMs, after } = rig.near.world.clock;
    const clock = {
      ...ahead,
      monotonicMs: monotonicMs.bind(rig.near.world.clock),
      after: after.bind(rig.near.world.clock),
    };
    const client = await rig.using({}, { ...rig.near.world, clock });
    const txs: string[] = [];
    rig.coordinator.onBegin = (begin) => {
      txs.push(begin.envelope.tx);
      const skewed = Math.abs((ulidTimeMs(begin.envelope.tx) ?? 0) - begin.message.timeMs) > 60_000;
      const refusal = { status: 'refused', code: 'clock-skew' } as const;
      rig.coordinator.tell(rig.coordinator.outcome(begin, skewed ? refusal : {}));
    };
    expect((await client.run(transfer, { timeoutMs: 5_000 })).status).toBe('committed');
    expect(txs).toHaveLength(2);
    expect((await client.run(transfer, { timeoutMs: 5_000 })).status).toBe('committed');
    expect(txs).toHaveLength(3);
  });
});
