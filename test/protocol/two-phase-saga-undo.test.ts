// Goal: what a 2PS undoes is undone once, in reverse, and nothing that turns out late escapes.
import { describe, it } from 'vitest';
import { backoffMs } from '../../src/protocol/act.ts';
import { twoPhaseSaga } from '../../src/protocol/two-phase-saga.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import { armIn, attend, command, end, operator, passed, report, specOf, tell } from '../kit/machine-spec.ts';

const given = specOf(twoPhaseSaga);
const prepared = (step: string, more = {}) => report(step, 'prepare', 'done', more);
const executed = (step: string, more = {}) => report(step, 'execute', 'done', more);
const undone = (step: string, phase: 'cancel' | 'compensate', attempt = 1) =>
  report(step, phase, 'done', { attempt });
const cancel = (step: string, more = {}) => command(step, 'cancel', { ran: true, ...more });
const compensate = (step: string, more = {}) => command(step, 'compensate', { ran: true, ...more });
const attemptArmed = armIn(RETRY.attemptMs);
const once = (step: string, more = {}): StepSpec => ({ step, retry: { ...RETRY, maxAttempts: 1 }, ...more });
const onceUndone = (step: string): StepSpec => ({ step, undoRetry: { ...RETRY, maxAttempts: 1 } });
const exactly = (ms: number) => ({ lowerMs: ms, upperMs: ms * 2 });
const forced = (raised: string, decision: 'commit' | 'abort' | 'complete' | 'undo') =>
  ({ type: 'forced', raised, decision, reason: 'by order' }) as const;

const pair = compiled('2ps', ['a', 'b']);
const both = given(pair).after(prepared('a'), prepared('b'));

describe('2ps undo', () => {
  const plan = compiled('2ps', [onceUndone('a'), onceUndone('b'), 'c']);
  const back = given(plan).after(prepared('a'), prepared('b'), report('c', 'prepare', 'refused'));
  const stuck = back.after(report('b', 'cancel', 'refused'));
  const outcome = { status: 'compensated', code: 'refused', step: 'c' } as const;

  it.each(['refused', 'conflict', 'stale', 'unknown'] as const)(
    '%s: attention, and the step before has its turn',
    (answer) => {
      back
        .when(report('b', 'cancel', answer))
        .thenEmits(cancel('a'), attend('b', 'cancel', { code: answer }), attemptArmed);
    },
  );

  it('in attention, with nothing else to do: the caller is told', () =>
    stuck.when(undone('a', 'cancel')).thenEmits(tell({ ...outcome, attention: true })));

  it('is tried again by its own policy', () =>
    given(pair)
      .after(prepared('a'), report('b', 'prepare', 'refused'))
      .when(passed('attempt'))
      .thenEmits(armIn(backoffMs(RETRY, 1, { seed: 'tx-1/a/cancel/1', retryAfterMs: 0 }))));

  it('is bounded by the deadline of its phase', () =>
    given(compiled('2ps', ['a', 'b'], { deadlines: { cancel: exactly(600) } }))
      .after(prepared('a'), report('b', 'prepare', 'refused'))
      .when(passed('step'))
      .thenEmits(
        attend('a', 'cancel', { code: 'deadline' }),
        tell({ status: 'compensated', code: 'refused', step: 'b', attention: true }),
      ));

  it('settles itself when the answer comes late', () =>
    stuck.after(undone('a', 'cancel')).when(undone('b', 'cancel')).thenEmits(end(outcome)));

  it('retried, skipped or resolved by a person', () => {
    const asked = stuck.after(undone('a', 'cancel'));
    asked.when(operator('item_retried', 'b')).thenEmits(cancel('b', { attempt: 2 }), attemptArmed);
    asked.when(operator('item_skipped', 'b')).thenEmits(end({ ...outcome, status: 'resolved' }));
    asked.when(operator('item_resolved', 'b', { answer: 'done' })).thenEmits(end(outcome));
    asked.when(operator('item_resolved', 'b', { answer: 'refused' })).thenNothingHappens();
    asked.when(forced('5.0', 'undo')).thenNothingHappens();
  });

  it('is not told by an answer of the other undo', () =>
    back.when(undone('b', 'compensate')).thenNothingHappens());

  it('is not stopped by a deadline of the other undo', () =>
    back
      .when({
        type: 'deadline_passed',
        kind: 'attempt',
        step: 'b',
        phase: 'compensate',
        attempt: 1,
        armed: '4.0',
      })
      .thenNothingHappens());
});

