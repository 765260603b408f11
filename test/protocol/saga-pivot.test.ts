// Goal: the pivot decides; while nobody knows whether it ran, the saga moves neither forward nor backward.
import { describe, it } from 'vitest';
import { backoffMs } from '../../src/protocol/act.ts';
import { saga } from '../../src/protocol/saga.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import {
  armIn,
  attend,
  BEGUN,
  cancelled,
  command,
  decide,
  end,
  operator,
  passed,
  report,
  specOf,
  tell,
  type Happening,
} from '../kit/machine-spec.ts';

const given = specOf(saga);
const done = (step: string, more = {}) => report(step, 'execute', 'done', more);
const refused = (step: string, more = {}) => report(step, 'execute', 'refused', more);
const undone = (step: string, attempt = 1) => report(step, 'compensate', 'done', { attempt });
const undo = (step: string, more = {}) => command(step, 'compensate', { ran: true, ...more });
const execute = (step: string, more = {}) => command(step, 'execute', more);
const attemptArmed = armIn(RETRY.attemptMs);
const once = { retry: { ...RETRY, maxAttempts: 1 } };
const forced =
  (decision: 'commit' | 'abort' | 'complete' | 'undo'): Happening =>
  ({ view }) => ({
    body: { type: 'forced', raised: view.attention[0]!.raised, decision, reason: 'by order' },
  });

const shop = (pivot: Partial<StepSpec> = {}, mail: Partial<StepSpec> = {}, limits = {}) =>
  compiled(
    'saga',
    [
      'stock',
      { step: 'pay', kind: 'pivot', after: ['stock'], ...pivot },
      { step: 'mail', kind: 'retriable', after: ['pay'], ...mail },
      { step: 'ship', kind: 'retriable', after: ['pay'] },
    ],
    { pivot: 1, ...limits },
  );

describe('saga pivot', () => {
  const order = given(shop()).after(done('stock'));
  const single = given(shop(once)).after(done('stock'));
  const unknown = single.after(passed('attempt'));

  it('is the point of no return', () =>
    order.when(done('pay')).thenEmits(decide('commit'), execute('mail'), execute('ship'), attemptArmed));

  it('also when it was read-only', () =>
    order
      .when(report('pay', 'execute', 'read-only'))
      .thenEmits(decide('commit'), execute('mail'), execute('ship'), attemptArmed));

  it('known not to have run goes backward', () =>
    order.when(refused('pay')).thenEmits(decide('undo', 'refused'), undo('stock'), attemptArmed));

  it('is retried when unknown', () =>
    order
      .when(report('pay', 'execute', 'unknown'))
      .thenEmits(armIn(backoffMs(RETRY, 1, { seed: 'tx-1/pay/execute/1', retryAfterMs: 0 }))));

  it('waits for a person when its policy ends in the dark', () =>
    single
      .when(passed('attempt'))
      .thenEmits(attend('pay', 'execute', { code: 'unknown', message: 'deadline' }))
      .thenOutstanding()
      .thenTimers()
      .thenViews({ phase: 'forward', waitsFor: 'a person to settle execute of step pay (unknown)' }));

  it('goes backward when its policy ends and each attempt left nothing', () =>
    single
      .when(report('pay', 'execute', 'retry', { code: 'busy' }))
      .thenEmits(decide('undo', 'busy'), undo('stock'), attemptArmed));

  it.each(['conflict', 'stale', 'refused'] as const)(
    'waits for a person after %s that may have run',
    (answer) => {
      order
        .when(report('pay', 'execute', answer, { mayHaveRun: true, message: 'cannot say' }))
        .thenEmits(attend('pay', 'execute', { code: 'unknown', message: 'cannot say' }));
    },
  );

  it('goes forward when a late report says that it ran', () =>
    unknown.when(done('pay')).thenEmits(decide('commit'), execute('mail'), execute('ship'), attemptArmed));

  it('goes backward when a late report clears its last attempt', () =>
    unknown
      .when(refused('pay', { code: 'no-funds' }))
      .thenEmits(decide('undo', 'no-funds'), undo('stock'), attemptArmed));

  it('stays unknown while another attempt is not cleared', () =>
    given(shop({ retry: { ...RETRY, maxAttempts: 2 } }))
      .after(done('stock'), passed('attempt'), passed('backoff'), passed('attempt'))
      .when(refused('pay'))
      .thenEmits()
      .thenViews({ phase: 'forward', waitsFor: 'a person to settle execute of step pay (unknown)' }));

  it('stays unknown after a refusal that may have run', () =>
    unknown.when(refused('pay', { mayHaveRun: true })).thenNothingHappens());

  it('is stopped by its own deadline, into attention', () =>
    given(shop({ deadline: { lowerMs: 500, upperMs: 500 } }))
      .after(done('stock'))
      .when(passed('step'))
      .thenEmits(attend('pay', 'execute', { code: 'unknown', message: 'deadline' })));

  it('is never started beside a compensatable step', () =>
    given(compiled('saga', ['a', 'b', { step: 'p', kind: 'pivot', after: ['a', 'b'] }], { pivot: 2 }))
      .when(done('a'))
      .thenEmits()
      .thenOutstanding('b execute 1'));

  it('cannot be commanded: goes backward', () =>
    given(shop({ pointed: true, input: { $from: 'stock/hold' } }))
      .when(done('stock'))
      .thenEmits(decide('undo', 'dangling-pointer'), undo('stock'), attemptArmed));
});

