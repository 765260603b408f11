// Goal: the rows of the tables of saga, 2PS, 3PS and 0.5PS hold for every input that they list.
// Method: given/when/then on the pure machines; what the other specs leave out, one answer at a time.
import { describe, it } from 'vitest';
import type { Phase } from '../../src/kernel/vocabulary.ts';
import { backoffMs } from '../../src/protocol/act.ts';
import { eventual } from '../../src/protocol/eventual.ts';
import { saga } from '../../src/protocol/saga.ts';
import { threePhaseSaga } from '../../src/protocol/three-phase-saga.ts';
import { twoPhaseSaga } from '../../src/protocol/two-phase-saga.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import {
  armIn,
  BEGUN,
  cancelled,
  command,
  decide,
  end,
  passed,
  report,
  specOf,
  type Expected,
  type Happening,
  type Scenario,
} from '../kit/machine-spec.ts';

const attemptArmed = armIn(RETRY.attemptMs);
const once = (step: string): StepSpec => ({ step, retry: { ...RETRY, maxAttempts: 1 } });
const exactly = (ms: number) => ({ lowerMs: ms, upperMs: ms * 2 });
const exec = (step: string, answer: 'done' | 'refused' | 'read-only' = 'done', more = {}) =>
  report(step, 'execute', answer, more);

/** Retry, unknown and overdue arm the same back-off, after which the second attempt is sent as `more` says. */
function backsOff(run: Scenario, step: string, phase: Phase, more: object): void {
  const waitMs = backoffMs(RETRY, 1, { seed: `tx-1/${step}/${phase}/1`, retryAfterMs: 0 });
  const inputs: readonly Happening[] = [
    report(step, phase, 'retry'),
    report(step, phase, 'unknown'),
    passed('attempt', { step }),
  ];
  for (const input of inputs) run.when(input).thenEmits(armIn(waitMs));
  const next: Expected = command(step, phase, { attempt: 2, ...more });
  run
    .after(report(step, phase, 'unknown'))
    .when(passed('backoff', { step }))
    .thenEmits(next, attemptArmed);
}

describe('saga, each answer', () => {
  const given = specOf(saga);
  const steps: StepSpec[] = [
    'stock',
    { step: 'pay', kind: 'pivot', after: ['stock'] },
    { step: 'mail', kind: 'retriable', after: ['pay'] },
  ].map((step) => (typeof step === 'string' ? { step } : (step as StepSpec)));
  const past = given(compiled('saga', steps, { pivot: 1 })).after(exec('stock'), exec('pay'));
  const back = given(compiled('saga', ['a', { step: 'b', after: ['a'] }])).after(
    exec('a'),
    exec('b', 'refused'),
  );

  it('backs off past the point of no return', () =>
    backsOff(past, 'mail', 'execute', { since: BEGUN.time + 2 }));

  it('takes read-only for done past the point of no return', () =>
    past.when(exec('mail', 'read-only')).thenEmits(end({ status: 'completed' })));

  it('backs off in compensate', () => backsOff(back, 'a', 'compensate', { ran: true }));

  it('takes read-only of compensate for undone', () =>
    back
      .when(report('a', 'compensate', 'read-only'))
      .thenEmits(end({ status: 'compensated', code: 'refused', step: 'b' })));
});

describe.each([
  { name: '2ps', machine: specOf(twoPhaseSaga), acts: ['prepare'], undo: 'cancel' },
  { name: '3ps', machine: specOf(threePhaseSaga), acts: ['reserve', 'validate'], undo: 'release' },
] as const)('$name, each answer', ({ name, machine, acts, undo }) => {
  const [first] = acts;
  const ready = (step: string) => acts.map((phase) => report(step, phase, 'done'));
  const pair = machine(compiled(name, ['a', 'b']));
  /** `b` refused to prepare: `a` alone is to be undone. */
  const back = pair.after(...ready('a'), report('b', first, 'refused'));
  const waits = { code: 'refused', step: 'b' };

  it('backs off in its first phase', () => backsOff(pair, 'a', first, { since: BEGUN.time }));

  it('backs off in its undo', () => backsOff(back, 'a', undo, { ran: true }));

  it('takes read-only of an undo for undone', () =>
    back.when(report('a', undo, 'read-only')).thenEmits(end({ status: 'compensated', ...waits })));

  it('gives what is overdue on the way back no further attempt', () =>
    pair
      .after(report('b', first, 'refused'))
      .when(passed('attempt', { step: 'a' }))
      .thenEmits(command('a', undo, { ran: false }), attemptArmed));

  it('cancelled while executing: waits for what is in flight', () =>
    pair
      .after(...ready('a'), ...ready('b'))
      .when(cancelled())
      .thenEmits(decide('undo', 'cancelled'))
      .thenOutstanding('a execute 1', 'b execute 1'));

  it('execute refused: back', () =>
    pair
      .after(...ready('a'), ...ready('b'))
      .when(exec('a', 'refused'))
      .thenEmits(decide('undo', 'refused'))
      .thenOutstanding('b execute 1'));

  it('a late no, before its undo: there is less to undo', () => {
    const late = machine(compiled(name, [once('a'), 'b'])).after(
      ...ready('a'),
      ...ready('b'),
      passed('attempt', { step: 'a' }),
    );
    late.when(exec('a', 'refused')).thenEmits().thenOutstanding('b execute 1');
    late
      .after(exec('a', 'refused'))
      .when(exec('b', 'refused'))
      .thenEmits(command('b', undo, { ran: true }), attemptArmed);
  });
});

describe('2ps-ov and 1.5ps, each answer', () => {
  const held = compiled('2ps', ['a', 'b'], { gate: { signal: 'ok' } });
  const verifying = specOf(twoPhaseSaga)(held).after(
    report('a', 'prepare', 'done'),
    report('b', 'prepare', 'done'),
    { type: 'signalled', name: 'ok', verdict: 'approve' },
  );

  it('verify done by all: execute to all', () =>
    verifying
      .after(report('a', 'verify', 'done'))
      .when(report('b', 'verify', 'done'))
      .thenEmits(command('a', 'execute'), command('b', 'execute'), attemptArmed));
});

describe('0.5PS, each answer', () => {
  const given = specOf(eventual);
  const plan = compiled('eventual', ['mail', 'stats']);
  const confirmed = compiled('eventual', ['mail'], { deadlines: { confirm: exactly(60_000) } });

  it('backs off in execute', () => backsOff(given(plan), 'mail', 'execute', { since: BEGUN.time }));

  it('backs off in confirm', () =>
    backsOff(given(confirmed).after(exec('mail')), 'mail', 'confirm', { since: BEGUN.time + 1 }));

  it('read-only when dead: taken after all', () =>
    given(compiled('eventual', [once('mail'), 'stats']))
      .after(report('mail', 'execute', 'unknown'))
      .when(exec('mail', 'read-only'))
      .thenEmits()
      .thenOutstanding('stats execute 1'));
});
