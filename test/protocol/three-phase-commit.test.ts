// Goal: 3PC keeps every row of its transition table: votes, precommit, commit, and participants that end on their own.
// Method: given/when/then on the pure machine; whole effects compared; M1-M4 checked after every step.
import { describe, it } from 'vitest';
import { threePhaseCommit } from '../../src/protocol/three-phase-commit.ts';
import * as kit from '../kit/machine-spec.ts';
import { plan3pc } from '../kit/two-phase-commit-plans.ts';

const { armIn, at, attend, cancelled, command, decide, end, passed, report, tell } = kit;
const given = kit.specOf(threePhaseCommit);
const yes = (step: string, more = {}): kit.Body => report(step, 'prepare', 'done', more);
const no = (step: string, more = {}): kit.Body => report(step, 'prepare', 'refused', more);
const precommitted = (step: string, more = {}): kit.Body => report(step, 'precommit', 'done', more);
const committed = (step: string, more = {}): kit.Body => report(step, 'commit', 'done', more);
const aborted = (step: string, more = {}): kit.Body => report(step, 'abort', 'done', more);
const ownEnd = (
  step: string,
  phase: 'prepare' | 'precommit' | 'commit' | 'abort',
  result: string,
): kit.Body => report(step, phase, 'terminated', { result: result as 'committed' | 'aborted' });

const trip = plan3pc([{ step: 'hotel', input: { nights: 2 } }, 'flight']);
const three = plan3pc(['hotel', 'flight', 'car']);
const precommitting = given(trip).after(yes('hotel', { output: 'h-1' }), yes('flight'));
const committing = precommitting.after(precommitted('hotel'), precommitted('flight'));
const commit = (step: string, more = {}): kit.Expected => command(step, 'commit', more);
const precommit = (step: string, more = {}): kit.Expected => command(step, 'precommit', more);

describe('3PC, voting', () => {
  it('prepares all at once', () =>
    given(trip)
      .whenBegun()
      .thenEmits(command('hotel', 'prepare'), command('flight', 'prepare'), armIn(10_000))
      .thenTimers('phase prepare 30000', 'attempt hotel 10000', 'attempt flight 10000'));

  it('one step takes the three phases all the same', () => {
    const alone = given(plan3pc(['hotel']));
    alone.whenBegun().thenEmits(command('hotel', 'prepare'), armIn(10_000));
    alone.when(yes('hotel')).thenEmits(decide('commit'), precommit('hotel'), armIn(5_000));
    alone.after(yes('hotel')).when(precommitted('hotel')).thenEmits(commit('hotel'), armIn(5_000));
    alone
      .after(yes('hotel'), precommitted('hotel'))
      .when(committed('hotel'))
      .thenEmits(end({ status: 'committed' }));
  });

  it('decides at the last yes, and tells all before anybody commits', () =>
    given(three)
      .after(yes('hotel', { output: 'h-1' }), report('flight', 'prepare', 'read-only'))
      .when(yes('car'))
      .thenEmits(decide('commit'), precommit('hotel', { output: 'h-1' }), precommit('car'), armIn(5_000))
      .thenOutstanding('hotel precommit 1', 'car precommit 1')
      .thenTimers('phase precommit 5003', 'attempt hotel 10003', 'attempt car 10003')
      .thenViews({
        phase: 'precommitting',
        waitsFor: 'answers to precommit from hotel, car until 1970-01-01T00:16:45.003Z, then commits',
      }));

  it('ends at once when all are read-only', () =>
    given(trip)
      .after(report('hotel', 'prepare', 'read-only'))
      .when(report('flight', 'prepare', 'read-only'))
      .thenEmits(decide('commit'), end({ status: 'committed' })));

  it('backs off after a retry and after an overdue attempt', () => {
    given(trip)
      .when(report('hotel', 'prepare', 'retry', { retryAfter: 60_000 }))
      .thenEmits(armIn(5_000));
    given(trip)
      .when(passed('attempt', { step: 'hotel' }))
      .thenEmits(armIn(0));
  });

  it('ignores what nobody commanded', () => {
    given(trip).when(yes('car')).thenNothingHappens();
    given(trip).when(precommitted('hotel')).thenNothingHappens();
    given(trip)
      .after(yes('hotel'))
      .when(report('hotel', 'prepare', 'terminated', { result: 'aborted', attempt: 2 }))
      .thenNothingHappens();
    given(trip)
      .after(yes('hotel'))
      .when(ownEnd('hotel', 'precommit', 'committed'))
      .thenNothingHappens();
  });
});

