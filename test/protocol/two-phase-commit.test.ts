// Goal: 2PC keeps every row of its transition table up to the decision, and commits or aborts as one.
// Method: given/when/then on the pure machine; whole effects compared; M1-M4 checked after every step.
import { describe, it } from 'vitest';
import { MAX_OUTPUT_BYTES } from '../../src/protocol/limits.ts';
import { twoPhaseCommit } from '../../src/protocol/two-phase-commit.ts';
import * as kit from '../kit/machine-spec.ts';
import { plan2pc } from '../kit/two-phase-commit-plans.ts';

const { armIn, at, attend, cancelled, command, decide, end, passed, report } = kit;
const given = kit.specOf(twoPhaseCommit);
const yes = (step: string, more = {}): kit.Body => report(step, 'prepare', 'done', more);
const no = (step: string, more = {}): kit.Body => report(step, 'prepare', 'refused', more);
const committed = (step: string, more = {}): kit.Body => report(step, 'commit', 'done', more);
const aborted = (step: string, more = {}): kit.Body => report(step, 'abort', 'done', more);

const trip = plan2pc([{ step: 'hotel', input: { nights: 2 } }, 'flight']);
const three = plan2pc(['hotel', 'flight', 'car']);

describe('2PC, voting', () => {
  it('prepares all at once and arms the earliest deadline', () =>
    given(trip)
      .whenBegun()
      .thenEmits(command('hotel', 'prepare'), command('flight', 'prepare'), armIn(10_000))
      .thenTimers('phase prepare 30000', 'attempt hotel 10000', 'attempt flight 10000')
      .thenOutstanding('hotel prepare 1', 'flight prepare 1')
      .thenViews({
        phase: 'preparing',
        waitsFor: 'votes of hotel, flight until 1970-01-01T00:17:10.000Z, then aborts',
      }));

  it('waits for the other vote', () =>
    given(trip).when(yes('hotel')).thenEmits().thenOutstanding('flight prepare 1'));

  it('commits once all said yes, handing each its own output', () =>
    given(trip)
      .after(yes('hotel', { output: { hold: 7 } }))
      .when(yes('flight'))
      .thenEmits(
        decide('commit'),
        command('hotel', 'commit', { output: { hold: 7 } }),
        command('flight', 'commit'),
        armIn(5_000),
      )
      .thenTimers('phase commit 5002', 'attempt hotel 10002', 'attempt flight 10002'));

  it('gives prepare, commit and abort attempts their own default time', () => {
    const plain = { retry: {}, undoRetry: {} };
    const run = given(plan2pc(['hotel', 'flight'], plain)).after(yes('hotel'));
    run.when(yes('flight')).thenTimers('phase commit 5002', 'attempt hotel 10002', 'attempt flight 10002');
    run.when(cancelled()).thenTimers('attempt hotel 3002', 'attempt flight 3002');
  });

  it('ignores the same vote again', () =>
    given(trip).after(yes('hotel')).when(yes('hotel')).thenNothingHappens());

  it('ignores a no after a yes: the first answer settles', () =>
    given(trip).after(yes('hotel')).when(no('hotel')).thenNothingHappens());

  it('ignores steps, phases and attempts nobody commanded', () => {
    given(trip).when(yes('car')).thenNothingHappens();
    given(trip)
      .when(report('hotel', 'commit', 'done'))
      .thenNothingHappens();
    given(trip)
      .when(yes('hotel', { attempt: 2 }))
      .thenNothingHappens();
  });

  it('spares a read-only voter the second phase', () =>
    given(three)
      .after(yes('hotel'), report('flight', 'prepare', 'read-only'))
      .when(yes('car'))
      .thenEmits(decide('commit'), command('hotel', 'commit'), command('car', 'commit'), armIn(5_000)));

  it('ends at once when all are read-only, with what they read', () =>
    given(trip)
      .after(report('hotel', 'prepare', 'read-only', { output: 'full' }))
      .when(report('flight', 'prepare', 'read-only'))
      .thenEmits(decide('commit'), end({ status: 'committed', outputs: { hotel: 'full' } })));

  it('ignores signals', () => given(trip).when({ type: 'signalled', name: 'go' }).thenNothingHappens());
});

