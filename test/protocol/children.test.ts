// Goal: what a child answers for the act it stands for, and which begins and reports a log accepts of coordinators.
import { describe, expect, it } from 'vitest';
import { shardOf } from '../../src/kernel/hash.ts';
import { ID_PATTERN } from '../../src/kernel/ids.ts';
import { STATUSES } from '../../src/kernel/vocabulary.ts';
import { admit, type ShardFacts } from '../../src/protocol/admission.ts';
import type { BeginEnvelope, Plan } from '../../src/protocol/envelopes.ts';
import { parseReport } from '../../src/protocol/guards.ts';
import type { ParentRef } from '../../src/protocol/run.ts';
import { childReport, childTx } from '../../src/runtime/children.ts';
import { FoldRig, T0, twoSteps } from '../kit/fold-rig.ts';

const HOUR = 3_600_000;
const FACTS: ShardFacts = {
  pattern: '2pc',
  shard: 0,
  shards: 1,
  duplicateWindowMs: 120_000,
  dedupWindowMs: 24 * HOUR,
};
const parent: ParentRef = {
  pattern: 'saga',
  tx: 'order-1',
  run: '4.0.1700000000000',
  step: 'pay',
  phase: 'execute',
  attempt: 2,
  cause: { at: '9.1', time: T0 },
  since: T0,
};
const begin: BeginEnvelope = {
  v: 1,
  tx: childTx(parent),
  id: 'own',
  shards: 1,
  plan: twoSteps,
  reply: [],
  parent,
};

describe('the id of a child', () => {
  it('is the same for every attempt, and another for every other act', () => {
    const tx = childTx(parent);
    expect(tx).toMatch(ID_PATTERN);
    const later: ParentRef = { ...parent, attempt: 7, since: 1 };
    expect(childTx(later)).toBe(tx);
    const others: readonly Partial<ParentRef>[] = [
      { pattern: '2ps' },
      { tx: 'order-2' },
      { run: '5.0.1700000000000' },
      { step: 'ship' },
      { phase: 'compensate' },
    ];
    const ids = others.map((other) => childTx({ ...parent, ...other }));
    expect(new Set([tx, ...ids]).size).toBe(6);
  });

  it('is another for every child that follows one which left nothing, and for no other attempt', () => {
    const ids = [undefined, 2, 3].map((from) => childTx(parent, from));
    expect(new Set(ids).size).toBe(3);
    const later: ParentRef = { ...parent, attempt: 9, since: 1 };
    expect(childTx(later, 3)).toBe(ids[2]);
  });

  it('does not mix up neighbouring fields', () => {
    expect(childTx({ ...parent, tx: 'a', step: 'b-c' })).not.toBe(
      childTx({ ...parent, tx: 'a-b', step: 'c' }),
    );
  });
});

describe('the report of a child', () => {
  const ended = { pattern: '2pc', tx: begin.tx, run: '1.0.5' } as const;
  const reportOf = (outcome: Parameters<typeof childReport>[1]['outcome']) =>
    childReport(parent, { ...ended, outcome });

  it('says yes only when the child did everything, no when it left nothing, and else that it may have run', () => {
    const said = Object.fromEntries(
      STATUSES.map((status) => {
        const { answer, mayHaveRun } = reportOf({ status });
        return [status, mayHaveRun === true ? `${answer}, may have run` : answer];
      }),
    );
    expect(said).toEqual({
      committed: 'done',
      completed: 'done',
      aborted: 'refused',
      compensated: 'refused',
      cancelled: 'refused',
      refused: 'refused',
      mismatch: 'refused',
      mixed: 'refused, may have run',
      killed: 'refused, may have run',
      resolved: 'refused, may have run',
      dead: 'refused, may have run',
    });
    expect(reportOf({ status: 'refused', code: 'stale' })).toMatchObject({ answer: 'stale', code: 'stale' });
  });

  it('lets an undo that turned back be tried again, and leaves what else failed to a person', () => {
    const undoing: ParentRef = { ...parent, phase: 'compensate' };
    const answerOf = (status: 'aborted' | 'compensated' | 'cancelled' | 'mixed') => {
      const { answer, mayHaveRun } = childReport(undoing, { ...ended, outcome: { status } });
      return [answer, mayHaveRun];
    };
    expect(answerOf('aborted')).toEqual(['retry', undefined]);
    expect(answerOf('compensated')).toEqual(['retry', undefined]);
    expect(answerOf('cancelled')).toEqual(['refused', undefined]);
    expect(answerOf('mixed')).toEqual(['refused', true]);
  });

  it('names the attempt it answers and the reason, within the caps of a report', () => {
    const report = reportOf({ status: 'aborted', code: 'c'.repeat(99), message: 'm'.repeat(5_000) });
    expect(report).toMatchObject({ step: 'pay', phase: 'execute', attempt: 2, cause: parent.cause });
    expect(parseReport(JSON.parse(JSON.stringify(report)))).toMatchObject({ ok: true });
    expect(reportOf({ status: 'aborted' }).code).toBe('aborted');
  });

  it('hands on the outputs of the child if one output can hold them, and always its name', () => {
    const deep = JSON.parse('['.repeat(63) + ']'.repeat(63)) as never;
    const summary = { pattern: '2pc', tx: begin.tx, run: '1.0.5', status: 'committed' };
    expect(reportOf({ status: 'committed', outputs: { from: { hold: 1 } } }).output).toEqual({
      ...summary,
      outputs: { from: { hold: 1 } },
    });
    for (const outputs of [{ from: 'x'.repeat(16_300) }, { from: deep }]) {
      const report = reportOf({ status: 'committed', outputs });
      expect(report.output).toEqual(summary);
      expect(parseReport(JSON.parse(JSON.stringify(report)))).toMatchObject({ ok: true });
    }
  });
});