describe('3PC, before precommit it aborts as 2PC does when', () => {
  const both = [
    command('hotel', 'abort', { ran: false }),
    command('flight', 'abort', { ran: false }),
    armIn(10_000),
  ];

  it('one refuses', () =>
    given(trip)
      .after(yes('hotel', { output: 'h-1' }))
      .when(no('flight', { code: 'sold-out' }))
      .thenEmits(
        decide('abort', 'sold-out'),
        command('hotel', 'abort', { output: 'h-1', ran: true }),
        armIn(10_000),
      ));

  for (const answer of ['conflict', 'stale'] as const)
    it(`one answers ${answer}`, () =>
      given(trip)
        .when(report('flight', 'prepare', answer))
        .thenEmits(decide('abort', answer), ...both));

  it('one aborted or committed by a decision of its own', () => {
    given(trip)
      .when(report('flight', 'prepare', 'heuristic', { result: 'aborted' }))
      .thenEmits(decide('abort', 'heuristic'), ...both);
    given(trip)
      .when(report('flight', 'prepare', 'heuristic', { result: 'committed' }))
      .thenEmits(
        decide('abort', 'heuristic'),
        command('hotel', 'abort', { ran: false }),
        command('flight', 'abort', { ran: true }),
        armIn(10_000),
        attend('flight', 'prepare', { code: 'heuristic', message: 'committed on its own' }),
      );
  });

  it('attempts are exhausted', () =>
    given(plan3pc([{ step: 'hotel', retry: { maxAttempts: 1 } }, 'flight']))
      .when(report('hotel', 'prepare', 'unknown'))
      .thenEmits(decide('abort', 'exhausted'), ...both));

  it('the prepare deadline, a step’s or the run’s passes', () => {
    given(plan3pc(['hotel', 'flight'], { deadlines: { prepare: { lower: 900 } } }))
      .when(passed('phase', { phase: 'prepare' }))
      .thenEmits(decide('abort', 'deadline'), ...both);
    given(plan3pc(['hotel', { step: 'flight', deadline: { lower: 500 } }]))
      .when(passed('step', { step: 'flight' }))
      .thenEmits(decide('abort', 'deadline'), ...both);
    given(plan3pc(['hotel', 'flight'], { deadlines: { run: { lower: 700 } } }))
      .when(passed('run'))
      .thenEmits(decide('abort', 'deadline'), ...both);
  });

  it('a cancel comes, or an operator forces it', () => {
    const plain = given(plan3pc(['hotel', 'flight']));
    plain.when(cancelled()).thenEmits(decide('abort', 'cancelled'), ...both);
    plain
      .after(cancelled('no'), aborted('hotel'))
      .when(aborted('flight'))
      .thenEmits(end({ status: 'cancelled', code: 'cancelled', message: 'no' }));
    plain
      .when({ type: 'forced', raised: kit.BEGUN.at, decision: 'abort', reason: 'stuck' })
      .thenEmits(decide('abort', 'forced'), ...both);
  });
});