describe('2PC, a no', () => {
  it('aborts all that may have run at once: those that voted yes and those still in flight', () =>
    given(three)
      .after(yes('hotel', { output: 'h-1' }))
      .when(no('flight', { code: 'sold-out', message: 'no seats' }))
      .thenEmits(
        decide('abort', 'sold-out'),
        command('hotel', 'abort', { output: 'h-1', ran: true }),
        command('car', 'abort', { ran: false }),
        armIn(10_000),
      )
      .thenOutstanding('hotel abort 1', 'car abort 1'));

  it('aborts the one that refused too when it may have run before', () =>
    given(trip)
      .when(no('flight', { mayHaveRun: true }))
      .thenEmits(
        decide('abort', 'refused'),
        command('hotel', 'abort', { ran: false }),
        command('flight', 'abort', { ran: false }),
        armIn(10_000),
      ));

  it('ends aborted with the first cause once all have answered', () =>
    given(trip)
      .after(no('flight', { code: 'sold-out', message: 'no seats' }))
      .when(aborted('hotel'))
      .thenEmits(end({ status: 'aborted', code: 'sold-out', message: 'no seats', step: 'flight' })));

  it('ends at once when nobody is left to undo', () =>
    given(trip)
      .after(report('hotel', 'prepare', 'read-only'))
      .when(no('flight'))
      .thenEmits(decide('abort', 'refused'), end({ status: 'aborted', code: 'refused', step: 'flight' })));

  it('spares a step that backs off after clean attempts: it has not run', () =>
    given(trip)
      .after(report('hotel', 'prepare', 'retry'))
      .when(no('flight'))
      .thenEmits(decide('abort', 'refused'), end({ status: 'aborted', code: 'refused', step: 'flight' })));

  for (const answer of ['conflict', 'stale'] as const) {
    it(`counts ${answer} as a no of a step that may have run`, () =>
      given(trip)
        .when(report('flight', 'prepare', answer, { message: 'why' }))
        .thenEmits(
          decide('abort', answer),
          command('hotel', 'abort', { ran: false }),
          command('flight', 'abort', { ran: false }),
          armIn(10_000),
        ));
  }

  it('counts a participant that aborted on its own as a no, without contradiction', () =>
    given(trip)
      .after(report('flight', 'prepare', 'heuristic', { result: 'aborted' }), aborted('hotel'))
      .when(aborted('flight'))
      .thenEmits(
        end({ status: 'aborted', code: 'heuristic', message: 'aborted on its own', step: 'flight' }),
      ));

  it('records a participant that committed on its own: the run ends mixed, by an operator', () => {
    const claimed = given(trip).after(report('flight', 'prepare', 'heuristic', { result: 'committed' }));
    const cause = { code: 'heuristic', message: 'committed on its own', step: 'flight' };
    given(trip)
      .when(report('flight', 'prepare', 'heuristic', { result: 'committed' }))
      .thenEmits(
        decide('abort', 'heuristic'),
        command('hotel', 'abort', { ran: false }),
        command('flight', 'abort', { ran: true }),
        armIn(10_000),
        attend('flight', 'prepare', { code: 'heuristic', message: 'committed on its own' }),
      );
    claimed
      .after(aborted('hotel'))
      .when(aborted('flight'))
      .thenEmits(kit.tell({ status: 'mixed', ...cause, attention: true }));
    claimed
      .after(aborted('hotel'), aborted('flight'))
      .when(kit.operator('item_resolved', 'flight', { answer: 'done' }))
      .thenEmits(end({ status: 'mixed', ...cause }));
  });
});

