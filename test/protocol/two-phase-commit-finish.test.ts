// Goal: after the decision 2PC never goes back, never guesses and hides nothing from the people who must look.
// Method: given/when/then on the pure machine; whole effects compared; M1-M4 checked after every step.
import { describe, it } from 'vitest';
import { twoPhaseCommit } from '../../src/protocol/two-phase-commit.ts';
import * as kit from '../kit/machine-spec.ts';
import { plan2pc } from '../kit/two-phase-commit-plans.ts';

const { armIn, at, attend, cancelled, command, end, operator, passed, report, tell } = kit;
const given = kit.specOf(twoPhaseCommit);
const begun = kit.BEGUN.time;
const yes = (step: string, more = {}): kit.Body => report(step, 'prepare', 'done', more);
const no = (step: string, more = {}): kit.Body => report(step, 'prepare', 'refused', more);
const committed = (step: string, more = {}): kit.Body => report(step, 'commit', 'done', more);
const aborted = (step: string, more = {}): kit.Body => report(step, 'abort', 'done', more);

const trip = plan2pc([{ step: 'hotel', input: { nights: 2 } }, 'flight']);
const committing = given(trip).after(yes('hotel', { output: 'h-1' }), yes('flight'));
/** The hotel holds a room, the flight refused: the hotel alone is undone. */
const aborting = given(trip).after(yes('hotel', { output: 'h-1' }), no('flight'));
const refused = { code: 'refused', step: 'flight' };

describe('2PC, committing', () => {
  it('ignores cancel, force abort, the prepare deadline and late votes: there is no way back', () => {
    committing.when(cancelled()).thenNothingHappens();
    committing.when(no('hotel')).thenNothingHappens();
    committing.when(yes('hotel')).thenNothingHappens();
    committing
      .when({ type: 'forced', raised: kit.BEGUN.at, decision: 'abort', reason: 'please' })
      .thenNothingHappens();
    committing
      .when(at(30_000, { type: 'deadline_passed', kind: 'phase', phase: 'prepare', armed: kit.BEGUN.at }))
      .thenNothingHappens();
  });

  it('never stops sending', () => {
    let run = committing.after(committed('flight'));
    for (let attempt = 1; attempt <= 30; attempt += 1) {
      run = run.after(report('hotel', 'commit', 'unknown', { attempt }), passed('backoff'));
    }
    const since = begun + 2;
    run
      .when(report('hotel', 'commit', 'retry', { attempt: 31, code: 'isolate' }))
      .thenEmits(
        command('hotel', 'commit', { attempt: 32, alone: true, output: 'h-1', since }),
        armIn(10_000),
      );
  });

  it('is in doubt at its deadline: each unanswered step waits for a person, retries go on', () =>
    committing
      .after(committed('flight'))
      .when(passed('phase', { phase: 'commit' }))
      .thenEmits(attend('hotel', 'commit', { code: 'in-doubt', message: 'no answer to commit in time' }))
      .thenOutstanding('hotel commit 1')
      .thenTimers('attempt hotel 10002')
      .thenViews({ phase: 'committing', waitsFor: 'answers to commit from hotel; an operator: hotel' }));

  it('ends committed when the acknowledgement comes late', () =>
    committing
      .after(passed('phase', { phase: 'commit' }), committed('flight'))
      .when(committed('hotel'))
      .thenEmits(end({ status: 'committed', outputs: { hotel: 'h-1' } })));

  it('is in doubt when the whole run is late', () =>
    given(plan2pc(['hotel', 'flight'], { deadlines: { run: { lower: 700 } } }))
      .after(yes('hotel'), yes('flight'), committed('flight'))
      .when(passed('run'))
      .thenEmits(attend('hotel', 'commit', { code: 'in-doubt', message: 'no answer to commit in time' })));

  for (const answer of ['refused', 'stale'] as const) {
    it(`gives up on a ${answer} answer and tells the caller that a person must look`, () => {
      committing
        .when(report('hotel', 'commit', answer, { code: 'gone' }))
        .thenEmits(attend('hotel', 'commit', { code: answer, message: 'gone' }))
        .thenOutstanding('flight commit 1');
      committing
        .after(report('hotel', 'commit', answer, { code: 'gone' }))
        .when(committed('flight'))
        .thenEmits(
          tell({
            status: 'committed',
            code: answer,
            message: 'gone',
            step: 'hotel',
            outputs: { hotel: 'h-1' },
            attention: true,
          }),
        )
        .thenViews({ waitsFor: 'an operator: hotel' });
    });
  }

  for (const answer of ['heuristic', 'terminated', 'conflict'] as const) {
    const result = answer === 'conflict' ? {} : { result: 'aborted' as const };
    const why = answer === 'conflict' ? {} : { message: 'aborted on its own' };
    const contradicted = committing.after(report('hotel', 'commit', answer, result));

    it(`is mixed after ${answer}, whatever the others say`, () => {
      committing
        .after(committed('flight'))
        .when(report('hotel', 'commit', answer, result))
        .thenEmits(
          attend('hotel', 'commit', { code: answer, ...why }),
          tell({ status: 'mixed', code: answer, ...why, step: 'hotel', attention: true }),
        );
      contradicted.after(committed('flight')).when(committed('hotel')).thenNothingHappens();
    });

    it(`ends mixed after ${answer} even if an operator's retry succeeds`, () => {
      const retried = contradicted.after(committed('flight'), operator('item_retried', 'hotel'));
      retried.when(report('hotel', 'commit', answer, result)).thenNothingHappens();
      retried
        .when(committed('hotel', { attempt: 2 }))
        .thenEmits(end({ status: 'mixed', code: answer, ...why, step: 'hotel' }));
    });
  }
});

