// Goal: a 2PS executes only what all have prepared, and once it turns back undoes exactly what it left, in reverse.
// Method: feed events to the pure machine; the kit checks M1-M4 after every step.
import { describe, it } from 'vitest';
import { backoffMs } from '../../src/protocol/act.ts';
import { twoPhaseSaga } from '../../src/protocol/two-phase-saga.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import {
  armIn,
  at,
  BEGUN,
  cancelled,
  command,
  decide,
  end,
  killed,
  passed,
  report,
  specOf,
} from '../kit/machine-spec.ts';

const given = specOf(twoPhaseSaga);
const prepared = (step: string, more = {}) => report(step, 'prepare', 'done', more);
const executed = (step: string, more = {}) => report(step, 'execute', 'done', more);
const undone = (step: string, phase: 'cancel' | 'compensate', attempt = 1) =>
  report(step, phase, 'done', { attempt });
const prepare = (step: string, more = {}) => command(step, 'prepare', more);
const execute = (step: string, more = {}) => command(step, 'execute', more);
const cancel = (step: string, more = {}) => command(step, 'cancel', { ran: true, ...more });
const compensate = (step: string, more = {}) => command(step, 'compensate', { ran: true, ...more });
const attemptArmed = armIn(RETRY.attemptMs);
const once = (step: string, more = {}): StepSpec => ({ step, retry: { ...RETRY, maxAttempts: 1 }, ...more });
const exactly = (ms: number) => ({ lowerMs: ms, upperMs: ms * 2 });

const pair = compiled('2ps', ['a', 'b']);
const both = given(pair).after(prepared('a'), prepared('b'));

describe('2ps prepare', () => {
  it('is sent to all at once', () =>
    given(pair)
      .whenBegun()
      .thenEmits(prepare('a'), prepare('b'), attemptArmed)
      .thenViews({ phase: 'forward', steps: [{ phase: 'prepare', status: 'commanded' }, {}] }));

  it('waits until all are prepared', () =>
    given(pair).when(prepared('a')).thenEmits().thenOutstanding('b prepare 1'));

  it('done by all: all execute, with what they reported', () =>
    given(compiled('2ps', [{ step: 'a', input: { n: 1 } }, 'b']))
      .after(prepared('a', { output: { hold: 7 } }))
      .when(prepared('b'))
      .thenEmits(execute('a', { output: { hold: 7 } }), execute('b'), attemptArmed)
      .thenOutstanding('a execute 1', 'b execute 1'));

  it('read-only: that step has no further part', () =>
    given(pair)
      .after(report('a', 'prepare', 'read-only'))
      .when(prepared('b'))
      .thenEmits(execute('b'), attemptArmed));

  it('read-only by all: ended completed', () =>
    given(pair)
      .after(report('a', 'prepare', 'read-only'))
      .when(report('b', 'prepare', 'read-only'))
      .thenEmits(decide('commit'), end({ status: 'completed' })));

  it.each(['retry', 'unknown', 'heuristic', 'terminated'] as const)(
    '%s: the next attempt after back-off',
    (answer) => {
      const waitMs = backoffMs(RETRY, 1, { seed: 'tx-1/a/prepare/1', retryAfterMs: 0 });
      const failed = given(pair).after(report('a', 'prepare', answer));
      given(pair)
        .when(report('a', 'prepare', answer))
        .thenEmits(armIn(waitMs));
      failed.when(passed('backoff')).thenEmits(prepare('a', { attempt: 2, since: BEGUN.time }), attemptArmed);
    },
  );

  it('is due: the next attempt after back-off', () =>
    given(pair)
      .when(passed('attempt', { step: 'a' }))
      .thenEmits(armIn(backoffMs(RETRY, 1, { seed: 'tx-1/a/prepare/1', retryAfterMs: 0 }))));

  it('ignores what says nothing new', () => {
    both.when(prepared('a')).thenNothingHappens();
    both.when(report('a', 'prepare', 'refused')).thenNothingHappens();
    both.when(prepared('a', { lateEffect: true })).thenNothingHappens();
    given(pair).when(executed('a')).thenNothingHappens();
    given(pair).when(prepared('x')).thenNothingHappens();
    given(pair).when(undone('a', 'cancel')).thenNothingHappens();
    given(pair)
      .when(report('a', 'verify', 'done'))
      .thenNothingHappens();
    given(pair).when({ type: 'signalled', name: 'go', verdict: 'reject' }).thenNothingHappens();
    given(pair).when({ type: 'deadline_passed', kind: 'gate', armed: '1.0' }).thenNothingHappens();
    given(pair)
      .when({ type: 'deadline_passed', kind: 'reservation', step: 'a', armed: '1.0' })
      .thenNothingHappens();
  });
});

