// Goal: what a participant did on its own is an answer like any other: it agrees, or it is a contradiction never forgotten.
// Method: given/when/then on the pure machine; whole effects compared; M1-M4 checked after every step.
import { describe, it } from 'vitest';
import { threePhaseCommit } from '../../src/protocol/three-phase-commit.ts';
import * as kit from '../kit/machine-spec.ts';
import { plan3pc } from '../kit/two-phase-commit-plans.ts';

const { armIn, attend, command, decide, end, operator, passed, report, tell } = kit;
const given = kit.specOf(threePhaseCommit);
const yes = (step: string, more = {}): kit.Body => report(step, 'prepare', 'done', more);
const precommitted = (step: string): kit.Body => report(step, 'precommit', 'done');
const committed = (step: string, more = {}): kit.Body => report(step, 'commit', 'done', more);
const aborted = (step: string): kit.Body => report(step, 'abort', 'done');
type Sent = 'prepare' | 'precommit' | 'commit' | 'abort';
const ownEnd = (step: string, phase: Sent, result: 'committed' | 'aborted'): kit.Body =>
  report(step, phase, 'terminated', { result });

const trip = plan3pc(['hotel', 'flight']);
const precommitting = given(trip).after(yes('hotel'), yes('flight'));
const committing = precommitting.after(precommitted('hotel'), precommitted('flight'));
const terminated = { code: 'terminated', message: 'aborted on its own', step: 'hotel' };
const against = { code: 'terminated', message: 'aborted on its own' };

describe('3PC, own ends while preparing', () => {
  it('an abort is a no, of a step that needs none any more', () => {
    given(trip)
      .after(yes('hotel'))
      .when(ownEnd('hotel', 'prepare', 'aborted'))
      .thenEmits(decide('abort', 'terminated'), command('flight', 'abort', { ran: false }), armIn(10_000))
      .thenViews({ steps: [{ step: 'hotel', status: 'undone' }, { status: 'commanded' }] });
    given(trip)
      .when(ownEnd('hotel', 'prepare', 'aborted'))
      .thenEmits(decide('abort', 'terminated'), command('flight', 'abort', { ran: false }), armIn(10_000));
  });

  it('all end on their own: the run ends aborted', () =>
    given(trip)
      .after(yes('hotel'), ownEnd('hotel', 'prepare', 'aborted'))
      .when(ownEnd('flight', 'prepare', 'aborted'))
      .thenEmits(end({ status: 'aborted', ...terminated })));

  it('ends aborted when the others have answered', () =>
    given(trip)
      .after(yes('hotel'), ownEnd('hotel', 'prepare', 'aborted'))
      .when(aborted('flight'))
      .thenEmits(end({ status: 'aborted', ...terminated })));

  it('a commit is a contradiction', () =>
    given(trip)
      .after(yes('hotel'))
      .when(ownEnd('hotel', 'prepare', 'committed'))
      .thenEmits(
        decide('abort', 'terminated'),
        command('hotel', 'abort', { ran: true }),
        command('flight', 'abort', { ran: false }),
        armIn(10_000),
        attend('hotel', 'prepare', { code: 'terminated', message: 'committed on its own' }),
      ));

  it('a read-only voter has nothing to end', () =>
    given(trip)
      .after(report('hotel', 'prepare', 'read-only'))
      .when(ownEnd('hotel', 'prepare', 'aborted'))
      .thenNothingHappens());
});

describe('3PC, own ends while aborting', () => {
  const aborting = given(trip).after(yes('hotel'), report('flight', 'prepare', 'refused'));
  const refused = { code: 'refused', step: 'flight' };

  for (const phase of ['prepare', 'abort'] as const) {
    it(`an abort in the name of ${phase} answers the abort`, () =>
      aborting.when(ownEnd('hotel', phase, 'aborted')).thenEmits(end({ status: 'aborted', ...refused })));

    it(`a commit in the name of ${phase} is a contradiction`, () =>
      aborting
        .when(ownEnd('hotel', phase, 'committed'))
        .thenEmits(
          attend('hotel', 'abort', { code: 'terminated', message: 'committed on its own' }),
          tell({ status: 'mixed', ...refused, attention: true }),
        ));
  }

  it('a yes read after the own end has its abort commanded, which the record answers', () =>
    given(trip)
      .after(ownEnd('hotel', 'prepare', 'aborted'))
      .when(yes('hotel'))
      .thenEmits(command('hotel', 'abort', { ran: true }), armIn(10_000)));

  it('ignores one of a step never commanded to precommit', () =>
    aborting.when(ownEnd('hotel', 'precommit', 'committed')).thenNothingHappens());
});

