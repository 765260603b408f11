// Goal: in a 3PS nothing executes before all have validated, each at its own pace, and what was reserved is released.
// Method: feed events to the pure machine; the kit checks M1-M4 after every step.
import { describe, it } from 'vitest';
import { backoffMs } from '../../src/protocol/act.ts';
import { threePhaseSaga } from '../../src/protocol/three-phase-saga.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import {
  armIn,
  attend,
  BEGUN,
  cancelled,
  command,
  decide,
  end,
  killed,
  operator,
  passed,
  report,
  specOf,
  tell,
} from '../kit/machine-spec.ts';

const given = specOf(threePhaseSaga);
const reserved = (step: string, more = {}) => report(step, 'reserve', 'done', more);
const validated = (step: string, more = {}) => report(step, 'validate', 'done', more);
const executed = (step: string, more = {}) => report(step, 'execute', 'done', more);
const undone = (step: string, phase: 'release' | 'compensate', attempt = 1) =>
  report(step, phase, 'done', { attempt });
const reserve = (step: string, more = {}) => command(step, 'reserve', more);
const validate = (step: string, more = {}) => command(step, 'validate', more);
const execute = (step: string, more = {}) => command(step, 'execute', more);
const release = (step: string, more = {}) => command(step, 'release', { ran: true, ...more });
const compensate = (step: string, more = {}) => command(step, 'compensate', { ran: true, ...more });
const attemptArmed = armIn(RETRY.attemptMs);
const once = (step: string, more = {}): StepSpec => ({ step, retry: { ...RETRY, maxAttempts: 1 }, ...more });
const exactly = (ms: number) => ({ lowerMs: ms, upperMs: ms * 2 });

const pair = compiled('3ps', ['a', 'b']);
const all = [reserved('a'), reserved('b'), validated('a'), validated('b')];
const executing = given(pair).after(...all);

describe('3ps forward', () => {
  it('begun: reserves everywhere at once', () =>
    given(pair).whenBegun().thenEmits(reserve('a'), reserve('b'), attemptArmed));

  it('reserve done: validates there, whatever the others do', () =>
    given(compiled('3ps', [{ step: 'a', input: { sku: 1 } }, 'b']))
      .when(reserved('a', { output: { hold: 1 } }))
      .thenEmits(validate('a', { output: { hold: 1 } }), attemptArmed)
      .thenOutstanding('a validate 1', 'b reserve 1'));

  it('validate done by one: nothing executes', () =>
    given(pair).after(reserved('a')).when(validated('a')).thenEmits().thenOutstanding('b reserve 1'));

  it('validate done by all: all execute', () =>
    given(pair)
      .after(reserved('b'), validated('b', { output: 2 }), reserved('a', { output: 1 }))
      .when(validated('a'))
      .thenEmits(execute('a', { output: 1 }), execute('b', { output: 2 }), attemptArmed));

  it('takes read-only of validate for done', () =>
    given(pair)
      .after(reserved('a'), reserved('b'), validated('a'))
      .when(report('b', 'validate', 'read-only'))
      .thenEmits(execute('a'), execute('b'), attemptArmed));

  it('reserve read-only: that step has no further part', () => {
    const without = given(pair).after(report('a', 'reserve', 'read-only'));
    without.after(reserved('b')).when(validated('b')).thenEmits(execute('b'), attemptArmed);
    given(pair)
      .after(reserved('b'), validated('b'))
      .when(report('a', 'reserve', 'read-only'))
      .thenEmits(execute('b'), attemptArmed);
    without
      .when(report('b', 'reserve', 'read-only'))
      .thenEmits(decide('commit'), end({ status: 'completed' }));
  });

  it('execute done by all: ended completed', () =>
    executing
      .after(executed('b', { output: 'B' }))
      .when(executed('a'))
      .thenEmits(decide('commit'), end({ status: 'completed', outputs: { b: 'B' } })));

  it.each(['retry', 'unknown', 'heuristic', 'terminated'] as const)(
    '%s: the next attempt after back-off',
    (answer) => {
      const waitMs = backoffMs(RETRY, 1, { seed: 'tx-1/a/validate/1', retryAfterMs: 0 });
      const open = given(pair).after(reserved('a'));
      open.when(report('a', 'validate', answer)).thenEmits(armIn(waitMs));
      open
        .after(report('a', 'validate', answer))
        .when(passed('backoff'))
        .thenEmits(validate('a', { attempt: 2, since: BEGUN.time + 1 }), attemptArmed);
    },
  );

  it('bounds each phase from its own first command', () => {
    const plan = compiled('3ps', ['a', 'b'], {
      deadlines: { reserve: exactly(500), validate: exactly(70), execute: exactly(900) },
    });
    given(plan).whenBegun().thenTimers('attempt a 10000', 'attempt b 10000', 'phase a 500', 'phase b 500');
    given(plan)
      .when(reserved('a'))
      .thenTimers('attempt a 10001', 'phase a 71', 'attempt b 10000', 'phase b 500');
    given(plan)
      .after(...all.slice(0, 3))
      .when(validated('b'))
      .thenTimers('attempt a 10004', 'phase a 904', 'attempt b 10004', 'phase b 904');
  });

  it('ignores what says nothing new', () => {
    const open = given(pair).after(reserved('a'));
    open.when(reserved('a')).thenNothingHappens();
    open.when(report('a', 'reserve', 'refused')).thenNothingHappens();
    open.when(executed('a')).thenNothingHappens();
    open.when(report('a', 'prepare', 'done')).thenNothingHappens();
    open.when({ type: 'signalled', name: 'go', verdict: 'reject' }).thenNothingHappens();
    executing.when(validated('a')).thenNothingHappens();
  });
});