describe('2ps prepare that fails', () => {
  it.each([
    ['refused', 'refused'],
    ['conflict', 'conflict'],
    ['stale', 'stale'],
  ] as const)('%s: back, nothing executed', (answer, code) => {
    given(pair)
      .after(prepared('a', { output: 'A' }))
      .when(report('b', 'prepare', answer, { mayHaveRun: true }))
      .thenEmits(decide('undo', code), cancel('b', { ran: false }), attemptArmed);
  });

  it('known not to have run is not cancelled', () =>
    given(pair)
      .after(prepared('a', { output: 'A' }))
      .when(report('b', 'prepare', 'refused', { code: 'sold-out', message: 'none' }))
      .thenEmits(decide('undo', 'sold-out'), cancel('a', { output: 'A' }), attemptArmed));

  it('read-only has nothing to cancel', () =>
    given(pair)
      .after(report('a', 'prepare', 'read-only'))
      .when(report('b', 'prepare', 'refused'))
      .thenEmits(decide('undo', 'refused'), end({ status: 'compensated', code: 'refused', step: 'b' })));

  it('after its policy: back', () =>
    given(compiled('2ps', ['a', once('b')]))
      .after(prepared('a'))
      .when(passed('attempt', { step: 'b' }))
      .thenEmits(decide('undo', 'deadline'), cancel('b', { ran: false }), attemptArmed));

  it('after the deadline of its phase: back, and its act is settled', () => {
    const plan = compiled('2ps', ['a', 'b'], { deadlines: { prepare: exactly(700) } });
    given(plan)
      .whenBegun()
      .thenEmits(prepare('a', dueIn(1_400)), prepare('b', dueIn(1_400)), armIn(700));
    given(plan)
      .after(prepared('a'))
      .when(passed('phase', { step: 'b' }))
      .thenEmits(decide('undo', 'deadline'), cancel('b', { ran: false }), attemptArmed);
  });

  it('after the deadline of the step itself, which stands in place of that of the phase', () => {
    const plan = compiled('2ps', ['a', { step: 'b', deadline: exactly(300) }], {
      deadlines: { prepare: exactly(700) },
    });
    given(plan)
      .after(prepared('a'))
      .when(at(300, passed('step', { step: 'b' })))
      .thenEmits(decide('undo', 'deadline'), cancel('b', { ran: false }), attemptArmed);
    given(plan)
      .after(prepared('a'))
      .when(prepared('b'))
      .thenTimers('attempt a 10002', 'attempt b 10002', 'step b 302');
  });

  it('waits for what is in flight, without another attempt, and cancels in reverse', () => {
    const back = given(compiled('2ps', ['a', 'b', 'c'])).after(report('c', 'prepare', 'refused'));
    back.when(prepared('a')).thenEmits().thenOutstanding('b prepare 1');
    back
      .after(prepared('a'))
      .when(report('b', 'prepare', 'unknown'))
      .thenEmits(cancel('b', { ran: false }), attemptArmed);
    back
      .after(prepared('a'), report('b', 'prepare', 'unknown'))
      .when(undone('b', 'cancel'))
      .thenEmits(cancel('a'), attemptArmed);
    back
      .after(prepared('a'), prepared('b'), undone('b', 'cancel'))
      .when(undone('a', 'cancel'))
      .thenEmits(end({ status: 'compensated', code: 'refused', step: 'c' }));
  });

  it('isolation is no reason for another attempt any more', () =>
    given(pair)
      .after(report('a', 'prepare', 'refused'))
      .when(report('b', 'prepare', 'retry', { code: 'isolate' }))
      .thenEmits(end({ status: 'compensated', code: 'refused', step: 'a' })));

  it('settles at once what was backing off', () =>
    given(pair)
      .after(report('b', 'prepare', 'unknown'))
      .when(report('a', 'prepare', 'refused'))
      .thenEmits(decide('undo', 'refused'), cancel('b', { ran: false }), attemptArmed));
});

function dueIn(ms: number) {
  return { due: BEGUN.time + ms };
}

