// Goal: behind a gate nothing is verified before it opens, and nothing executed before all are verified; 1.5PS hands over
// only what its steps have executed.
import { describe, expect, it } from 'vitest';
import type { ChildSpec, CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Plan } from '../../src/protocol/envelopes.ts';
import { compilePlan, planProblems } from '../../src/protocol/plan.ts';
import { MUST_FINISH_POLICY } from '../../src/protocol/policies.ts';
import { backoffMs } from '../../src/protocol/act.ts';
import { twoPhaseSaga } from '../../src/protocol/two-phase-saga.ts';
import { compiled, RETRY } from '../kit/compiled.ts';
import {
  armIn,
  at,
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
  type Body,
} from '../kit/machine-spec.ts';

const given = specOf(twoPhaseSaga);
const prepared = (step: string, more = {}) => report(step, 'prepare', 'done', more);
const verified = (step: string, more = {}) => report(step, 'verify', 'done', more);
const executed = (step: string, more = {}) => report(step, 'execute', 'done', more);
const verify = (step: string, more = {}) => command(step, 'verify', more);
const cancel = (step: string, more = {}) => command(step, 'cancel', { ran: true, ...more });
const attemptArmed = armIn(RETRY.attemptMs);
const signal = (verdict?: 'approve' | 'reject', name = 'ok', reason?: string): Body => ({
  type: 'signalled',
  name,
  verdict,
  reason,
});
const exactly = (ms: number) => ({ lowerMs: ms, upperMs: ms * 2 });

const held = (gate: CompiledPlan['gate'], more = {}) => compiled('2ps', ['a', 'b'], { gate, ...more });
const toGate = (gate: CompiledPlan['gate'], more = {}) =>
  given(held(gate, more)).after(prepared('a'), prepared('b'));

describe('2ps-ov gate with a signal', () => {
  const before = given(held({ signal: 'ok' }));
  const atGate = toGate({ signal: 'ok' });

  it('is reached when all are prepared', () =>
    before
      .after(prepared('a'))
      .when(prepared('b'))
      .thenEmits()
      .thenOutstanding()
      .thenTimers()
      .thenViews({ phase: 'forward', waitsFor: 'the signal ok' }));

  it('approved: verify to all', () =>
    atGate.when(signal('approve')).thenEmits(verify('a'), verify('b'), attemptArmed));

  it('approved before it is reached: latched', () => {
    before.when(signal('approve')).thenEmits();
    before
      .after(prepared('a', { output: 1 }), signal('approve'))
      .when(prepared('b'))
      .thenEmits(verify('a', { output: 1 }), verify('b'), attemptArmed);
  });

  it('rejected: back, with the reason', () => {
    atGate
      .when(signal('reject', 'ok', 'fraud'))
      .thenEmits(decide('undo', 'rejected'), cancel('b'), attemptArmed);
    atGate
      .after(signal('reject', 'ok', 'fraud'), report('b', 'cancel', 'done'))
      .when(report('a', 'cancel', 'done'))
      .thenEmits(end({ status: 'compensated', code: 'rejected', message: 'fraud' }));
  });

  it('rejected before it is reached: back at once', () =>
    before
      .after(prepared('a'))
      .when(signal('reject'))
      .thenEmits(decide('undo', 'rejected'))
      .thenOutstanding('b prepare 1'));

  it('counts the first word, and only its own name with a verdict', () => {
    before.after(signal('approve')).when(signal('reject')).thenNothingHappens();
    atGate.after(signal('approve')).when(signal('reject')).thenNothingHappens();
    atGate.after(signal('reject')).when(signal('approve')).thenNothingHappens();
    atGate.when(signal('approve', 'other')).thenNothingHappens();
    atGate.when(signal('reject', 'other')).thenNothingHappens();
    atGate.when(signal()).thenNothingHappens();
  });

  it('has no deadline but that of the run', () => {
    const limited = toGate({ signal: 'ok' }, { deadlines: { run: exactly(9_000), verify: exactly(500) } });
    limited.when(cancelled()).thenEmits(decide('undo', 'cancelled'), cancel('b'), attemptArmed);
    limited.when(passed('run')).thenEmits(decide('undo', 'deadline'), cancel('b'), attemptArmed);
    limited
      .after(signal('approve'))
      .when(verified('a'))
      .thenTimers('attempt b 10003', 'phase b 503', 'run 9000');
  });

  it('does not wait for anybody when all were read-only', () =>
    before
      .after(report('a', 'prepare', 'read-only'))
      .when(report('b', 'prepare', 'read-only'))
      .thenEmits(decide('commit'), end({ status: 'completed' })));
});