describe('3ps reservation', () => {
  const until = (ms: number) => ({ expiresAt: BEGUN.time + ms });
  const open = given(pair).after(reserved('b'), validated('b', {}));
  const timed = given(pair).after(reserved('a', until(2_000)));

  it('is watched until its execute is commanded', () => {
    given(pair)
      .when(reserved('a', until(2_000)))
      .thenEmits(validate('a'), armIn(1_999))
      .thenTimers('attempt a 10001', 'reservation a 2000', 'attempt b 10000');
    timed.when(validated('a')).thenEmits().thenTimers('reservation a 2000', 'attempt b 10000');
    timed
      .after(validated('a'), reserved('b'))
      .when(validated('b'))
      .thenTimers('attempt a 10004', 'attempt b 10004');
  });

  it('due: back, expired, and released all the same', () => {
    timed
      .after(validated('a'))
      .when(passed('reservation'))
      .thenEmits(decide('undo', 'expired'))
      .thenOutstanding('b reserve 1');
    timed
      .after(validated('a'), passed('reservation'), reserved('b'), undone('b', 'release'))
      .when(undone('a', 'release'))
      .thenEmits(end({ status: 'compensated', code: 'expired', step: 'a' }));
  });

  it('due while it is being validated: waits for that', () => {
    timed.when(passed('reservation')).thenOutstanding('a validate 1', 'b reserve 1');
    timed
      .after(report('b', 'reserve', 'read-only'), passed('reservation'))
      .when(validated('a'))
      .thenEmits(release('a'), attemptArmed);
  });

  it('that has ended when it is told is due at once', () =>
    open.when(reserved('a', { expiresAt: BEGUN.time - 5 })).thenEmits(validate('a'), armIn(-8)));

  it('counts no more once execute is commanded, or on the way back', () => {
    const late = { type: 'deadline_passed', kind: 'reservation', step: 'a', armed: '2.0' } as const;
    timed.after(validated('a'), reserved('b'), validated('b')).when(late).thenNothingHappens();
    timed.after(cancelled()).when(late).thenNothingHappens();
  });

  it('is not in the answers of other phases', () =>
    given(pair)
      .after(reserved('a'))
      .when(validated('a', until(10)))
      .thenTimers('attempt b 10000'));
});

describe('3ps that fails', () => {
  it.each(['refused', 'conflict', 'stale'] as const)('reserve %s: releases what is reserved', (answer) => {
    given(pair)
      .after(reserved('a'), validated('a'))
      .when(report('b', 'reserve', answer, { mayHaveRun: true }))
      .thenEmits(decide('undo', answer), release('b', { ran: false }), attemptArmed);
  });

  it('reserve refused that left nothing: nothing to release there', () =>
    given(pair)
      .after(reserved('a', { output: 4 }), validated('a'))
      .when(report('b', 'reserve', 'refused'))
      .thenEmits(decide('undo', 'refused'), release('a', { output: 4 }), attemptArmed));

  it.each(['refused', 'stale'] as const)('validate %s: nothing executes, all is released', (answer) => {
    const back = given(pair).after(reserved('a'), reserved('b'), validated('a'));
    back.when(report('b', 'validate', answer)).thenEmits(decide('undo', answer), release('b'), attemptArmed);
    back
      .after(report('b', 'validate', answer))
      .when(undone('b', 'release'))
      .thenEmits(release('a'), attemptArmed);
    back
      .after(report('b', 'validate', answer), undone('b', 'release'))
      .when(undone('a', 'release'))
      .thenEmits(end({ status: 'compensated', code: answer, step: 'b' }));
  });

  it('after its policy, or the deadline of its phase or of the step', () => {
    given(compiled('3ps', ['a', once('b')]))
      .after(reserved('b'))
      .when(passed('attempt', { step: 'b' }))
      .thenEmits(decide('undo', 'deadline'), release('b'), attemptArmed);
    given(compiled('3ps', ['a', 'b'], { deadlines: { validate: exactly(70) } }))
      .after(reserved('b'))
      .when(passed('phase'))
      .thenEmits(decide('undo', 'deadline'), release('b'), attemptArmed);
    given(compiled('3ps', ['a', { step: 'b', deadline: exactly(70) }]))
      .when(passed('step'))
      .thenEmits(decide('undo', 'deadline'), release('b', { ran: false }), attemptArmed);
  });

  it('while others are on their way: no further phase for them', () => {
    const back = given(pair).after(report('b', 'reserve', 'refused'));
    back.when(reserved('a')).thenEmits(release('a'), attemptArmed);
    back
      .when(report('a', 'reserve', 'unknown', { code: 'isolate' }))
      .thenEmits(release('a', { ran: false }), attemptArmed);
  });

  it('execute refused: compensates what ran, releases what did not, in reverse', () => {
    executing
      .after(report('a', 'execute', 'refused'))
      .when(executed('b'))
      .thenEmits(compensate('b'), attemptArmed);
    executing
      .after(report('a', 'execute', 'refused'), executed('b'))
      .when(undone('b', 'compensate'))
      .thenEmits(release('a'), attemptArmed);
  });

  it('execute said late not to have run, before its undo: released', () =>
    given(compiled('3ps', [once('a'), 'b']))
      .after(...all, passed('attempt', { step: 'a' }), report('a', 'execute', 'retry'), executed('b'))
      .when(undone('b', 'compensate'))
      .thenEmits(release('a'), attemptArmed));

  it('cancelled, run due: back, in whatever phase', () => {
    executing.after(cancelled()).when(executed('b')).thenEmits(compensate('b'), attemptArmed);
    given(compiled('3ps', ['a', 'b'], { deadlines: { run: exactly(5_000) } }))
      .after(reserved('b'))
      .when(passed('run'))
      .thenEmits(decide('undo', 'deadline'));
  });

  it('killed: ended, nothing is undone', () =>
    executing.when(killed()).thenEmits(end({ status: 'killed', code: 'killed', message: 'beyond repair' })));
});