describe('2ps execute', () => {
  it('done by all: ended completed, with the last output of each', () =>
    given(pair)
      .after(prepared('a', { output: 1 }), prepared('b', { output: 2 }), executed('a', { output: 3 }))
      .when(executed('b'))
      .thenEmits(decide('commit'), end({ status: 'completed', outputs: { a: 3, b: 2 } })));

  it('takes read-only for done', () =>
    both
      .after(executed('a'))
      .when(report('b', 'execute', 'read-only'))
      .thenEmits(decide('commit'), end({ status: 'completed' })));

  it('refused: compensate what ran, in reverse, and cancel what did not', () => {
    const three = given(compiled('2ps', ['a', 'b', 'c'])).after(prepared('a'), prepared('b'), prepared('c'));
    const failed = three.after(executed('a'), report('b', 'execute', 'refused', { code: 'broke' }));
    three
      .after(executed('a'))
      .when(report('b', 'execute', 'refused', { code: 'broke' }))
      .thenEmits(decide('undo', 'broke'))
      .thenOutstanding('c execute 1');
    failed.when(executed('c', { output: 5 })).thenEmits(compensate('c', { output: 5 }), attemptArmed);
    failed.after(executed('c')).when(undone('c', 'compensate')).thenEmits(cancel('b'), attemptArmed);
    failed
      .after(executed('c'), undone('c', 'compensate'))
      .when(undone('b', 'cancel'))
      .thenEmits(compensate('a'), attemptArmed);
    failed
      .after(executed('c'), undone('c', 'compensate'), undone('b', 'cancel'))
      .when(undone('a', 'compensate'))
      .thenEmits(end({ status: 'compensated', code: 'broke', step: 'b' }));
  });

  it('that may have run is compensated, though it never answered', () =>
    given(compiled('2ps', ['a', once('b')]))
      .after(prepared('a'), prepared('b'), executed('a'))
      .when(passed('attempt', { step: 'b' }))
      .thenEmits(decide('undo', 'deadline'), compensate('b'), attemptArmed));

  it('after the deadline of its phase, which begins with the last prepare: back', () => {
    const plan = compiled('2ps', ['a', 'b'], { deadlines: { execute: exactly(900) } });
    const executing = given(plan).after(prepared('a'), prepared('b'));
    executing.when(executed('a')).thenEmits().thenTimers('attempt b 10002', 'phase b 902');
    executing
      .after(executed('a'))
      .when(passed('phase', { step: 'b' }))
      .thenEmits(decide('undo', 'deadline'), compensate('b'), attemptArmed);
  });

  it('read-only is compensated, too: it holds its preparation', () =>
    both
      .after(report('b', 'execute', 'read-only'))
      .when(report('a', 'execute', 'refused'))
      .thenEmits(decide('undo', 'refused'), compensate('b'), attemptArmed));

  it('done late, while its undo waits for its turn: compensated', () => {
    const waiting = given(compiled('2ps', [once('a'), 'b'])).after(
      prepared('a'),
      prepared('b'),
      report('a', 'execute', 'unknown'),
      executed('a'),
    );
    waiting.when(executed('b')).thenEmits(compensate('b'), attemptArmed);
    waiting.after(executed('b')).when(undone('b', 'compensate')).thenEmits(compensate('a'), attemptArmed);
  });

  it('said late not to have run, before its undo: cancelled', () =>
    given(compiled('2ps', [once('a'), 'b']))
      .after(
        prepared('a'),
        prepared('b'),
        passed('attempt', { step: 'a' }),
        report('a', 'execute', 'refused'),
      )
      .when(report('b', 'execute', 'refused'))
      .thenEmits(cancel('b'), attemptArmed));
});

describe('2ps cancelled and overdue', () => {
  const limited = compiled('2ps', ['a', 'b'], { deadlines: { run: exactly(5_000) } });
  const message = 'changed my mind';

  it('cancelled before execute: cancels what is prepared', () =>
    given(pair)
      .after(prepared('a'), cancelled(), prepared('b'), undone('b', 'cancel'))
      .when(undone('a', 'cancel'))
      .thenEmits(end({ status: 'cancelled', code: 'cancelled', message })));

  it('cancelled during execute: undoes what settles', () => {
    both
      .when(cancelled())
      .thenEmits(decide('undo', 'cancelled'))
      .thenOutstanding('a execute 1', 'b execute 1');
    both.after(cancelled(), executed('a')).when(executed('b')).thenEmits(compensate('b'), attemptArmed);
    both
      .after(cancelled(), report('a', 'execute', 'refused'), executed('b'), undone('b', 'compensate'))
      .when(undone('a', 'cancel'))
      .thenEmits(end({ status: 'cancelled', code: 'cancelled', message }));
  });

  it('cancelled on the way back: nothing', () => {
    both.after(cancelled()).when(cancelled()).thenNothingHappens();
    both
      .after(report('a', 'execute', 'refused'))
      .when(cancelled())
      .thenNothingHappens();
  });

  it('run due: back, in whatever phase', () => {
    given(limited).whenBegun().thenEmits(prepare('a'), prepare('b'), armIn(5_000));
    given(limited)
      .after(prepared('a'))
      .when(passed('run'))
      .thenEmits(decide('undo', 'deadline'))
      .thenTimers('attempt b 10000');
    given(limited)
      .after(prepared('a'), prepared('b'), executed('a'), executed('b'))
      .when({ type: 'deadline_passed', kind: 'run', armed: '1.0' })
      .thenNothingHappens();
    given(limited)
      .after(prepared('a'), prepared('b'), passed('run'), executed('a'))
      .when(executed('b'))
      .thenEmits(compensate('b'), attemptArmed);
  });

  it('killed: ended, nothing is undone', () => {
    both.when(killed()).thenEmits(end({ status: 'killed', code: 'killed', message: 'beyond repair' }));
    both.after(killed()).when(executed('a')).thenNothingHappens();
  });
});
