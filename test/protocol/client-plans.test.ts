// Goal: the builders make exactly the plan one would write by hand.
import { describe, expect, it } from 'vitest';
import { planProblems } from '../../src/protocol/plan.ts';
import {
  eventual,
  from,
  saga,
  threePhaseCommit,
  threePhaseSaga,
  twoPhaseCommit,
  twoPhaseSaga,
} from '../../src/runtime/client/plans.ts';

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

  it('build every pattern as a coordinator accepts it', () => {
    const built = [
      threePhaseCommit('transfer').step('debit', at('hdfc')).step('credit', at('icici')).build(),
      threePhaseSaga('flash')
        .step('stock', at('stock'))
        .build({ deadlines: { reserve: { lower: 5_000 } } }),
      eventual('news')
        .step('mail', at('mailer'))
        .confirm(1_000)
        .build({ deadlines: { run: { lower: 60_000 } } }),
      eventual('plain').step('mail', at('mailer')).build(),
    ];
    for (const { pattern, plan } of built) expect(planProblems(pattern, plan)).toEqual([]);
    expect(built[2]?.plan.deadlines).toEqual({ confirm: { lower: 1_000 }, run: { lower: 60_000 } });
    expect(built[3]?.plan).not.toHaveProperty('deadlines');
  });

  it('refuse what JavaScript leaves out or writes wrongly, naming it', () => {
    const none = undefined as never;
    for (const build of [
      () => saga('x').step('a', none),
      () => twoPhaseSaga('x').eventually('a', none),
      () => saga('x').child('a', none),
    ])
      expect(build).toThrow(/^PLAN_INVALID: step a needs (participant and action|child)/);
    expect(() => twoPhaseSaga('x').gate(none)).toThrow(/^PLAN_INVALID: gate needs signal, delayMs or both/);
    // @ts-expect-error a pointer begins with a slash
    expect(() => from('a', 'hold')).toThrow(/^PLAN_INVALID: "hold" .*a JSON pointer begins with \//);
    expect([from('a'), from('a', '/b')]).toEqual([{ $from: 'a' }, { $from: 'a/b' }]);
  });

  it('have deadlines only for the phases of their pattern, and a gate that something opens', () => {
    const steps = twoPhaseCommit('transfer').step('debit', at('hdfc'));
    const wide = { lower: 1_000, upper: 2_000 };
    expect(steps.build({ deadlines: { prepare: wide, run: wide } }).plan.deadlines).toHaveProperty('prepare');
    const order = saga('order').step('a', at('stock'));
    // @ts-expect-error a saga has no prepare
    const wrong = order.build({ deadlines: { prepare: wide } });
    expect(planProblems('saga', wrong.plan).map(({ field }) => field)).toEqual(['deadlines.prepare']);
    // @ts-expect-error 2PC has no execute
    expect(planProblems('2pc', steps.build({ deadlines: { execute: wide } }).plan)).toHaveLength(1);
    // @ts-expect-error nothing would open it
    const shut = twoPhaseSaga('order').step('pay', at('payment')).gate({}).build();
    expect(planProblems('2ps', shut.plan)).not.toEqual([]);
    const delayed = twoPhaseSaga('order').step('pay', at('payment')).gate({ delayMs: 5 }).build();
    expect(planProblems('2ps', delayed.plan)).toEqual([]);
  });

  it('build a 2PS with a gate and what follows it', () => {
    const { pattern, plan } = twoPhaseSaga('order')
      .step('pay', at('payment'))
      .gate({ signal: 'approval', delayMs: 5 })
      .eventually('mail', at('mailer'))
      .eventually('count', at('analytics'))
      .build();
    expect(plan).toEqual({
      name: 'order',
      steps: [{ step: 'pay', participant: 'payment', action: 'run' }],
      gate: { signal: 'approval', delay: 5 },
      eventual: [
        { step: 'mail', participant: 'mailer', action: 'run' },
        { step: 'count', participant: 'analytics', action: 'run' },
      ],
    });
    expect(planProblems(pattern, plan)).toEqual([]);
  });

  it('build children, with what undoes them', () => {
    const settle = twoPhaseCommit('settle').step('debit', at('hdfc')).step('credit', at('icici')).build();
    const { pattern, plan } = saga('order')
      .child('settle', { child: settle, undo: settle })
      .child('tell', {
        child: eventual('tell').step('mail', at('mailer')).build(),
        kind: 'pivot',
        after: ['settle'],
      })
      .build();
    expect(planProblems(pattern, plan)).toEqual([]);
    expect(plan.steps[0]).toMatchObject({ step: 'settle', child: settle, undoChild: settle });
    expect(plan.steps[1]).toMatchObject({ kind: 'pivot', after: ['settle'] });
    const unbuilt = twoPhaseCommit('settle') as never;
    expect(() => saga('bad').child('settle', { child: unbuilt, undo: unbuilt })).toThrow(/call \.build\(\)/);
    // @ts-expect-error a child that can be compensated needs its undo
    expect(planProblems('saga', saga('bad').child('settle', { child: settle }).build().plan)).toHaveLength(1);
  });
});