describe('3ps undo', () => {
  const onceUndone = (step: string) => ({ step, undoRetry: { ...RETRY, maxAttempts: 1 } });
  const back = given(compiled('3ps', ['a', onceUndone('b'), 'c'])).after(
    reserved('a'),
    validated('a'),
    reserved('b'),
    validated('b'),
    report('c', 'reserve', 'refused'),
  );
  const stuck = back.after(report('b', 'release', 'unknown'), undone('a', 'release'));
  const outcome = { status: 'compensated', code: 'refused', step: 'c' } as const;

  it.each(['refused', 'conflict', 'stale', 'unknown'] as const)(
    '%s: attention, and the step before has its turn',
    (answer) => {
      back
        .when(report('b', 'release', answer))
        .thenEmits(release('a'), attend('b', 'release', { code: answer }), attemptArmed);
    },
  );

  it('retry, unknown, due: the next attempt by its own policy', () => {
    const open = given(pair).after(reserved('a'), report('b', 'reserve', 'refused'), validated('a'));
    const waitMs = backoffMs(RETRY, 1, { seed: 'tx-1/a/release/1', retryAfterMs: 0 });
    open.when(report('a', 'release', 'retry')).thenEmits(armIn(waitMs));
    open.when(passed('attempt')).thenEmits(armIn(waitMs));
    open
      .after(report('a', 'release', 'unknown'))
      .when(passed('backoff'))
      .thenEmits(release('a', { attempt: 2 }), attemptArmed);
  });

  it('read-only: undone', () =>
    back.when(report('b', 'release', 'read-only')).thenEmits(release('a'), attemptArmed));

  it('in attention, with nothing else to do: the caller is told', () =>
    back
      .after(report('b', 'release', 'unknown'))
      .when(undone('a', 'release'))
      .thenEmits(tell({ ...outcome, attention: true })));

  it('retried, skipped, resolved by a person; or answered late', () => {
    stuck
      .when(operator('item_retried', 'b'))
      .thenEmits(release('b', { attempt: 2, since: BEGUN.time }), attemptArmed);
    stuck.when(operator('item_skipped', 'b')).thenEmits(end({ ...outcome, status: 'resolved' }));
    stuck.when(operator('item_resolved', 'b', { answer: 'done' })).thenEmits(end(outcome));
    stuck.when(undone('b', 'release')).thenEmits(end(outcome));
  });

  it('act done while its undo is in flight is noted, after its answer undone again', () => {
    const unseen = given(compiled('3ps', ['a', once('b')])).after(passed('attempt', { step: 'b' }));
    unseen.when(reserved('b')).thenEmits().thenOutstanding('a reserve 1', 'b release 1');
    unseen
      .after(undone('b', 'release'))
      .when(reserved('b', { output: 1 }))
      .thenEmits(release('b', { attempt: 2, output: 1 }), attemptArmed);
    unseen
      .when(reserved('b', { lateEffect: true }))
      .thenEmits(release('b', { attempt: 2, redo: 2 }), attemptArmed);
  });

  it('execute done after release: contradiction, never both', () =>
    executing
      .after(report('b', 'execute', 'refused'), executed('a'), undone('b', 'release'))
      .when(executed('b'))
      .thenEmits(
        attend('b', 'release', {
          code: 'contradiction',
          message: 'execute has taken effect although it was said not to have: release leaves that',
        }),
      ));

  it('ended: nothing follows', () =>
    stuck.after(operator('item_skipped', 'b')).when(undone('b', 'release')).thenNothingHappens());
});
