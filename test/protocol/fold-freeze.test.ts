// Goal: a frozen run does nothing until an operator acts, and then all that its state implies; nothing is lost (Rule 4).
// Method: inputs fed by hand to the fold; no NATS, no clock, no await.
import { beforeEach, describe, expect, it } from 'vitest';
import { viewOf } from '../../src/protocol/run.ts';
import { FoldRig, T0, twoSteps } from '../kit/fold-rig.ts';

let rig: FoldRig;
beforeEach(() => {
  rig = new FoldRig();
});

const run = () => {
  const last = rig.runs.at(-1);
  if (last === undefined) throw new Error('no run');
  return last;
};
const DIGEST = '0123456789abcdef';
const decided = (kind: string, more: object) =>
  rig.feed('coordinator.decided', { ...rig.named(), kind, ...more });
const freeze = () => decided('conflict', { at: '1.0', value: 'none', digest: DIGEST });
const foreignOutcome = () => decided('outcome', { at: '1.0', value: 'aborted', digest: DIGEST });
const ownOutcome = () => {
  const { at, value, digest } = run().outcome ?? { at: '1.0', value: 'committed', digest: DIGEST };
  return decided('outcome', { at, value, digest });
};
const operate = (action: string, more: object = {}, timeMs = T0) =>
  rig.feed(`operator.${action}`, { ...rig.named(), by: 'asha', reason: 'looked at it', ...more }, { timeMs });
const retry = (timeMs = T0) => operate('retry', { raised: '1.0', step: 'debit', phase: 'prepare' }, timeMs);

function vote(): void {
  rig.begin();
  rig.report('debit', 'prepare');
  rig.report('credit', 'prepare');
}
function finish(): readonly string[] {
  return [...rig.report('debit', 'commit'), ...rig.report('credit', 'commit')];
}

describe('while a run is frozen', () => {
  it('its end is held, and no outcome note makes it leave', () => {
    vote();
    freeze();
    expect(finish()).toEqual(['accepted report', 'accepted report']);
    expect([...ownOutcome(), ...foreignOutcome()]).toEqual([]);
    expect(run().phase).toBe('active');
    expect(viewOf(run()).attention).toMatchObject([{ code: 'decided-conflict' }]);
    expect(retry()).toEqual(['accepted retry', 'outcome committed', 'told committed']);
    expect(run().outcome?.at, 'the operator’s input ends it').toBe(`${rig.seq}.0`);
    expect(ownOutcome()).toEqual(['left']);
  });

  it('nobody is told early; the caller is after the thaw', () => {
    vote();
    freeze();
    rig.report('debit', 'commit');
    expect(rig.report('credit', 'commit', { answer: 'stale' })).toEqual(['accepted report', 'attend stale']);
    expect(run().toldEarly).toBeUndefined();
    expect(retry()).toEqual(['accepted retry', 'told committed early']);
    expect(run().toldEarly).toMatchObject({ status: 'committed', attention: true });
  });

  it('an end replaces what was held before it', () => {
    vote();
    freeze();
    rig.report('debit', 'commit');
    rig.report('credit', 'commit', { answer: 'stale' });
    rig.report('credit', 'commit');
    expect(retry()).toEqual(['accepted retry', 'outcome committed', 'told committed']);
  });

  it('it does not begin: an admitted run starts when it is thawed', () => {
    rig.begin({ tx: 'order-7', id: 'own' });
    freeze();
    const verdict = { at: run().begun.at, value: 'admit' };
    expect(decided('verdict', verdict)).toEqual(['accepted decided']);
    expect(run().machine.pattern).toBe('2pc');
    expect(viewOf(run()).waitsFor).toContain('an operator');
    expect(retry()).toEqual(['accepted retry', 'command debit prepare 1', 'command credit prepare 1']);
  });

  it('its delayed start waits too', () => {
    rig.begin({ startAt: T0 + 60_000 });
    freeze();
    const start = { ...rig.named(), kind: 'start', armed: '1.0' };
    expect(rig.feed('coordinator.deadline', start, { timeMs: T0 + 60_000 })).toEqual([]);
    expect(retry(T0 + 61_000)).toContain('command debit prepare 1');
  });
});

