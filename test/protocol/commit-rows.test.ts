// Goal: the rows of the 2PC and 3PC tables hold for every input that they list, in every state that they name.
// Method: given/when/then on the pure machines; what the other specs leave out, one answer at a time.
import { describe, it } from 'vitest';
import { threePhaseCommit } from '../../src/protocol/three-phase-commit.ts';
import { twoPhaseCommit } from '../../src/protocol/two-phase-commit.ts';
import * as kit from '../kit/machine-spec.ts';
import { plan2pc, plan3pc } from '../kit/two-phase-commit-plans.ts';

const { armIn, attend, command, decide, end, operator, passed, report, tell } = kit;
const yes = (step: string, more = {}): kit.Body => report(step, 'prepare', 'done', more);
const no = (step: string): kit.Body => report(step, 'prepare', 'refused');
const own = (step: string, phase: 'prepare' | 'precommit', result: 'committed' | 'aborted'): kit.Body =>
  report(step, phase, 'terminated', { result });
const refused = { code: 'refused', step: 'flight' };
const since = kit.BEGUN.time;

describe('2PC, each answer', () => {
  const trip = kit.specOf(twoPhaseCommit)(plan2pc(['hotel', 'flight']));
  const three = kit.specOf(twoPhaseCommit)(plan2pc(['hotel', 'flight', 'car']));
  const alone = kit.specOf(twoPhaseCommit)(plan2pc(['hotel']));
  const committing = trip.after(yes('hotel'), yes('flight'));
  const aborting = trip.after(yes('hotel'), no('flight'));
  const waiting = three.after(yes('hotel'), yes('car'), no('flight'));

  it('commits on a last vote that is read-only', () =>
    trip
      .after(yes('hotel'))
      .when(report('flight', 'prepare', 'read-only'))
      .thenEmits(decide('commit'), command('hotel', 'commit'), armIn(5_000)));

  it('backs off after a vote that is unknown', () =>
    trip.when(report('hotel', 'prepare', 'unknown')).thenEmits(armIn(0)));

  it('aborts when a participant has terminated', () =>
    trip
      .when(own('flight', 'prepare', 'aborted'))
      .thenEmits(
        decide('abort', 'terminated'),
        command('hotel', 'abort', { ran: false }),
        command('flight', 'abort', { ran: false }),
        armIn(10_000),
      ));

  for (const [phase, run] of [
    ['commit', committing],
    ['abort', aborting],
  ] as const) {
    it.each(['retry', 'unknown'] as const)(
      `backs off when ${phase} is answered %s`,
      (answer) => void run.when(report('hotel', phase, answer)).thenEmits(armIn(0)),
    );

    it(`backs off when ${phase} is overdue, then sends the next attempt`, () => {
      run.when(passed('attempt', { step: 'hotel' })).thenEmits(armIn(0));
      const ran = phase === 'abort' ? { ran: true, since } : { since: since + 2 };
      run
        .after(report('hotel', phase, 'retry'))
        .when(passed('backoff'))
        .thenEmits(command('hotel', phase, { attempt: 2, ...ran }), armIn(10_000));
    });
  }

  it('takes read-only for an answer to commit and to abort', () => {
    committing
      .after(report('flight', 'commit', 'done'))
      .when(report('hotel', 'commit', 'read-only'))
      .thenEmits(end({ status: 'committed' }));
    aborting.when(report('hotel', 'abort', 'read-only')).thenEmits(end({ status: 'aborted', ...refused }));
  });

  it.each(['refused', 'stale'] as const)(
    'asks a person when abort is answered %s',
    (answer) =>
      void aborting
        .when(report('hotel', 'abort', answer))
        .thenEmits(
          attend('hotel', 'abort', { code: answer }),
          tell({ status: 'aborted', ...refused, attention: true }),
        ),
  );

  it('notes a late yes while its abort is in flight', () =>
    trip
      .after(no('flight'))
      .when(yes('hotel', { output: 'h-1' }))
      .thenEmits()
      .thenOutstanding('hotel abort 1'));

  it.each(['heuristic', 'terminated'] as const)(
    'attends a late %s that committed',
    (answer) =>
      void trip
        .after(no('flight'))
        .when(report('hotel', 'prepare', answer, { result: 'committed' }))
        .thenEmits(attend('hotel', 'prepare', { code: answer, message: 'committed on its own' })),
  );

  it('is mixed when the only participant has terminated', () =>
    alone.when(report('hotel', 'commit-one-phase', 'terminated', { result: 'committed' })).thenEmits(
      attend('hotel', 'commit-one-phase', { code: 'terminated', message: 'committed on its own' }),
      tell({
        status: 'mixed',
        code: 'terminated',
        message: 'committed on its own',
        step: 'hotel',
        attention: true,
      }),
    ));

  it('clears an item by a late answer, or by a person, while others are open', () => {
    const stuck = waiting.after(report('hotel', 'abort', 'refused'));
    stuck
      .when(report('hotel', 'abort', 'done'))
      .thenEmits()
      .thenOutstanding('car abort 1');
    stuck
      .when(report('hotel', 'abort', 'read-only'))
      .thenEmits()
      .thenOutstanding('car abort 1');
    stuck
      .when(operator('item_resolved', 'hotel', { answer: 'done' }))
      .thenEmits()
      .thenOutstanding('car abort 1');
    stuck
      .when(operator('item_resolved', 'hotel', { answer: 'refused' }))
      .thenEmits()
      .thenOutstanding('car abort 1');
  });
});

