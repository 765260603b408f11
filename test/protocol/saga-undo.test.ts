// Goal: a failed saga undoes exactly what may have run, in reverse, each step once, and only what has settled.
import { describe, it } from 'vitest';
import { backoffMs } from '../../src/protocol/act.ts';
import { saga } from '../../src/protocol/saga.ts';
import { compiled, RETRY } from '../kit/compiled.ts';
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

const given = specOf(saga);
const done = (step: string, more = {}) => report(step, 'execute', 'done', more);
const refused = (step: string, more = {}) => report(step, 'execute', 'refused', more);
const undone = (step: string, attempt = 1) => report(step, 'compensate', 'done', { attempt });
const undo = (step: string, more = {}) => command(step, 'compensate', { ran: true, ...more });
const attemptArmed = armIn(RETRY.attemptMs);
const exhausted = { maxAttempts: 1 };
const once = (step: string, more = {}) => ({ step, retry: { ...RETRY, ...exhausted }, ...more });
const onceUndone = (step: string, more = {}) => ({ step, undoRetry: { ...RETRY, ...exhausted }, ...more });

const abc = compiled('saga', ['a', { step: 'b', after: ['a'] }, { step: 'c', after: ['b'] }]);

describe('saga backward, in sequence', () => {
  const order = given(abc);
  const failed = order.after(done('a', { output: 'A' }), done('b'), refused('c', { code: 'no-stock' }));

  it('undoes the last step that ran first, with what is known of it', () =>
    order
      .after(done('a'), done('b', { output: { id: 9 } }))
      .when(refused('c', { code: 'no-stock', message: 'none left' }))
      .thenEmits(
        decide('undo', 'no-stock'),
        undo('b', { since: BEGUN.time + 1, output: { id: 9 } }),
        attemptArmed,
      ));

  it('then the one before', () =>
    failed.when(undone('b')).thenEmits(undo('a', { output: 'A' }), attemptArmed));

  it('and ends compensated, with the first cause', () =>
    failed
      .after(undone('b'))
      .when(undone('a'))
      .thenEmits(end({ status: 'compensated', code: 'no-stock', step: 'c' })));

  it('sends the resolved input again', () => {
    const plan = compiled('saga', [
      'a',
      { step: 'b', after: ['a'], pointed: true, input: { hold: { $from: 'a/hold' } } },
      { step: 'c', after: ['b'] },
    ]);
    given(plan)
      .after(done('a', { output: { hold: 'h' } }), done('b'))
      .when(refused('c'))
      .thenEmits(
        decide('undo', 'refused'),
        undo('b', { since: BEGUN.time + 1, input: { hold: 'h' } }),
        attemptArmed,
      );
  });

  it('ends at once when nothing ran', () =>
    order
      .when(refused('a'))
      .thenEmits(decide('undo', 'refused'), end({ status: 'compensated', code: 'refused', step: 'a' })));

  it('undoes a refusal that cannot speak for earlier executions', () =>
    order
      .when(refused('a', { mayHaveRun: true }))
      .thenEmits(decide('undo', 'refused'), undo('a', { ran: false }), attemptArmed));

  it.each(['conflict', 'stale'] as const)('takes %s for a failure that may have run', (answer) => {
    order
      .when(report('a', 'execute', answer))
      .thenEmits(decide('undo', answer), undo('a', { ran: false }), attemptArmed);
  });

  it('has nothing to undo for read-only', () =>
    order
      .after(report('a', 'execute', 'read-only'))
      .when(refused('b'))
      .thenEmits(decide('undo', 'refused'), end({ status: 'compensated', code: 'refused', step: 'b' })));

  it('passes over a read-only step in the chain', () =>
    order
      .after(done('a'), report('b', 'execute', 'read-only'))
      .when(refused('c'))
      .thenEmits(decide('undo', 'refused'), undo('a'), attemptArmed));

  it('keeps order across a read-only step', () =>
    given(
      compiled('saga', [
        'a',
        { step: 'b', after: ['a'] },
        { step: 'c', after: ['b'] },
        { step: 'd', after: ['c'] },
      ]),
    )
      .after(done('a'), report('b', 'execute', 'read-only'), done('c'))
      .when(refused('d'))
      .thenEmits(decide('undo', 'refused'), undo('c', { since: BEGUN.time + 2 }), attemptArmed));

  it('undoes what never answered, once the policy has ended', () =>
    given(compiled('saga', [once('a')]))
      .when(passed('attempt'))
      .thenEmits(decide('undo', 'deadline'), undo('a', { ran: false }), attemptArmed));

  it('does not undo what said each time that it left nothing', () =>
    given(compiled('saga', [{ step: 'a', retry: { ...RETRY, maxAttempts: 2 } }]))
      .after(report('a', 'execute', 'retry'), passed('backoff'))
      .when(report('a', 'execute', 'retry', { attempt: 2, code: 'busy' }))
      .thenEmits(decide('undo', 'busy'), end({ status: 'compensated', code: 'busy', step: 'a' })));

  it('ignores the redelivered answer of an undo', () =>
    failed.after(undone('b')).when(undone('b')).thenNothingHappens());
  it('ignores a late refusal', () => failed.when(refused('c')).thenNothingHappens());
});