describe('2ps act that turns out to have run', () => {
  // `b` never answers its prepare and is cancelled unseen; `a` comes after it and keeps the run open.
  const undoing = given(compiled('2ps', ['a', once('b')])).after(
    prepared('a'),
    passed('attempt', { step: 'b' }),
  );
  const answered = undoing.after(undone('b', 'cancel'));

  it('noted while its undo is in flight, said with the next attempt', () => {
    undoing
      .when(prepared('b', { output: 1 }))
      .thenEmits()
      .thenOutstanding('b cancel 1');
    undoing
      .after(prepared('b', { output: 1 }), report('b', 'cancel', 'retry'))
      .when(passed('backoff', { step: 'b' }))
      .thenEmits(cancel('b', { attempt: 2, output: 1 }), attemptArmed);
  });

  it('after its undo: undone again, once', () => {
    answered.when(prepared('b')).thenEmits(cancel('b', { attempt: 2 }), attemptArmed);
    answered.after(prepared('b')).when(undone('b', 'cancel')).thenNothingHappens();
    answered
      .after(prepared('b'), undone('b', 'cancel', 2))
      .when(prepared('b'))
      .thenNothingHappens();
  });

  it('execute, after a compensate that was answered: compensated again', () => {
    const open = given(compiled('2ps', ['a', once('b')])).after(
      prepared('a'),
      prepared('b'),
      passed('attempt', { step: 'b' }),
      undone('b', 'compensate'),
    );
    open
      .when(executed('b', { output: 2 }))
      .thenEmits(compensate('b', { attempt: 2, output: 2 }), attemptArmed);
    open.when(report('b', 'execute', 'read-only')).thenNothingHappens();
    open.when(prepared('b')).thenNothingHappens();
    open.when(executed('b', { attempt: 2 })).thenNothingHappens();
  });

  it('a late effect of an earlier phase: undone again, and the execute stays unknown', () => {
    const open = given(compiled('2ps', ['a', once('b')])).after(
      prepared('a'),
      prepared('b'),
      passed('attempt', { step: 'b' }),
    );
    const late = prepared('b', { lateEffect: true });
    open.when(late).thenEmits(compensate('b', { attempt: 2, redo: 2 }), attemptArmed);
    open.after(late).when(undone('b', 'compensate')).thenNothingHappens();
    open
      .after(late, undone('b', 'compensate', 2))
      .when(executed('b'))
      .thenEmits(compensate('b', { attempt: 3, redo: 2 }), attemptArmed);
  });

  const contradiction = {
    code: 'contradiction',
    message: 'execute has taken effect although it was said not to have: cancel leaves that',
  };

  it.each([
    ['in flight', []],
    ['answered', [undone('b', 'cancel')]],
    ['in attention', [report('b', 'cancel', 'refused')]],
  ])('execute, with a cancel %s: contradiction, never both', (_, before) => {
    const open = both.after(report('b', 'execute', 'refused'), executed('a'), ...before);
    const contradicted = open.after(executed('b'));
    const isFirst = before.length === 0;
    open
      .when(executed('b'))
      .thenEmits(
        ...(isFirst ? [compensate('a')] : []),
        attend('b', 'cancel', contradiction),
        ...(isFirst ? [attemptArmed] : []),
      );
    contradicted.when(executed('b', { lateEffect: true })).thenNothingHappens();
    contradicted.when(undone('b', 'cancel')).thenNothingHappens();
    contradicted.when(operator('item_retried', 'b')).thenNothingHappens();
    contradicted
      .after(undone('a', 'compensate'))
      .when(operator('item_skipped', 'b'))
      .thenEmits(end({ status: 'resolved', code: 'refused', step: 'b' }));
    contradicted
      .after(undone('a', 'compensate'))
      .when(operator('item_resolved', 'b', { answer: 'done' }))
      .thenEmits(end({ status: 'compensated', code: 'refused', step: 'b' }));
  });
});