describe('2PC, aborting', () => {
  it('ignores cancel, commit by force and acknowledgements of what was not commanded', () => {
    aborting.when(cancelled()).thenNothingHappens();
    aborting.when(committed('hotel')).thenNothingHappens();
    aborting.when(aborted('flight')).thenNothingHappens();
    aborting.when(aborted('hotel', { attempt: 2 })).thenNothingHappens();
  });

  it('retries with its own policy, then asks a person and tells the caller', () =>
    aborting
      .after(report('hotel', 'abort', 'unknown'), passed('backoff'), passed('attempt'), passed('backoff'))
      .when(report('hotel', 'abort', 'retry', { attempt: 3, message: 'db down' }))
      .thenEmits(
        attend('hotel', 'abort', { code: 'exhausted', message: 'db down' }),
        tell({ status: 'aborted', ...refused, attention: true }),
      )
      .thenOutstanding()
      .thenTimers()
      .thenViews({ steps: [{ status: 'attention' }, { step: 'flight', status: 'failed' }] }));

  const exhausted = aborting
    .after(report('hotel', 'abort', 'unknown'), passed('backoff'))
    .after(report('hotel', 'abort', 'unknown', { attempt: 2 }), passed('backoff'))
    .after(report('hotel', 'abort', 'unknown', { attempt: 3 }));

  it('ends aborted when a late answer clears the item', () =>
    exhausted.when(aborted('hotel', { attempt: 1 })).thenEmits(end({ status: 'aborted', ...refused })));

  it('starts a new series of attempts on an operator’s retry', () =>
    exhausted
      .when(operator('item_retried', 'hotel', { policy: { attemptMs: 50, maxAttempts: 1 } }))
      .thenEmits(
        command('hotel', 'abort', { attempt: 4, output: 'h-1', ran: true, due: begun + 6 + 50 }),
        armIn(50),
      ));

  it('keeps the policy of the operator for that series', () =>
    exhausted
      .after(operator('item_retried', 'hotel', { policy: { attemptMs: 50, maxAttempts: 1 } }))
      .when(passed('attempt'))
      .thenEmits(
        attend('hotel', 'abort', { code: 'exhausted' }),
        tell({ status: 'aborted', ...refused, attention: true }),
      ));

  it('ends aborted when an operator says it was undone', () =>
    exhausted
      .when(operator('item_resolved', 'hotel', { answer: 'done' }))
      .thenEmits(end({ status: 'aborted', ...refused })));

  it('ends mixed when an operator says it was not undone', () =>
    exhausted
      .when(operator('item_resolved', 'hotel', { answer: 'refused' }))
      .thenEmits(end({ status: 'mixed', ...refused })));

  it('ends resolved when an operator skips the item', () =>
    exhausted.when(operator('item_skipped', 'hotel')).thenEmits(end({ status: 'resolved', ...refused })));

  it('ignores an operator who looked at another item', () => {
    const item = { raised: '3.0', step: 'hotel', phase: 'abort' } as const;
    exhausted.when({ type: 'item_skipped', ...item }).thenNothingHappens();
    exhausted.when({ type: 'item_retried', ...item, step: 'car' }).thenNothingHappens();
    exhausted.when({ type: 'item_resolved', ...item, phase: 'commit', answer: 'done' }).thenNothingHappens();
    exhausted.when({ type: 'forced', raised: '3.0', decision: 'abort', reason: 'x' }).thenNothingHappens();
  });

  it('ends mixed when the participant held commit', () =>
    aborting
      .when(report('hotel', 'abort', 'conflict'))
      .thenEmits(
        attend('hotel', 'abort', { code: 'conflict' }),
        tell({ status: 'mixed', ...refused, attention: true }),
      ));

  it('asks a person at its own deadline when the plan has one', () =>
    given(plan2pc(['hotel', 'flight'], { deadlines: { abort: { lower: 800 } } }))
      .after(yes('hotel'), no('flight'))
      .when(passed('phase', { phase: 'abort' }))
      .thenEmits(attend('hotel', 'abort', { code: 'deadline', message: 'no answer to abort in time' })));
});