describe('saga backward, in parallel', () => {
  const pair = given(compiled('saga', ['a', 'b', { step: 'c', after: ['a', 'b'] }]));

  it('undoes parallel branches in parallel', () =>
    pair
      .after(done('a'), done('b'))
      .when(refused('c'))
      .thenEmits(decide('undo', 'refused'), undo('a'), undo('b'), attemptArmed));

  it('ends when the last branch is undone', () =>
    pair
      .after(done('a'), done('b'), refused('c'), undone('b'))
      .when(undone('a'))
      .thenEmits(end({ status: 'compensated', code: 'refused', step: 'c' })));

  it('does not undo what is still in flight, and starts nothing new', () =>
    pair.when(refused('a')).thenEmits(decide('undo', 'refused')).thenOutstanding('b execute 1'));

  it('undoes it when it reports done', () =>
    pair.after(refused('a')).when(done('b')).thenEmits(undo('b'), attemptArmed));

  it('undoes it when its current attempt is overdue, without another attempt', () =>
    pair
      .after(refused('a'))
      .when(passed('attempt', { step: 'b' }))
      .thenEmits(undo('b', { ran: false }), attemptArmed));

  it.each(['retry', 'unknown'] as const)('gives no further attempt after %s', (answer) => {
    pair
      .after(refused('a'))
      .when(report('b', 'execute', answer, { code: 'isolate', mayHaveRun: true }))
      .thenEmits(undo('b', { ran: false }), attemptArmed);
  });

  it('ends when the last act in flight left nothing behind', () =>
    pair
      .after(refused('a'))
      .when(refused('b'))
      .thenEmits(end({ status: 'compensated', code: 'refused', step: 'a' })));

  it('settles at once what was backing off', () =>
    pair
      .after(report('b', 'execute', 'unknown'))
      .when(refused('a'))
      .thenEmits(decide('undo', 'refused'), undo('b', { ran: false }), attemptArmed));

  it('undoes a step only after all that depends on it', () =>
    given(
      compiled('saga', [
        'a',
        { step: 'b', after: ['a'] },
        { step: 'c', after: ['a'] },
        { step: 'd', after: ['b'] },
      ]),
    )
      .after(done('a'), done('b'), done('c'), refused('d'), undone('c'))
      .when(undone('b'))
      .thenEmits(undo('a'), attemptArmed));

  it('goes on with an undo although a late no proves that there is nothing to undo', () =>
    given(compiled('saga', ['a', once('b', { after: ['a'] }), { step: 'c', after: ['a'] }]))
      .after(done('a'), refused('c'), passed('attempt', { step: 'b' }))
      .when(refused('b'))
      .thenNothingHappens());
});

describe('saga cancelled', () => {
  it('goes back, and says so', () =>
    given(abc)
      .after(done('a'), cancelled('too slow'), refused('b'))
      .when(undone('a'))
      .thenEmits(end({ status: 'cancelled', code: 'cancelled', message: 'too slow' })));

  it('lets the first cause stand', () =>
    given(abc).after(done('a'), refused('b')).when(cancelled()).thenNothingHappens());

  it('cannot be cancelled twice', () =>
    given(abc).after(done('a'), cancelled()).when(cancelled('again')).thenNothingHappens());
});

