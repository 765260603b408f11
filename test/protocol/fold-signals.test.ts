// Goal: a signal is latched from the begin on: whenever it comes, the gate hears it, once.
import { beforeEach, describe, expect, it } from 'vitest';
import type { Plan } from '../../src/protocol/envelopes.ts';
import { FoldRig, T0, twoSteps } from '../kit/fold-rig.ts';

let rig: FoldRig;
beforeEach(() => {
  rig = new FoldRig('2ps');
});

const plan: Plan = { ...twoSteps, gate: { signal: 'ok' } };
const signal = (more: object = {}, from = 'client') =>
  rig.feed(`${from}.signal`, { ...rig.named(), name: 'ok', verdict: 'approve', ...more });
const prepareAll = (): readonly string[] => [
  ...rig.report('debit', 'prepare'),
  ...rig.report('credit', 'prepare'),
];
const VERIFY = ['command debit verify 1', 'command credit verify 1'];
const CANCEL = ['accepted signal', 'decision undo', 'command credit cancel 1'];

describe('a signal to an active run', () => {
  it('opens its gate', () => {
    rig.begin({ plan });
    prepareAll();
    expect(signal()).toEqual(['accepted signal', ...VERIFY]);
    expect(signal()).toEqual([]);
  });

  it('may come before its gate is reached', () => {
    rig.begin({ plan });
    expect(signal()).toEqual(['accepted signal']);
    expect(prepareAll()).toEqual(['accepted report', 'accepted report', ...VERIFY]);
  });

  it('that rejects carries its reason to the outcome', () => {
    rig.begin({ plan });
    prepareAll();
    expect(signal({ verdict: 'reject', reason: 'fraud' })).toEqual(CANCEL);
    rig.report('credit', 'cancel');
    rig.report('debit', 'cancel');
    expect(rig.runs[0]?.outcomeBody).toEqual({ status: 'compensated', code: 'rejected', message: 'fraud' });
  });

  it('from an operator counts alike', () => {
    rig.begin({ plan });
    prepareAll();
    expect(signal({ verdict: 'reject', reason: 'fraud', by: 'asha' }, 'operator')).toEqual(CANCEL);
  });

  it('without a verdict is no word to a gate, and leaves it to the next', () => {
    rig.begin({ plan });
    prepareAll();
    expect(signal({ verdict: undefined })[0]).toMatch(/^dead: ok needs a verdict/);
    expect(signal()).toEqual(['accepted signal', ...VERIFY]);
  });
});

describe('a signal that no gate of the run waits for', () => {
  it('is told so, and keeps nothing', () => {
    rig.begin({ plan });
    for (let index = 0; index < 100; index += 1)
      expect(signal({ name: `n${index}` })[0]).toMatch(/^dead: no gate of this run waits for n/);
    expect(rig.runs[0]?.signals).toEqual([]);
    expect(signal()).toEqual(['accepted signal']);
    expect(rig.runs[0]?.signals).toHaveLength(1);
  });
});

describe('a signal to a run that has not started', () => {
  it('reaches it at its start', () => {
    rig.begin({ plan, startAt: T0 + 1_000 });
    expect(signal()).toEqual(['accepted signal']);
    expect(signal({ verdict: 'reject' })).toEqual([]);
    const start = { ...rig.named(), kind: 'start', armed: '1.0' };
    rig.feed('coordinator.deadline', start, { timeMs: T0 + 1_000 });
    expect(prepareAll().slice(-2)).toEqual(VERIFY);
  });

  it('that rejects turns it back before anything is executed', () => {
    rig.begin({ tx: 'order-7', id: 'own', plan });
    expect(signal({ verdict: 'reject' })).toEqual(['accepted signal']);
    const admitted = rig.feed('coordinator.decided', {
      ...rig.named(),
      kind: 'verdict',
      at: '1.0',
      value: 'admit',
    });
    expect(admitted).toContain('decision undo');
    expect(prepareAll()).toEqual(['accepted report', 'accepted report', 'command credit cancel 1']);
  });
});