describe('2ps-ov gate with a delay', () => {
  const atGate = toGate({ delayMs: 60_000 });

  it('begins when all are prepared', () =>
    given(held({ delayMs: 60_000 }))
      .after(prepared('a'))
      .when(prepared('b'))
      .thenEmits(armIn(60_000))
      .thenTimers('gate 60002')
      .thenViews({ waitsFor: 'the delay of its gate' }));

  it('gate due: verify to all', () =>
    atGate.when(passed('gate')).thenEmits(verify('a'), verify('b'), attemptArmed));

  it('of nothing opens at once', () =>
    given(held({ delayMs: 0 }))
      .after(prepared('a'))
      .when(prepared('b'))
      .thenEmits(verify('a'), verify('b'), attemptArmed));

  it('ends with the way back', () => {
    atGate.when(cancelled()).thenEmits(decide('undo', 'cancelled'), cancel('b'), attemptArmed);
    atGate
      .after(cancelled())
      .when({ type: 'deadline_passed', kind: 'gate', armed: '3.0' })
      .thenNothingHappens();
  });
});

describe('2ps-ov gate with both', () => {
  const gate = { signal: 'ok', delayMs: 1_000 };
  const atGate = toGate(gate);

  it('opens when the second of them has come', () => {
    atGate.when(signal('approve')).thenEmits().thenTimers('gate 1002').thenOutstanding();
    atGate.after(signal('approve')).when(passed('gate')).thenEmits(verify('a'), verify('b'), attemptArmed);
    atGate.when(passed('gate')).thenEmits().thenTimers().thenOutstanding();
    atGate.after(passed('gate')).when(signal('approve')).thenEmits(verify('a'), verify('b'), attemptArmed);
  });

  it('says what it waits for', () => {
    atGate
      .when(at(5, signal('approve', 'other')))
      .thenViews({ waitsFor: 'the delay of its gate; the signal ok' });
    atGate.when(signal('approve')).thenViews({ waitsFor: 'the delay of its gate' });
  });

  it('a rejection counts though the delay runs', () =>
    atGate
      .when(signal('reject'))
      .thenEmits(decide('undo', 'rejected'), cancel('b'), attemptArmed)
      .thenTimers('attempt b 10003'));
});

describe('2ps-ov verify', () => {
  const verifying = toGate({ signal: 'ok' }).after(signal('approve'));

  it('done by all: execute to all', () => {
    verifying
      .when(verified('a', { output: 9 }))
      .thenEmits()
      .thenOutstanding('b verify 1');
    verifying
      .after(verified('a', { output: 9 }))
      .when(report('b', 'verify', 'read-only'))
      .thenEmits(command('a', 'execute', { output: 9 }), command('b', 'execute'), attemptArmed);
  });

  it('is not asked of who had nothing to prepare', () =>
    given(held({ signal: 'ok' }))
      .after(report('a', 'prepare', 'read-only'), prepared('b'))
      .when(signal('approve'))
      .thenEmits(verify('b'), attemptArmed));

  it.each(['refused', 'stale', 'conflict'] as const)(
    '%s: back, nothing executed, all cancelled',
    (answer) => {
      verifying
        .after(verified('a'))
        .when(report('b', 'verify', answer))
        .thenEmits(decide('undo', answer), cancel('b'), attemptArmed);
      verifying
        .after(verified('a'), report('b', 'verify', answer))
        .when(report('b', 'cancel', 'done'))
        .thenEmits(cancel('a'), attemptArmed);
    },
  );

  it('overdue: back', () =>
    toGate({ signal: 'ok' }, { deadlines: { verify: exactly(50) } })
      .after(signal('approve'), verified('a'))
      .when(passed('phase', { step: 'b' }))
      .thenEmits(decide('undo', 'deadline'), cancel('b'), attemptArmed));

  it('ignores late words about prepare', () => {
    verifying.when(prepared('a')).thenNothingHappens();
    verifying.when(report('a', 'prepare', 'refused')).thenNothingHappens();
    verifying
      .when({
        type: 'deadline_passed',
        kind: 'attempt',
        step: 'a',
        phase: 'prepare',
        attempt: 1,
        armed: '4.0',
      })
      .thenNothingHappens();
  });
});