describe('2PC, attempts at prepare', () => {
  const backingOff = given(trip).after(report('hotel', 'prepare', 'retry', { retryAfter: 60_000 }));

  it('backs off after a retry, at most as long as the policy allows', () =>
    given(trip)
      .when(report('hotel', 'prepare', 'retry', { retryAfter: 60_000 }))
      .thenEmits(armIn(5_000))
      .thenOutstanding('flight prepare 1')
      .thenTimers('phase prepare 30000', 'backoff hotel 5001', 'attempt flight 10000')
      .thenViews({ steps: [{ step: 'hotel', status: 'backing_off' }, { status: 'commanded' }] }));

  it('sends the next attempt after the back-off', () =>
    backingOff
      .when(passed('backoff'))
      .thenEmits(command('hotel', 'prepare', { attempt: 2, since: kit.BEGUN.time }), armIn(10_000)));

  it('sends an isolated attempt at once, alone, without counting it', () =>
    given(trip)
      .after(report('hotel', 'prepare', 'retry', { code: 'isolate' }))
      .after(report('hotel', 'prepare', 'unknown', { attempt: 2 }), passed('backoff'))
      .after(report('hotel', 'prepare', 'unknown', { attempt: 3 }))
      .when(passed('backoff'))
      .thenEmits(
        command('hotel', 'prepare', { attempt: 4, since: kit.BEGUN.time, alone: true }),
        armIn(10_000),
      ));

  it('takes an overdue attempt as unknown', () =>
    given(trip)
      .when(passed('attempt', { step: 'hotel' }))
      .thenEmits(armIn(0)));

  it('takes the late yes of an overdue attempt', () =>
    given(trip)
      .after(passed('attempt', { step: 'hotel' }), passed('backoff'), yes('flight'))
      .when(yes('hotel', { attempt: 1 }))
      .thenEmits(decide('commit'), command('hotel', 'commit'), command('flight', 'commit'), armIn(5_000)));

  it('votes no when the policy ends, and undoes what was not proved clean', () =>
    given(trip)
      .after(report('hotel', 'prepare', 'unknown'), passed('backoff'))
      .after(report('hotel', 'prepare', 'retry', { attempt: 2 }), passed('backoff'))
      .when(report('hotel', 'prepare', 'retry', { attempt: 3, code: 'busy' }))
      .thenEmits(
        decide('abort', 'exhausted'),
        command('hotel', 'abort', { ran: false }),
        command('flight', 'abort', { ran: false }),
        armIn(10_000),
      ));

  it('spares a step whose unknown attempt turned out clean afterwards', () =>
    given(trip)
      .after(passed('attempt', { step: 'hotel' }), report('hotel', 'prepare', 'retry'))
      .when(no('flight'))
      .thenEmits(decide('abort', 'refused'), end({ status: 'aborted', code: 'refused', step: 'flight' })));
});