describe('the begin of a child', () => {
  const at = (timeMs: number, sender = 'coordinator') =>
    admit(FACTS, begin, { sender, timeMs, identified: false });

  it('is admitted up to half of the dedup window after its act began, then stale', () => {
    expect(at(T0 + 12 * HOUR).admitted).toBe(true);
    expect(at(T0 + 12 * HOUR + 1)).toMatchObject({ admitted: false, refusal: { code: 'stale' } });
    expect(at(T0, 'client')).toMatchObject({ refusal: { code: 'parent-not-allowed' } });
  });

  it('that is a duplicate is remembered by the run that answers for it', () => {
    const rig = new FoldRig('2pc');
    const feed = (attempt: number) =>
      rig.feed('coordinator.begin', { ...begin, parent: { ...parent, attempt } }, { timeMs: T0 });
    expect(feed(1)).toEqual(['accepted begin', 'verdict']);
    const first = rig.named();
    rig.feed('coordinator.decided', { ...first, kind: 'verdict', at: '1.0', value: 'admit' });
    expect(feed(2)).toEqual(['accepted begin', 'verdict']);
    const second = rig.named();
    const note = { ...second, kind: 'verdict', at: '3.0', value: 'duplicate', of: first.run };
    expect(rig.feed('coordinator.decided', note)).toEqual(['accepted decided', 'judged duplicate', 'left']);
    expect(rig.runs[0]?.parents.map(({ attempt }) => attempt)).toEqual([2]);
  });

  it('that is refused still has a refusal to report', () => {
    const rig = new FoldRig('2pc');
    const old = { ...begin, parent: { ...parent, since: T0 - 13 * HOUR } };
    expect(rig.feed('coordinator.begin', old)).toEqual(['accepted begin', 'refusal stale', 'told refused']);
    expect(shardOf(begin.tx, 1)).toBe(0);
  });
});

describe('reports of coordinators', () => {
  const child: Plan = { name: 'transfer', steps: [{ participant: 'debit', action: 'move' }] };
  const nested: Plan = {
    name: 'order',
    steps: [
      {
        step: 'pay',
        participant: 'child',
        action: 'child',
        kind: 'pivot',
        child: { pattern: '2pc', plan: child },
      },
      { step: 'ship', participant: 'shipping', action: 'ship', kind: 'retriable', after: ['pay'] },
    ],
  };
  const report = (rig: FoldRig, from: string, step: string, phase = 'execute') =>
    rig.feed(`${from}.report`, {
      ...rig.named(),
      step,
      phase,
      attempt: 1,
      cause: { at: '1.0', time: T0 },
      answer: 'done',
    });

  it('count for a step that is a child, and for no other', () => {
    const rig = new FoldRig('saga');
    rig.begin({ plan: nested });
    expect(report(rig, 'shipping', 'pay')[0]).toMatch(/^dead: /);
    expect(report(rig, 'child', 'pay')[0]).toMatch(/^dead: /);
    expect(report(rig, 'coordinator', 'ship')[0]).toMatch(/^dead: /);
    expect(report(rig, 'coordinator', 'pay')).toEqual([
      'accepted report',
      'decision commit',
      'command ship execute 1',
    ]);
  });

  it('count for what follows a 1.5PS, which is no step of the plan, and only there', () => {
    const rig = new FoldRig('2ps');
    const step = { participant: 'payment', action: 'pay' };
    rig.begin({
      plan: { name: 'order', steps: [step], eventual: [{ participant: 'mail', action: 'send' }] },
    });
    expect(report(rig, 'mail', 'eventual')[0]).toMatch(/^dead: /);
    expect(report(rig, 'coordinator', 'eventual').join()).not.toMatch(/dead/);
    const plain = new FoldRig('2ps');
    plain.begin({ plan: { name: 'order', steps: [step] } });
    expect(report(plain, 'coordinator', 'eventual')[0]).toMatch(/^dead: /);
  });
});