describe('1.5ps', () => {
  const mail = { participant: 'mail', action: 'send' };
  const source: Plan = {
    name: 'order',
    steps: [{ participant: 'stock', action: 'take', retry: { maxAttempts: 1 } }],
    eventual: [mail],
    deadlines: { run: { lower: 90_000 } },
  };
  const compiledOnce = compilePlan('2ps', source);
  if (!compiledOnce.ok) throw new Error(compiledOnce.problem.problem);
  const order = compiledOnce.plan;
  const handed = given(order).after(prepared('stock'));
  const child: ChildSpec = { pattern: 'eventual', plan: { name: 'order', steps: [mail] } };
  const begin = (more = {}) => command('eventual', 'execute', { child, ...more });
  const told = { status: 'completed', outputs: { stock: 'S' }, scope: 'critical' } as const;
  const undone = (code: string) => ({ status: 'compensated', code }) as const;
  const committed = handed.after(executed('stock', { output: 'S' }));
  const stuck = committed.after(report('eventual', 'execute', 'refused', { code: 'stale' }));

  it('begun: prepares the critical steps alone', () =>
    given(order).whenBegun().thenEmits(command('stock', 'prepare'), armIn(30_000)));

  it('behind a gate: nothing eventual begins before it opens, also when every step is read-only', () => {
    const gated = (gate: CompiledPlan['gate']) =>
      given({ ...order, gate }).after(report('stock', 'prepare', 'read-only'));
    const signalled = gated({ signal: 'ok' });
    signalled.when(passed('run')).thenEmits(decide('undo', 'deadline'), end(undone('deadline')));
    signalled.when(signal('reject')).thenEmits(decide('undo', 'rejected'), end(undone('rejected')));
    const outcome = { status: 'completed', scope: 'critical' } as const;
    signalled.when(signal('approve')).thenEmits(decide('commit'), begin(), tell(outcome));
    given({ ...order, gate: { delayMs: 5_000, signal: undefined } })
      .when(report('stock', 'prepare', 'read-only'))
      .thenEmits(armIn(5_000))
      .thenViews({ phase: 'forward', waitsFor: 'the delay of its gate' });
    gated({ delayMs: 5_000, signal: undefined })
      .when(passed('gate'))
      .thenEmits(decide('commit'), begin(), tell(outcome));
  });

  it('executed: told completed, scope critical, and the child begins', () =>
    handed
      .when(executed('stock', { output: 'S' }))
      .thenEmits(decide('commit'), begin(), tell(told))
      .thenTimers()
      .thenViews({
        phase: 'committed',
        waitsFor: 'coordinator to answer execute of step eventual (attempt 1)',
      }));

  it('child done, read-only: ended completed', () => {
    committed.when(executed('eventual', { output: { n: 1 } })).thenEmits(end(told));
    committed.when(report('eventual', 'execute', 'read-only')).thenEmits(end(told));
  });

  it.each(['retry', 'unknown'] as const)('child %s: backs off', (answer) => {
    const waitMs = backoffMs(MUST_FINISH_POLICY, 1, { seed: 'tx-1/eventual/execute/1', retryAfterMs: 0 });
    committed.when(report('eventual', 'execute', answer)).thenEmits(armIn(waitMs));
  });

  it('child unknown: the next attempt after back-off', () =>
    committed
      .after(report('eventual', 'execute', 'unknown'))
      .when(passed('backoff'))
      .thenEmits(begin({ attempt: 2, since: BEGUN.time + 2 })));

  it.each(['refused', 'conflict', 'stale'] as const)('child %s: attention, nothing is undone', (answer) => {
    committed
      .when(report('eventual', 'execute', answer))
      .thenEmits(attend('eventual', 'execute', { code: answer }))
      .thenOutstanding();
  });

  it('child whose policy ends: attention', () => {
    const failed = (attempt: number) => report('eventual', 'execute', 'unknown', { attempt });
    const attempts = Array.from({ length: MUST_FINISH_POLICY.maxAttempts - 1 }, (_, index) => [
      failed(index + 1),
      passed('backoff'),
    ]).flat();
    committed
      .after(...attempts)
      .when(failed(MUST_FINISH_POLICY.maxAttempts))
      .thenEmits(attend('eventual', 'execute', { code: 'unknown' }));
  });

  it('cancel, run due: nothing, and no deadline of execute bounds the child', () => {
    committed.when(cancelled()).thenNothingHappens();
    committed.when({ type: 'deadline_passed', kind: 'run', armed: '1.0' }).thenNothingHappens();
  });

  it('retried, skipped, resolved, forced by a person', () => {
    const another = { from: 2, since: BEGUN.time + 4 };
    stuck
      .when(operator('item_retried', 'eventual'))
      .thenEmits(begin({ attempt: 2, since: BEGUN.time + 2, begun: another }));
    stuck.when(operator('item_skipped', 'eventual')).thenEmits(end({ ...told, status: 'resolved' }));
    stuck.when(operator('item_resolved', 'eventual', { answer: 'done' })).thenEmits(end(told));
    stuck.when(operator('item_resolved', 'eventual', { answer: 'refused' })).thenNothingHappens();
    stuck
      .when({ type: 'forced', raised: '4.0', decision: 'complete', reason: 'r' })
      .thenEmits(end({ ...told, status: 'resolved' }));
    stuck.when({ type: 'forced', raised: '4.0', decision: 'undo', reason: 'r' }).thenNothingHappens();
  });

  it('ends when the child reports after all', () => stuck.when(executed('eventual')).thenEmits(end(told)));

  it('failed: back, and there is no child', () =>
    handed
      .when(report('stock', 'execute', 'refused'))
      .thenEmits(decide('undo', 'refused'), command('stock', 'cancel', { ran: true }), armIn(30_000)));

  it('reserves the id of the hand-over', () => {
    const named = (step: object): Plan => ({
      ...source,
      steps: [{ participant: 'x', action: 'a', ...step }],
    });
    expect(planProblems('2ps', named({ step: 'eventual' })).map(({ field }) => field)).toStrictEqual([
      'steps[0].step',
    ]);
    expect(planProblems('2ps', named({ participant: 'eventual' })).map(({ field }) => field)).toStrictEqual([
      'steps[0].participant',
    ]);
    const { eventual: _, ...plain } = named({ step: 'eventual' });
    expect(planProblems('2ps', plain)).toStrictEqual([]);
  });
});