describe('2PC, before the decision it is over when', () => {
  const bothAborted = [
    command('hotel', 'abort', { ran: false }),
    command('flight', 'abort', { ran: false }),
    armIn(10_000),
  ];

  it('the prepare deadline passes', () =>
    given(plan2pc(['hotel', 'flight'], { deadlines: { prepare: { lower: 900 } } }))
      .when(passed('phase', { phase: 'prepare' }))
      .thenEmits(decide('abort', 'deadline'), ...bothAborted));

  it('the prepare deadline passes, naming who did not vote', () =>
    given(plan2pc(['hotel', 'flight'], { deadlines: { prepare: { lower: 900 } } }))
      .after(yes('hotel'), passed('phase', { phase: 'prepare' }), aborted('hotel'))
      .when(aborted('flight'))
      .thenEmits(end({ status: 'aborted', code: 'deadline', message: 'no vote in time from flight' })));

  it('a step is late', () =>
    given(plan2pc(['hotel', { step: 'flight', deadline: { lower: 500 } }]))
      .when(passed('step', { step: 'flight' }))
      .thenEmits(decide('abort', 'deadline'), ...bothAborted));

  it('the run is late', () =>
    given(plan2pc(['hotel', 'flight'], { deadlines: { run: { lower: 700 } } }))
      .when(passed('run'))
      .thenEmits(decide('abort', 'deadline'), ...bothAborted)
      .thenTimers('attempt hotel 10700', 'attempt flight 10700'));

  it('a cancel comes, and it ends cancelled', () => {
    given(trip)
      .when(cancelled('changed my mind'))
      .thenEmits(
        decide('abort', 'cancelled'),
        command('hotel', 'abort', { ran: false }),
        command('flight', 'abort', { ran: false }),
        armIn(10_000),
      );
    given(trip)
      .after(cancelled('changed my mind'), aborted('hotel'))
      .when(aborted('flight'))
      .thenEmits(end({ status: 'cancelled', code: 'cancelled', message: 'changed my mind' }));
  });

  it('an operator forces it, naming the begin', () =>
    given(plan2pc(['hotel', 'flight']))
      .when({ type: 'forced', raised: kit.BEGUN.at, decision: 'abort', reason: 'stuck' })
      .thenEmits(decide('abort', 'forced'), ...bothAborted));

  it('an operator kills it: nothing is undone', () =>
    given(trip)
      .after(yes('hotel'))
      .when(kit.killed('test data'))
      .thenEmits(end({ status: 'killed', code: 'killed', message: 'test data' })));

  it('but a commit cannot be forced, and an early deadline does not count', () => {
    given(trip)
      .when({ type: 'forced', raised: kit.BEGUN.at, decision: 'commit', reason: 'now' })
      .thenNothingHappens();
    given(trip)
      .when(at(29_999, { type: 'deadline_passed', kind: 'phase', phase: 'prepare', armed: kit.BEGUN.at }))
      .thenNothingHappens();
  });

  it('and a vote read before the deadline wins', () =>
    given(trip)
      .after(yes('hotel'), at(30_000, yes('flight')))
      .when(at(30_000, { type: 'deadline_passed', kind: 'phase', phase: 'prepare', armed: kit.BEGUN.at }))
      .thenNothingHappens());
});

describe('2PC, the end', () => {
  it('ends committed when the last one answers, with the last output of each', () =>
    given(three)
      .after(yes('hotel', { output: 1 }), yes('flight', { output: 2 }), yes('car'))
      .after(committed('hotel', { output: 'paid' }), report('flight', 'commit', 'read-only'))
      .when(committed('car'))
      .thenEmits(end({ status: 'committed', outputs: { hotel: 'paid', flight: 2 } })));

  it('leaves outputs out that are too large to tell', () => {
    const output = 'x'.repeat(MAX_OUTPUT_BYTES - 2);
    const steps = ['a', 'b', 'c', 'd'];
    const votes = steps.map((step) => yes(step, { output }));
    given(plan2pc(steps))
      .after(...votes, ...['a', 'b', 'c'].map((step) => committed(step)))
      .when(committed('d'))
      .thenEmits(end({ status: 'committed' }));
    const small = [...votes.slice(0, 3), yes('d')];
    const outputs = { a: output, b: output, c: output };
    given(plan2pc(steps))
      .after(...small, ...['a', 'b', 'c'].map((step) => committed(step)))
      .when(committed('d'))
      .thenEmits(end({ status: 'committed', outputs }));
  });

  it('keeps the output of a step named like an object member (plans refuse __proto__)', () => {
    const step = 'constructor';
    const plan = plan2pc([{ step, participant: 'odd' }, 'flight']);
    const run = given(plan).after(yes('flight'), yes(step, { output: 1 }), committed('flight'));
    run.when(committed(step)).thenEmits(end({ status: 'committed', outputs: { constructor: 1 } }));
  });

  it('ignores everything after the end', () => {
    const ended = given(trip).after(yes('hotel'), yes('flight'), committed('hotel'), committed('flight'));
    ended.when(committed('hotel')).thenNothingHappens();
    ended.when(cancelled()).thenNothingHappens();
    ended.when(kit.killed()).thenNothingHappens();
    ended.when(yes('hotel', { lateEffect: true })).thenNothingHappens();
  });
});