describe('3PC, own ends after precommit', () => {
  it('a commit acknowledges: nothing more is sent to it', () => {
    const one = precommitting.after(precommitted('flight'));
    one
      .when(ownEnd('hotel', 'precommit', 'committed'))
      .thenEmits(command('flight', 'commit'), armIn(5_000))
      .thenOutstanding('flight commit 1')
      .thenViews({ steps: [{ step: 'hotel', status: 'done' }, { status: 'commanded' }] });
    precommitting
      .after(precommitted('hotel'), ownEnd('hotel', 'precommit', 'committed'))
      .when(precommitted('flight'))
      .thenEmits(command('flight', 'commit'), armIn(5_000));
  });

  it('all committed on their own: the run ends committed without a commit', () =>
    precommitting
      .after(ownEnd('hotel', 'precommit', 'committed'))
      .when(ownEnd('flight', 'precommit', 'committed'))
      .thenEmits(end({ status: 'committed' })));

  for (const phase of ['precommit', 'commit'] as const)
    it(`a commit in the name of ${phase} acknowledges the commit`, () =>
      committing
        .after(committed('flight'))
        .when(ownEnd('hotel', phase, 'committed'))
        .thenEmits(end({ status: 'committed' })));

  it('a commit clears the doubt', () =>
    committing
      .after(committed('flight'), passed('phase', { phase: 'commit' }))
      .when(ownEnd('hotel', 'precommit', 'committed'))
      .thenEmits(end({ status: 'committed' })));

  for (const phase of ['prepare', 'precommit'] as const) {
    it(`an abort in the name of ${phase} is a contradiction while precommitting`, () => {
      precommitting
        .when(ownEnd('hotel', phase, 'aborted'))
        .thenEmits(attend('hotel', 'precommit', against))
        .thenOutstanding('flight precommit 1');
      precommitting
        .after(ownEnd('hotel', phase, 'aborted'), passed('phase', { phase: 'precommit' }))
        .when(committed('flight'))
        .thenEmits(tell({ status: 'mixed', ...terminated, attention: true }));
    });

    it(`an abort in the name of ${phase} is a contradiction while committing, whatever was answered`, () => {
      committing
        .when(ownEnd('hotel', phase, 'aborted'))
        .thenEmits(attend('hotel', 'commit', against))
        .thenOutstanding('flight commit 1');
      committing
        .after(committed('hotel'))
        .when(ownEnd('hotel', phase, 'aborted'))
        .thenEmits(attend('hotel', 'commit', against));
    });
  }

  it('an operator settles the contradiction, and the run ends mixed', () => {
    const told = committing.after(ownEnd('hotel', 'prepare', 'aborted'), committed('flight'));
    const mixed = end({ status: 'mixed', ...terminated });
    told.when(operator('item_resolved', 'hotel', { answer: 'done' })).thenEmits(mixed);
    told.when(operator('item_resolved', 'hotel', { answer: 'refused' })).thenEmits(mixed);
    told.when(operator('item_skipped', 'hotel')).thenEmits(mixed);
    const again = committing.after(committed('flight'), ownEnd('hotel', 'commit', 'aborted'));
    const retried = again.after(operator('item_retried', 'hotel'));
    retried.when(ownEnd('hotel', 'commit', 'aborted')).thenNothingHappens();
    retried.when(committed('hotel', { attempt: 2 })).thenEmits(mixed);
  });
});

describe('3PC, what operators do to precommit', () => {
  const asked = precommitting.after(precommitted('flight'), report('hotel', 'precommit', 'refused'));
  const next = [command('hotel', 'commit'), command('flight', 'commit'), armIn(5_000)];

  it('retries it', () => {
    const again = [command('hotel', 'precommit', { attempt: 2, since: kit.BEGUN.time + 2 }), armIn(10_000)];
    asked.when(operator('item_retried', 'hotel')).thenEmits(...again);
    asked
      .when(({ view }) => ({
        body: { type: 'forced', raised: view.attention[0]!.raised, decision: 'commit', reason: 'x' },
      }))
      .thenEmits(...again);
    asked
      .when(({ view }) => ({
        body: { type: 'forced', raised: view.attention[0]!.raised, decision: 'abort', reason: 'x' },
      }))
      .thenNothingHappens();
  });

  it('resolves it as done: commit follows', () =>
    asked.when(operator('item_resolved', 'hotel', { answer: 'done' })).thenEmits(...next));

  it('a late acknowledgement clears it: commit follows', () =>
    asked.when(precommitted('hotel')).thenEmits(...next));

  it('resolves it as refused: the others commit, the run ends mixed', () => {
    asked
      .when(operator('item_resolved', 'hotel', { answer: 'refused' }))
      .thenEmits(command('flight', 'commit'), armIn(5_000));
    asked
      .after(operator('item_resolved', 'hotel', { answer: 'refused' }))
      .when(committed('flight'))
      .thenEmits(end({ status: 'mixed', code: 'refused', step: 'hotel' }));
  });

  it('skips it: it is not waited for, and commits with the others', () => {
    asked.when(operator('item_skipped', 'hotel')).thenEmits(...next);
    asked
      .after(operator('item_skipped', 'hotel'), committed('hotel'))
      .when(committed('flight'))
      .thenEmits(end({ status: 'committed' }));
    precommitting
      .after(report('hotel', 'precommit', 'refused'))
      .when(operator('item_skipped', 'hotel'))
      .thenEmits()
      .thenOutstanding('flight precommit 1');
  });

  it('skips a step that has ended against the decision: no commit follows for it', () => {
    const split = precommitting.after(ownEnd('hotel', 'precommit', 'aborted'), precommitted('flight'));
    split.when(operator('item_skipped', 'hotel')).thenEmits(command('flight', 'commit'), armIn(5_000));
    split
      .after(operator('item_skipped', 'hotel'))
      .when(committed('flight'))
      .thenEmits(end({ status: 'mixed', ...terminated }));
  });

  it('kills the run: nothing is undone, and nothing follows the end', () => {
    asked.when(kit.killed('x')).thenEmits(end({ status: 'killed', code: 'killed', message: 'x' }));
    asked
      .after(kit.killed('x'))
      .when(ownEnd('hotel', 'prepare', 'aborted'))
      .thenNothingHappens();
  });
});