describe('saga pivot and a person', () => {
  const unknown = given(shop(once)).after(done('stock'), passed('attempt'));

  it('is tried again, with the policy from the start', () =>
    unknown
      .when(operator('item_retried', 'pay', { policy: { maxAttempts: 2 } }))
      .thenEmits(execute('pay', { attempt: 2, since: BEGUN.time + 1 }), attemptArmed));

  it('by the policy that the operator gave', () =>
    unknown
      .after(operator('item_retried', 'pay', { policy: { maxAttempts: 2 } }))
      .when(passed('attempt'))
      .thenEmits(armIn(backoffMs(RETRY, 1, { seed: 'tx-1/pay/execute/2', retryAfterMs: 0 }))));

  it('resolved done goes forward, with the output', () =>
    given(shop(once, { pointed: true, input: { $from: 'pay/receipt' } }))
      .after(done('stock'), passed('attempt'))
      .when(operator('item_resolved', 'pay', { answer: 'done', output: { receipt: 'r' } }))
      .thenEmits(decide('commit'), execute('mail', { input: 'r' }), execute('ship'), attemptArmed));

  it('resolved refused goes backward', () =>
    unknown
      .when(operator('item_resolved', 'pay', { answer: 'refused' }))
      .thenEmits(decide('undo', 'refused'), undo('stock'), attemptArmed));

  it('cannot be skipped', () => unknown.when(operator('item_skipped', 'pay')).thenNothingHappens());

  it('forced to undo goes backward and ends resolved', () => {
    unknown.when(forced('undo')).thenEmits(decide('undo', 'forced'), undo('stock'), attemptArmed);
    unknown
      .after(forced('undo'))
      .when(undone('stock'))
      .thenEmits(end({ status: 'resolved', code: 'forced', message: 'by order', step: 'pay' }));
  });

  it.each(['commit', 'abort', 'complete'] as const)('cannot be forced to %s', (decision) => {
    unknown.when(forced(decision)).thenNothingHappens();
  });

  const contradiction = {
    code: 'contradiction',
    message: 'the pivot has run, but the saga goes back because it was said not to have',
  };

  it.each([
    ['forced', forced('undo')],
    ['resolved', operator('item_resolved', 'pay', { answer: 'refused' })],
    ['reported', refused('pay')],
  ])('that ran although it was %s away waits for a person', (_, away) => {
    unknown
      .after(away)
      .when(done('pay'))
      .thenEmits(attend('pay', 'execute', contradiction));
  });

  it('holds what is not undone yet until the contradiction is settled', () => {
    const plan = compiled(
      'saga',
      ['a', { step: 'b', after: ['a'] }, { step: 'p', kind: 'pivot', after: ['b'] }],
      { pivot: 2 },
    );
    const held = given(plan).after(done('a'), done('b'), refused('p'), done('p'));
    held
      .when(undone('b'))
      .thenEmits(tell({ status: 'compensated', code: 'refused', step: 'p', attention: true }))
      .thenOutstanding();
    held.after(undone('b')).when(operator('item_skipped', 'p')).thenEmits(undo('a'), attemptArmed);
    held.after(undone('b'), operator('item_skipped', 'p')).when(done('p')).thenNothingHappens();
    held
      .after(undone('b'), operator('item_skipped', 'p'))
      .when(undone('a'))
      .thenEmits(end({ status: 'resolved', code: 'refused', step: 'p' }));
    held.when(operator('item_retried', 'p')).thenNothingHappens();
    held.when(done('p')).thenNothingHappens();
    held
      .after(undone('b'))
      .when(operator('item_resolved', 'p', { answer: 'done' }))
      .thenEmits(undo('a'), attemptArmed);
  });
});