describe('2PC, a yes after the abort', () => {
  /** The hotel had not voted when the flight refused. */
  const inFlight = given(trip).after(no('flight'));

  it('is noted while the abort is in flight: the next attempt carries the hold', () =>
    inFlight
      .after(yes('hotel', { output: 'h-1' }), report('hotel', 'abort', 'retry'))
      .when(passed('backoff'))
      .thenEmits(command('hotel', 'abort', { attempt: 2, output: 'h-1', ran: true }), armIn(10_000)));

  it('commands the abort again when it was already answered', () =>
    given(plan2pc(['hotel', 'flight', 'car']))
      .after(no('flight'), aborted('hotel'))
      .when(yes('hotel', { output: 'h-1' }))
      .thenEmits(command('hotel', 'abort', { attempt: 2, output: 'h-1', ran: true }), armIn(10_000)));

  it('does not take the earlier answer for the later one', () => {
    const again = given(plan2pc(['hotel', 'flight', 'car'])).after(
      no('flight'),
      aborted('hotel'),
      yes('hotel'),
    );
    again.when(aborted('hotel', { attempt: 1 })).thenNothingHappens();
    again
      .after(aborted('car'))
      .when(aborted('hotel', { attempt: 2 }))
      .thenEmits(end({ status: 'aborted', ...refused }));
    again
      .after(aborted('hotel', { attempt: 2 }))
      .when(yes('hotel'))
      .thenNothingHappens();
  });

  it('commands the abort again at once when the effect says itself to be late', () => {
    const late = inFlight.after(yes('hotel', { lateEffect: true }));
    inFlight
      .when(yes('hotel', { lateEffect: true }))
      .thenEmits(command('hotel', 'abort', { attempt: 2, ran: true, redo: 2 }), armIn(10_000));
    late.when(aborted('hotel', { attempt: 1 })).thenNothingHappens();
    late.when(aborted('hotel', { attempt: 2 })).thenEmits(end({ status: 'aborted', ...refused }));
  });

  it('commands the first abort to a step that was thought not to have run', () =>
    given(plan2pc(['hotel', 'flight', 'car']))
      .after(no('flight'))
      .when(yes('flight', { output: 'f-1' }))
      .thenEmits(command('flight', 'abort', { output: 'f-1', ran: true }), armIn(10_000)));

  it('raises a contradiction when the participant committed on its own', () =>
    inFlight
      .after(report('hotel', 'prepare', 'terminated', { result: 'committed' }))
      .when(aborted('hotel'))
      .thenEmits(tell({ status: 'mixed', ...refused, attention: true })));
});

describe('2PC, operators', () => {
  const plan = plan2pc(['hotel', 'flight', 'car']);
  const stuck = given(plan)
    .after(yes('hotel'), yes('flight'), yes('car'), committed('car'))
    .after(report('hotel', 'commit', 'refused'), report('flight', 'commit', 'refused'));

  it('tell again when settling one item changes how the run will end', () =>
    stuck
      .when(operator('item_skipped', 'hotel'))
      .thenEmits(tell({ status: 'resolved', code: 'skipped', step: 'hotel', attention: true })));

  it('force the fate already implied: everything open is commanded again, guarded by a new deadline', () =>
    stuck
      .after(passed('phase', { phase: 'commit' }))
      .when(({ view }) => {
        const raised = view.attention[1]?.raised ?? '';
        return { body: { type: 'forced', raised, decision: 'commit', reason: 'fixed' } };
      })
      .thenEmits(
        command('hotel', 'commit', { attempt: 2, since: begun + 3 }),
        command('flight', 'commit', { attempt: 2, since: begun + 3 }),
        armIn(5_000),
      ));

  it('cannot force the other fate', () =>
    stuck
      .when(({ view }) => {
        const raised = view.attention[0]?.raised ?? '';
        return { body: { type: 'forced', raised, decision: 'abort', reason: 'no' } };
      })
      .thenNothingHappens());

  it('skip a step in doubt while its commit is still being retried', () =>
    committing
      .after(committed('flight'), passed('phase', { phase: 'commit' }))
      .when(operator('item_skipped', 'hotel'))
      .thenEmits(end({ status: 'resolved', code: 'skipped', step: 'hotel' })));

  it('contradict the commit by saying it was refused', () =>
    committing
      .after(committed('flight'), report('hotel', 'commit', 'refused'))
      .when(operator('item_resolved', 'hotel', { answer: 'refused' }))
      .thenEmits(end({ status: 'mixed', code: 'refused', step: 'hotel' })));

  it('resolve with the output that was missing', () =>
    committing
      .after(committed('flight'), report('hotel', 'commit', 'refused'))
      .when(operator('item_resolved', 'hotel', { answer: 'done', output: 'by hand' }))
      .thenEmits(end({ status: 'committed', outputs: { hotel: 'by hand' } })));

  it('are not bound by a stopping policy in commit', () => {
    let run = committing
      .after(committed('flight'), report('hotel', 'commit', 'refused'))
      .after(operator('item_retried', 'hotel', { policy: { maxAttempts: 1 } }));
    for (let attempt = 2; attempt < 6; attempt += 1) {
      run = run.after(report('hotel', 'commit', 'unknown', { attempt }), passed('backoff'));
    }
    run
      .when(committed('hotel', { attempt: 6 }))
      .thenEmits(end({ status: 'committed', outputs: { hotel: 'h-1' } }));
  });
});
