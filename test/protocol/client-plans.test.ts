// Goal: the builders make exactly the plan one would write by hand.
import { describe, expect, it } from 'vitest';
import { planProblems } from '../../src/protocol/plan.ts';
import { from, saga, twoPhaseCommit } from '../../src/runtime/client/plans.ts';

const at = (participant: string) => ({ participant, action: 'run' });

describe('plan builders', () => {
  it('build a saga that a coordinator accepts', () => {
    const { pattern, plan } = saga('order')
      .step('reserve', { ...at('stock'), input: { sku: 'A1' } })
      .step('notify', { ...at('mail'), after: [] })
      .pivot('pay', {
        ...at('payment'),
        input: { hold: from('reserve', '/holdId') },
        after: ['reserve', 'notify'],
      })
      .retriable('ship', { ...at('shipping'), retry: { maxAttempts: 3 } })
      .build({ deadlines: { run: { lower: 60_000 } } });
    expect(pattern).toBe('saga');
    expect(plan).toEqual({
      name: 'order',
      steps: [
        { step: 'reserve', participant: 'stock', action: 'run', input: { sku: 'A1' } },
        { step: 'notify', participant: 'mail', action: 'run', after: [] },
        {
          ...{ step: 'pay', participant: 'payment', action: 'run', kind: 'pivot' },
          ...{ input: { hold: { $from: 'reserve/holdId' } }, after: ['reserve', 'notify'] },
        },
        {
          step: 'ship',
          participant: 'shipping',
          action: 'run',
          kind: 'retriable',
          retry: { maxAttempts: 3 },
        },
      ],
      deadlines: { run: { lower: 60_000 } },
    });
    expect(planProblems(pattern, plan)).toEqual([]);
  });

  it('leave the builder they came from as it was', () => {
    const base = twoPhaseCommit('transfer').step('debit', at('hdfc'));
    const longer = base.step('credit', at('icici'));
    expect(base.build().plan.steps.map(({ step }) => step)).toEqual(['debit']);
    expect(longer.build().plan.steps.map(({ step }) => step)).toEqual(['debit', 'credit']);
    expect(planProblems('2pc', longer.build().plan)).toEqual([]);
  });

  it('refuse, when compiled, a dependency that does not exist yet', () => {
    const early = saga('order');
    // @ts-expect-error 'pay' is not a step so far
    const { plan } = early.step('reserve', { ...at('stock'), after: ['pay'] }).build();
    expect(planProblems('saga', plan).map(({ field }) => field)).toEqual(['steps[0].after[0]']);
  });
});