describe('saga compensation that fails', () => {
  const undoOnce = compiled('saga', [
    onceUndone('a'),
    onceUndone('b', { after: ['a'] }),
    { step: 'c', after: ['b'] },
  ]);
  const stuck = given(undoOnce).after(done('a'), done('b'), refused('c'), passed('attempt'));

  it('is tried again by its own policy', () =>
    given(abc)
      .after(done('a'), refused('b'))
      .when(report('a', 'compensate', 'unknown'))
      .thenEmits(armIn(backoffMs(RETRY, 1, { seed: 'tx-1/a/compensate/1', retryAfterMs: 0 }))));

  it('says again what is known', () =>
    given(abc)
      .after(done('a', { output: 1 }), refused('b'), report('a', 'compensate', 'retry'))
      .when(passed('backoff'))
      .thenEmits(undo('a', { attempt: 2, output: 1 }), attemptArmed));

  it.each([
    ['refused', 'compensate-refused'],
    ['conflict', 'conflict'],
    ['stale', 'stale'],
    ['unknown', 'unknown'],
  ] as const)('raises attention after %s', (answer, code) => {
    given(undoOnce)
      .after(done('a'), refused('b', { message: 'no funds' }))
      .when(report('a', 'compensate', answer, { code }))
      .thenEmits(
        attend('a', 'compensate', { code }),
        tell({ status: 'compensated', code: 'refused', message: 'no funds', step: 'b', attention: true }),
      );
  });

  it('blocks what it depends on, and shows the item', () =>
    given(undoOnce)
      .after(done('a'), done('b'), refused('c'))
      .when(passed('attempt'))
      .thenEmits(
        attend('b', 'compensate', { code: 'deadline' }),
        tell({ status: 'compensated', code: 'refused', step: 'c', attention: true }),
      )
      .thenOutstanding()
      .thenViews({
        phase: 'backward',
        waitsFor: 'a person to settle compensate of step b (deadline)',
        attention: [{ raised: '5.0', step: 'b', phase: 'compensate', code: 'deadline' }],
        steps: [
          { step: 'a', participant: 'a', phase: 'execute', attempt: 1, status: 'done' },
          { step: 'b', participant: 'b', phase: 'compensate', attempt: 1, status: 'attention' },
          { step: 'c', participant: 'c', phase: 'execute', attempt: 1, status: 'failed' },
        ],
      }));

  it('lets the other branches go on, and tells when nothing else moves', () => {
    const branches = compiled('saga', [onceUndone('a'), 'b', { step: 'c', after: ['a', 'b'] }]);
    const failing = given(branches).after(done('a'), done('b'), refused('c'));
    failing
      .when(report('a', 'compensate', 'refused'))
      .thenEmits(attend('a', 'compensate', { code: 'refused' }));
    failing
      .after(report('a', 'compensate', 'refused'))
      .when(undone('b'))
      .thenEmits(tell({ status: 'compensated', code: 'refused', step: 'c', attention: true }));
  });

  it('bounds a compensation by the deadline of compensate', () => {
    const plan = compiled('saga', ['a', { step: 'b', after: ['a'] }], {
      deadlines: { compensate: { lowerMs: 700, upperMs: 700 } },
    });
    given(plan)
      .after(done('a'), refused('b'), report('a', 'compensate', 'retry'))
      .when(passed('step'))
      .thenEmits(
        attend('a', 'compensate', { code: 'deadline' }),
        tell({ status: 'compensated', code: 'refused', step: 'b', attention: true }),
      );
  });

  it('settles itself when the answer comes late', () =>
    stuck.when(undone('b')).thenEmits(undo('a'), attemptArmed));

  it('is tried again for an operator, with the policy from the start', () =>
    stuck
      .when(operator('item_retried', 'b', { policy: { attemptMs: 50 } }))
      .thenEmits(undo('b', { attempt: 2, since: BEGUN.time + 1, due: BEGUN.time + 10_004 + 50 }), armIn(50)));

  it('counts as undone when skipped, and the run ends resolved', () => {
    stuck.when(operator('item_skipped', 'b')).thenEmits(undo('a'), attemptArmed);
    stuck
      .after(operator('item_skipped', 'b'))
      .when(undone('a'))
      .thenEmits(end({ status: 'resolved', code: 'refused', step: 'c' }));
  });

  it('counts as undone when a person did it', () => {
    stuck.when(operator('item_resolved', 'b', { answer: 'done' })).thenEmits(undo('a'), attemptArmed);
    stuck
      .after(operator('item_resolved', 'b', { answer: 'done' }))
      .when(undone('a'))
      .thenEmits(end({ status: 'compensated', code: 'refused', step: 'c' }));
  });

  it('stays when a person says that it was refused', () =>
    stuck.when(operator('item_resolved', 'b', { answer: 'refused' })).thenNothingHappens());

  it.each(['complete', 'undo', 'commit', 'abort'] as const)('cannot be forced to %s', (decision) => {
    stuck
      .when(({ view }) => ({
        body: { type: 'forced', raised: view.attention[0]!.raised, decision, reason: 'r' },
      }))
      .thenNothingHappens();
  });

  it('ignores an operator whose item has moved', () =>
    stuck
      .after(operator('item_retried', 'b'))
      .when({ type: 'item_skipped', raised: '5.0', step: 'b', phase: 'compensate' })
      .thenNothingHappens());

  it('ends at once when killed', () =>
    stuck.when(killed('give up')).thenEmits(end({ status: 'killed', code: 'killed', message: 'give up' })));
});