describe('saga cancelled while the pivot is outstanding', () => {
  const latched = given(shop()).after(done('stock'), cancelled('too late?'));

  it('is only latched', () =>
    given(shop()).after(done('stock')).when(cancelled()).thenEmits().thenOutstanding('pay execute 1'));
  it('once', () => latched.when(cancelled('again')).thenNothingHappens());

  it('lets forward win when the pivot ran', () =>
    latched.when(done('pay')).thenEmits(decide('commit'), execute('mail'), execute('ship'), attemptArmed));

  it('takes effect when the pivot did not run', () => {
    latched.when(refused('pay')).thenEmits(decide('undo', 'cancelled'), undo('stock'), attemptArmed);
    latched
      .after(refused('pay'))
      .when(undone('stock'))
      .thenEmits(end({ status: 'cancelled', code: 'cancelled', message: 'too late?' }));
  });

  it('takes effect instead of another attempt when each one left nothing', () =>
    latched
      .when(report('pay', 'execute', 'retry'))
      .thenEmits(decide('undo', 'cancelled'), undo('stock'), attemptArmed));

  it('takes effect at once when the pivot backs off with nothing left behind', () =>
    given(shop())
      .after(done('stock'), report('pay', 'execute', 'retry'))
      .when(cancelled())
      .thenEmits(decide('undo', 'cancelled'), undo('stock'), attemptArmed));

  it('goes on asking while nobody knows', () =>
    latched
      .after(report('pay', 'execute', 'unknown'))
      .when(passed('backoff'))
      .thenEmits(execute('pay', { attempt: 2, since: BEGUN.time + 1 }), attemptArmed));

  it('takes effect when a person says that it did not run', () =>
    given(shop(once))
      .after(done('stock'), passed('attempt'), cancelled())
      .when(operator('item_resolved', 'pay', { answer: 'refused' }))
      .thenEmits(decide('undo', 'cancelled'), undo('stock'), attemptArmed));

  it('is latched by an overdue run too', () => {
    const plan = shop({}, {}, { deadlines: { run: { lowerMs: 800, upperMs: 800 } } });
    const overdue = given(plan).after(done('stock'));
    overdue.when(passed('run')).thenEmits().thenTimers('attempt pay 10001');
    overdue
      .after(passed('run'))
      .when(refused('pay'))
      .thenEmits(decide('undo', 'deadline'), undo('stock'), attemptArmed);
  });
});

describe('saga past the point of no return', () => {
  const order = given(shop({}, once)).after(done('stock'), done('pay'));
  const stuck = order.after(report('mail', 'execute', 'unknown'));

  it('completes when all are done', () =>
    order
      .after(done('ship'))
      .when(done('mail'))
      .thenEmits(end({ status: 'completed' })));

  it('cannot be cancelled', () => order.when(cancelled()).thenNothingHappens());

  it.each(['refused', 'conflict', 'stale', 'unknown'] as const)(
    'raises attention after %s, siblings go on',
    (answer) => {
      order
        .when(report('mail', 'execute', answer))
        .thenEmits(attend('mail', 'execute', { code: answer }))
        .thenOutstanding('ship execute 1');
    },
  );

  it('tells when nothing else moves', () =>
    stuck.when(done('ship')).thenEmits(tell({ status: 'completed', attention: true })));

  it('completes when the answer comes late', () =>
    stuck
      .after(done('ship'))
      .when(done('mail'))
      .thenEmits(end({ status: 'completed' })));

  it('learns nothing from a late no', () =>
    order.after(refused('mail')).when(refused('mail')).thenNothingHappens());

  it('ends resolved when the item is skipped', () =>
    stuck
      .after(done('ship'))
      .when(operator('item_skipped', 'mail'))
      .thenEmits(end({ status: 'resolved' })));

  it('ends completed when a person did it', () =>
    stuck
      .after(done('ship'))
      .when(operator('item_resolved', 'mail', { answer: 'done', output: 1 }))
      .thenEmits(end({ status: 'completed', outputs: { mail: 1 } })));

  it('stays when a person says that it was refused', () =>
    stuck.when(operator('item_resolved', 'mail', { answer: 'refused' })).thenNothingHappens());

  it('forced to complete skips what is left and lets the rest finish', () => {
    stuck.when(forced('complete')).thenEmits().thenOutstanding('ship execute 1');
    stuck
      .after(forced('complete'))
      .when(done('ship'))
      .thenEmits(end({ status: 'resolved' }));
  });

  it.each(['commit', 'abort', 'undo'] as const)('cannot be forced to %s', (decision) => {
    stuck.when(forced(decision)).thenNothingHappens();
  });

  it('has no use for retrying what cannot be commanded', () =>
    given(shop({}, { pointed: true, input: { $from: 'pay/x' } }))
      .after(done('stock'), done('pay'))
      .when(operator('item_retried', 'mail'))
      .thenNothingHappens());

  it('but a person may have done it', () =>
    given(shop({}, { pointed: true, input: { $from: 'pay/x' } }))
      .after(done('stock'), done('pay'), done('ship'))
      .when(operator('item_resolved', 'mail', { answer: 'done' }))
      .thenEmits(end({ status: 'completed' })));
});

describe('saga without a pivot', () => {
  const plan = compiled('saga', ['a', 'b', { step: 'c', kind: 'retriable', after: ['a', 'b'] }]);

  it('passes the point of no return when all compensatable steps are done', () =>
    given(plan).after(done('a')).when(done('b')).thenEmits(decide('commit'), execute('c'), attemptArmed));

  it('passes it at once when there are only retriable steps', () =>
    given(compiled('saga', [{ step: 'a', kind: 'retriable' }]))
      .whenBegun()
      .thenEmits(decide('commit'), execute('a'), attemptArmed));

  it('starts no retriable step before, whatever the plan says', () =>
    given(compiled('saga', ['a', { step: 'c', kind: 'retriable' }]))
      .whenBegun()
      .thenEmits(execute('a'), attemptArmed));
});