describe('3PC, precommitting', () => {
  it('commits once all have acknowledged', () =>
    precommitting
      .after(precommitted('hotel', { output: 'h-2' }))
      .when(report('flight', 'precommit', 'read-only'))
      .thenEmits(commit('hotel', { output: 'h-2' }), commit('flight'), armIn(5_000))
      .thenTimers('phase commit 5004', 'attempt hotel 10004', 'attempt flight 10004')
      .thenViews({ phase: 'committing' }));

  it('commits at its deadline, also to those that never acknowledged', () =>
    precommitting
      .after(precommitted('hotel'))
      .when(passed('phase', { phase: 'precommit' }))
      .thenEmits(commit('hotel', { output: 'h-1' }), commit('flight'), armIn(5_000))
      .thenOutstanding('hotel commit 1', 'flight commit 1'));

  it('commits at the deadline of the run, which then guards nothing more', () =>
    given(plan3pc(['hotel', 'flight'], { deadlines: { run: { lower: 700 } } }))
      .after(yes('hotel'), yes('flight'))
      .when(passed('run'))
      .thenEmits(commit('hotel'), commit('flight'), armIn(5_000))
      .thenTimers('phase commit 5700', 'attempt hotel 10700', 'attempt flight 10700'));

  it('never stops sending', () => {
    let run = precommitting;
    for (let attempt = 1; attempt <= 5; attempt += 1)
      run = run
        .after(report('hotel', 'precommit', attempt % 2 === 0 ? 'retry' : 'unknown', { attempt }))
        .after(passed('backoff'));
    run
      .after(passed('phase', { phase: 'precommit' }))
      .when(report('hotel', 'precommit', 'done', { attempt: 6 }))
      .thenNothingHappens();
    precommitting.when(report('hotel', 'precommit', 'unknown')).thenEmits(armIn(0));
    precommitting
      .after(report('hotel', 'precommit', 'unknown'))
      .when(passed('backoff'))
      .thenEmits(precommit('hotel', { attempt: 2, output: 'h-1', since: kit.BEGUN.time + 2 }), armIn(10_000));
  });

  for (const answer of ['refused', 'stale'] as const)
    it(`asks a person after ${answer}, and still commits at the deadline`, () => {
      const asked = precommitting.after(precommitted('flight'));
      asked
        .when(report('hotel', 'precommit', answer, { code: 'gone' }))
        .thenEmits(attend('hotel', 'precommit', { code: answer, message: 'gone' }))
        .thenTimers('phase precommit 5002')
        .thenViews({ waitsFor: 'an operator: hotel until 1970-01-01T00:16:45.002Z, then commits' });
      const overdue = asked.after(report('hotel', 'precommit', answer, { code: 'gone' }));
      overdue
        .when(passed('phase', { phase: 'precommit' }))
        .thenEmits(commit('hotel', { output: 'h-1' }), commit('flight'), armIn(5_000));
      overdue
        .after(passed('phase', { phase: 'precommit' }), committed('hotel'))
        .when(committed('flight'))
        .thenEmits(end({ status: 'committed', outputs: { hotel: 'h-1' } }));
    });

  it('ignores cancel, force abort, late votes, and answers to commit', () => {
    precommitting.when(cancelled()).thenNothingHappens();
    precommitting.when(no('hotel')).thenNothingHappens();
    precommitting.when(committed('hotel')).thenNothingHappens();
    precommitting.when(ownEnd('hotel', 'commit', 'aborted')).thenNothingHappens();
    precommitting
      .when({ type: 'forced', raised: kit.BEGUN.at, decision: 'abort', reason: 'please' })
      .thenNothingHappens();
    precommitting.when({ type: 'signalled', name: 'go' }).thenNothingHappens();
    precommitting
      .when(at(30_000, { type: 'deadline_passed', kind: 'phase', phase: 'prepare', armed: kit.BEGUN.at }))
      .thenNothingHappens();
  });
});

describe('3PC, committing', () => {
  it('ends committed once all have acknowledged', () =>
    committing
      .after(committed('hotel'))
      .when(report('flight', 'commit', 'read-only'))
      .thenEmits(end({ status: 'committed', outputs: { hotel: 'h-1' } })));

  it('never stops sending, and ignores what was answered to precommit', () => {
    committing.when(report('hotel', 'commit', 'unknown')).thenEmits(armIn(0));
    committing.when(report('hotel', 'commit', 'retry')).thenEmits(armIn(0));
    committing.when(passed('attempt', { step: 'hotel' })).thenEmits(armIn(0));
    committing.when(precommitted('hotel')).thenNothingHappens();
    committing.when(cancelled()).thenNothingHappens();
  });

  it('is in doubt at its deadline, or the run’s', () => {
    const item = { code: 'in-doubt', message: 'no answer to commit in time' };
    committing
      .after(committed('flight'))
      .when(passed('phase', { phase: 'commit' }))
      .thenEmits(attend('hotel', 'commit', item))
      .thenOutstanding('hotel commit 1');
    given(plan3pc(['hotel', 'flight'], { deadlines: { run: { lower: 700 } } }))
      .after(yes('hotel'), yes('flight'), precommitted('hotel'), precommitted('flight'), committed('flight'))
      .when(passed('run'))
      .thenEmits(attend('hotel', 'commit', item));
  });

  for (const answer of ['refused', 'stale'] as const)
    it(`asks a person after ${answer}`, () =>
      committing
        .when(report('hotel', 'commit', answer, { code: 'gone' }))
        .thenEmits(attend('hotel', 'commit', { code: answer, message: 'gone' }))
        .thenOutstanding('flight commit 1'));
});