describe('saga act that turns out to have run', () => {
  const pair = compiled('saga', [once('a'), once('b'), { step: 'c', after: ['a', 'b'] }]);
  // `a` never answers and is undone unseen; `b` is still in flight and keeps the run open.
  const undoing = given(pair).after(passed('attempt', { step: 'a' }));
  const answered = undoing.after(undone('a'));

  it('while its undo is in flight is noted only', () =>
    undoing
      .when(done('a', { output: 1 }))
      .thenEmits()
      .thenOutstanding('a compensate 1', 'b execute 1'));

  it('and said with the next attempt of the undo', () =>
    undoing
      .after(done('a', { output: 1 }), report('a', 'compensate', 'retry'))
      .when(passed('backoff', { step: 'a' }))
      .thenEmits(undo('a', { attempt: 2, output: 1 }), attemptArmed));

  it('after its undo was answered is undone again', () =>
    answered
      .when(done('a', { output: 1 }))
      .thenEmits(undo('a', { attempt: 2, output: 1 }), attemptArmed)
      .thenOutstanding('a compensate 2', 'b execute 1'));

  it('once, however often it says so', () =>
    answered.after(done('a'), undone('a', 2)).when(done('a')).thenNothingHappens());

  it('and the answer of the first undo, redelivered, does not count for the second', () =>
    answered.after(done('a')).when(undone('a')).thenNothingHappens());

  it('with a late effect is undone again though its undo is in flight', () =>
    undoing
      .when(done('a', { lateEffect: true }))
      .thenEmits(undo('a', { attempt: 2, redo: 2 }), attemptArmed));

  it('does not take the answer of the undo before the late effect', () =>
    undoing
      .after(done('a', { lateEffect: true }))
      .when(undone('a'))
      .thenNothingHappens());

  it('while its undo waits for a person is noted for the retry', () => {
    const plan = compiled('saga', [{ ...once('a'), ...onceUndone('a') }, 'b']);
    given(plan)
      .after(passed('attempt', { step: 'a' }), report('a', 'compensate', 'refused'), done('a', { output: 3 }))
      .when(operator('item_retried', 'a'))
      .thenEmits(undo('a', { attempt: 2, output: 3 }), attemptArmed);
  });

  it('read-only needs no second undo', () =>
    answered.when(report('a', 'execute', 'read-only')).thenNothingHappens());

  it('although every attempt had said no is undone all the same', () =>
    given(compiled('saga', ['a', 'b']))
      .after(refused('a'))
      .when(done('a'))
      .thenEmits(undo('a'), attemptArmed));
});