describe('3PC, each answer', () => {
  const trip = kit.specOf(threePhaseCommit)(plan3pc(['hotel', 'flight']));
  const precommitting = trip.after(yes('hotel'), yes('flight'));
  const done = (phase: 'precommit' | 'commit', step: string): kit.Body => report(step, phase, 'done');
  const committing = precommitting.after(done('precommit', 'hotel'), done('precommit', 'flight'));
  const aborting = trip.after(yes('hotel'), no('flight'));

  it('decides on a last vote that is read-only', () =>
    trip
      .after(yes('hotel'))
      .when(report('flight', 'prepare', 'read-only'))
      .thenEmits(decide('commit'), command('hotel', 'precommit'), armIn(5_000)));

  for (const [phase, run, more] of [
    ['prepare', trip, { since }],
    ['precommit', precommitting, { since: since + 2 }],
    ['commit', committing, { since: since + 4 }],
    ['abort', aborting, { since, ran: true }],
  ] as const) {
    it.each(['retry', 'unknown'] as const)(
      `backs off when ${phase} is answered %s`,
      (answer) => void run.when(report('hotel', phase, answer)).thenEmits(armIn(0)),
    );

    it(`backs off when ${phase} is overdue, then sends the next attempt`, () => {
      run.when(passed('attempt', { step: 'hotel' })).thenEmits(armIn(0));
      run
        .after(report('hotel', phase, 'retry'))
        .when(passed('backoff'))
        .thenEmits(command('hotel', phase, { attempt: 2, ...more }), armIn(10_000));
    });
  }

  it('ends aborted at once when nobody is left to undo', () =>
    trip
      .after(report('hotel', 'prepare', 'read-only'))
      .when(no('flight'))
      .thenEmits(decide('abort', 'refused'), end({ status: 'aborted', ...refused })));

  it('takes a commit of its own for an acknowledgement, before the others have answered', () => {
    precommitting
      .when(own('hotel', 'precommit', 'committed'))
      .thenEmits()
      .thenOutstanding('flight precommit 1');
    committing
      .when(own('hotel', 'precommit', 'committed'))
      .thenEmits()
      .thenOutstanding('flight commit 1');
  });

  it('clears an item by a late answer, or by a person, while others are open', () => {
    const stuck = committing.after(report('hotel', 'commit', 'refused'));
    for (const answer of ['done', 'read-only'] as const)
      stuck
        .when(report('hotel', 'commit', answer))
        .thenEmits()
        .thenOutstanding('flight commit 1');
    for (const answer of ['done', 'refused'] as const) {
      stuck
        .when(operator('item_resolved', 'hotel', { answer }))
        .thenEmits()
        .thenOutstanding('flight commit 1');
    }
    stuck.when(operator('item_skipped', 'hotel')).thenEmits().thenOutstanding('flight commit 1');
    stuck
      .after(done('commit', 'flight'))
      .when(report('hotel', 'commit', 'done'))
      .thenEmits(end({ status: 'committed' }));
  });
});