describe('3PC, answers against the decision', () => {
  const heuristic = { result: 'aborted' as const };
  const cases = [
    ['precommit', precommitting.after(precommitted('flight'))],
    ['commit', committing.after(committed('flight'))],
  ] as const;
  for (const [phase, before] of cases) {
    it(`heuristic and conflict in answer to ${phase} are contradictions`, () => {
      const told = (code: string, more = {}): kit.Expected[] =>
        phase === 'commit' ? [tell({ status: 'mixed', code, ...more, step: 'hotel', attention: true })] : [];
      const message = { message: 'aborted on its own' };
      before
        .when(report('hotel', phase, 'heuristic', heuristic))
        .thenEmits(attend('hotel', phase, { code: 'heuristic', ...message }), ...told('heuristic', message));
      before
        .when(report('hotel', phase, 'conflict'))
        .thenEmits(attend('hotel', phase, { code: 'conflict' }), ...told('conflict'));
    });
  }

  it('what contradicted precommit gets no commit, and the run ends mixed, by an operator', () => {
    const contradicted = precommitting.after(
      report('hotel', 'precommit', 'conflict'),
      precommitted('flight'),
    );
    contradicted.when(passed('phase', { phase: 'precommit' })).thenEmits(commit('flight'), armIn(5_000));
    const told = contradicted.after(passed('phase', { phase: 'precommit' }));
    told
      .when(committed('flight'))
      .thenEmits(tell({ status: 'mixed', code: 'conflict', step: 'hotel', attention: true }));
    told.when(precommitted('hotel')).thenNothingHappens();
    told
      .after(committed('flight'))
      .when(kit.operator('item_resolved', 'hotel', { answer: 'refused' }))
      .thenEmits(end({ status: 'mixed', code: 'conflict', step: 'hotel' }));
  });

  it('tells at once when commit has nobody left to go to', () =>
    given(plan3pc(['hotel']))
      .after(yes('hotel'), report('hotel', 'precommit', 'conflict'))
      .when(passed('phase', { phase: 'precommit' }))
      .thenEmits(tell({ status: 'mixed', code: 'conflict', step: 'hotel', attention: true }))
      .thenTimers());
});

describe('3PC, aborting', () => {
  const aborting = given(trip).after(yes('hotel', { output: 'h-1' }), no('flight'));
  const refused = { code: 'refused', step: 'flight' };

  it('ends aborted once all addressed have answered', () => {
    aborting.when(aborted('hotel')).thenEmits(end({ status: 'aborted', ...refused }));
    aborting.when(report('hotel', 'abort', 'read-only')).thenEmits(end({ status: 'aborted', ...refused }));
  });

  it('retries, then asks a person', () => {
    aborting.when(report('hotel', 'abort', 'retry')).thenEmits(armIn(0));
    aborting
      .after(report('hotel', 'abort', 'unknown'), passed('backoff'), passed('attempt'), passed('backoff'))
      .when(report('hotel', 'abort', 'unknown', { attempt: 3 }))
      .thenEmits(
        attend('hotel', 'abort', { code: 'exhausted' }),
        tell({ status: 'aborted', ...refused, attention: true }),
      );
  });

  for (const answer of ['refused', 'stale'] as const)
    it(`asks a person after ${answer}`, () =>
      aborting
        .when(report('hotel', 'abort', answer))
        .thenEmits(
          attend('hotel', 'abort', { code: answer }),
          tell({ status: 'aborted', ...refused, attention: true }),
        ));

  it('asks a person at its own deadline and the run’s', () => {
    const item = { code: 'deadline', message: 'no answer to abort in time' };
    const late = given(
      plan3pc(['hotel', 'flight'], { deadlines: { abort: { lower: 800 }, run: { lower: 900 } } }),
    ).after(yes('hotel'), no('flight'));
    late.when(passed('phase', { phase: 'abort' })).thenEmits(attend('hotel', 'abort', item));
    late.when(passed('run')).thenEmits(attend('hotel', 'abort', item));
  });

  it('heuristic and conflict are contradictions', () => {
    aborting
      .when(report('hotel', 'abort', 'heuristic', { result: 'committed' }))
      .thenEmits(
        attend('hotel', 'abort', { code: 'heuristic', message: 'committed on its own' }),
        tell({ status: 'mixed', ...refused, attention: true }),
      );
    aborting
      .when(report('hotel', 'abort', 'conflict'))
      .thenEmits(
        attend('hotel', 'abort', { code: 'conflict' }),
        tell({ status: 'mixed', ...refused, attention: true }),
      );
  });

  it('notes a late yes while abort is in flight; commands it again after', () => {
    const inFlight = given(three).after(no('flight'));
    inFlight.when(yes('hotel', { output: 'h-1' })).thenEmits();
    inFlight
      .after(aborted('hotel'))
      .when(yes('hotel'))
      .thenEmits(command('hotel', 'abort', { attempt: 2, ran: true }), armIn(10_000));
    inFlight
      .when(yes('hotel', { lateEffect: true }))
      .thenEmits(command('hotel', 'abort', { attempt: 2, ran: true, redo: 2 }), armIn(10_000));
    aborting.when(yes('flight')).thenEmits(command('flight', 'abort', { ran: true }), armIn(10_000));
  });
});