describe('an operator who thaws a run', () => {
  it('sends each command once, also what the same input implies', () => {
    rig.begin();
    freeze();
    expect(operate('cancel')).toEqual([
      'accepted cancel',
      'decision abort',
      'command debit abort 1',
      'command credit abort 1',
    ]);
    expect(run().thawed).toBe(`${rig.seq}.0`);
  });

  it('does so by a signal too, which counts where a gate waits for it', () => {
    rig = new FoldRig('2ps');
    rig.begin({ plan: { ...twoSteps, gate: { signal: 'ok' } } });
    rig.report('debit', 'prepare');
    rig.report('credit', 'prepare');
    freeze();
    const verify = ['accepted signal', 'command debit verify 1', 'command credit verify 1'];
    expect(operate('signal', { name: 'ok', verdict: 'approve' })).toEqual(verify);
    freeze();
    expect(operate('signal', { name: 'ok', verdict: 'approve' }), 'latched before').toEqual(verify);
    freeze();
    expect(operate('signal', { name: 'nobody waits for it', verdict: 'approve' })).toEqual(verify);
  });

  it('arms the timers of the run again', () => {
    rig.begin();
    freeze();
    rig.due.length = 0;
    retry();
    expect(rig.due).toContain(T0 + 30_000);
    const timers = run().machine.timers(run().facts, run().state);
    expect(rig.due).toEqual(timers.map(({ dueMs }) => dueMs));
  });

  it('arms a delayed start again', () => {
    rig.begin({ startAt: T0 + 60_000 });
    freeze();
    rig.due.length = 0;
    retry();
    expect(rig.due).toEqual([T0 + 60_000]);
  });

  it.each([
    ['kill', 'killed'],
    ['cancel', 'cancelled'],
  ])('can %s it before it has begun', (action, status) => {
    rig.begin({ startAt: T0 + 60_000 });
    freeze();
    expect(operate(action)).toEqual([`accepted ${action}`, `outcome ${status}`, `told ${status}`]);
  });
});

describe('an ended run', () => {
  beforeEach(() => {
    vote();
    finish();
  });

  it('that was contradicted stays for its conflict, frozen until an operator acts', () => {
    expect(foreignOutcome()).toEqual(['contradicted outcome']);
    expect(ownOutcome()).toEqual([]);
    expect(freeze()).toEqual(['accepted decided', 'attend decided-conflict']);
    expect(ownOutcome()).toEqual([]);
    expect(viewOf(run()).attention).toMatchObject([{ code: 'decided-conflict' }]);
    expect(retry()).toEqual(['accepted retry', 'left']);
    expect(rig.fold.runs.size).toBe(0);
  });

  it('frozen before its note was read leaves only once it is written down', () => {
    freeze();
    expect(retry()).toEqual(['accepted retry', 'outcome committed', 'told committed']);
    expect(ownOutcome()).toEqual(['left']);
  });

  it('is not thawed by an operator who acted before its conflict was read', () => {
    foreignOutcome();
    expect(operate('kill')).toEqual([]);
    freeze();
    expect(ownOutcome()).toEqual([]);
    expect(rig.fold.runs.size).toBe(1);
  });
});

it('two folds that derive different outcomes both keep what was contradicted', () => {
  vote();
  finish();
  const other = new FoldRig();
  other.begin({ plan: twoSteps });
  other.report('debit', 'prepare', { answer: 'refused' });
  const theirs = () => ({ ...other.named(), kind: 'outcome', at: '2.0', value: 'aborted', digest: DIGEST });
  other.report('credit', 'abort');
  const mine = run().outcome;
  const ours = () => ({ ...rig.named(), kind: 'outcome', ...mine, time: undefined });
  expect(rig.feed('coordinator.decided', theirs())).toEqual(['contradicted outcome']);
  expect(other.feed('coordinator.decided', ours())).toEqual(['contradicted outcome']);
  const own = other.runs[0]?.outcome;
  expect(own?.value).toBe('aborted');
  other.feed('coordinator.decided', { ...other.named(), kind: 'outcome', ...own });
  rig.feed('coordinator.decided', ours());
  expect([rig.fold.runs.size, other.fold.runs.size]).toEqual([1, 1]);
});

it('a refused run whose admission was written down elsewhere stays until an operator acts', () => {
  rig.begin({ shards: 2 });
  foreignOutcome();
  freeze();
  const verdict = { at: run().begun.at, value: 'refused', code: 'shards-mismatch' };
  expect(decided('verdict', verdict)).toEqual([]);
  expect(retry()).toEqual(['accepted retry', 'left']);
});
