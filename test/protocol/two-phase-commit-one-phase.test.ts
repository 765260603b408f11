// Goal: a single participant is commanded once and for all: its report alone decides, silence means doubt, never abort.
// Method: given/when/then on the pure machine; whole effects compared; M1-M4 checked after every step.
import { describe, it } from 'vitest';
import { twoPhaseCommit } from '../../src/protocol/two-phase-commit.ts';
import * as kit from '../kit/machine-spec.ts';
import { plan2pc } from '../kit/two-phase-commit-plans.ts';

const { armIn, attend, cancelled, command, decide, end, operator, passed, report, tell } = kit;
const given = kit.specOf(twoPhaseCommit);
const begun = kit.BEGUN.time;

describe('2PC, one participant', () => {
  const alone = given(plan2pc([{ step: 'hotel', input: { nights: 1 } }]));
  const only = (answer: Parameters<typeof report>[2], more = {}): kit.Body =>
    report('hotel', 'commit-one-phase', answer, more);
  const inDoubt = alone.after(passed('phase'));

  it('is told to commit in one phase', () =>
    alone
      .whenBegun()
      .thenEmits(command('hotel', 'commit-one-phase'), armIn(5_000))
      .thenTimers('phase commit-one-phase 5000', 'attempt hotel 10000'));

  it('commits on its yes', () =>
    alone
      .when(only('done', { output: 3 }))
      .thenEmits(decide('commit'), end({ status: 'committed', outputs: { hotel: 3 } })));

  it('commits on read-only', () =>
    alone.when(only('read-only')).thenEmits(decide('commit'), end({ status: 'committed' })));

  it('aborts on its no', () =>
    alone
      .when(only('refused', { code: 'full', message: 'no room' }))
      .thenEmits(
        decide('abort', 'full'),
        end({ status: 'aborted', code: 'full', message: 'no room', step: 'hotel' }),
      ));

  it('aborts when its attempts end and each was clean', () =>
    alone
      .after(only('retry'), passed('backoff'), only('retry', { attempt: 2 }), passed('backoff'))
      .when(only('retry', { attempt: 3 }))
      .thenEmits(decide('abort', 'exhausted'), end({ status: 'aborted', code: 'exhausted', step: 'hotel' })));

  it('is in doubt, never aborted, at its deadline', () =>
    alone
      .when(passed('phase', { phase: 'commit-one-phase' }))
      .thenEmits(
        attend('hotel', 'commit-one-phase', {
          code: 'in-doubt',
          message: 'no answer to commit-one-phase in time',
        }),
      )
      .thenOutstanding('hotel commit-one-phase 1'));

  it('is in doubt at the deadline of its step, if that is earlier', () =>
    given(plan2pc([{ step: 'hotel', deadline: { lower: 400 } }]))
      .whenBegun()
      .thenTimers('phase commit-one-phase 400', 'attempt hotel 10000'));

  it('is in doubt at the deadline of the run', () =>
    given(plan2pc(['hotel'], { deadlines: { run: { lower: 300 } } }))
      .when(passed('run'))
      .thenEmits(
        attend('hotel', 'commit-one-phase', {
          code: 'in-doubt',
          message: 'no answer to commit-one-phase in time',
        }),
      ));

  it('ignores a cancel once commanded', () => alone.when(cancelled()).thenNothingHappens());

  it('is in doubt when its attempts end and one may have run', () =>
    alone
      .after(only('unknown'), passed('backoff'), only('retry', { attempt: 2 }), passed('backoff'))
      .when(only('retry', { attempt: 3 }))
      .thenEmits(attend('hotel', 'commit-one-phase', { code: 'in-doubt' }))
      .thenOutstanding());

  it('aborts when the attempt in doubt turns out clean after all', () =>
    alone
      .after(only('unknown'), passed('backoff'), only('retry', { attempt: 2 }), passed('backoff'))
      .after(only('retry', { attempt: 3 }))
      .when(only('refused', { attempt: 1, code: 'full' }))
      .thenEmits(decide('abort', 'full'), end({ status: 'aborted', code: 'full', step: 'hotel' })));

  for (const answer of ['refused', 'conflict', 'stale'] as const) {
    it(`is in doubt after ${answer} that may have run, and a late report decides`, () => {
      const doubtful = alone.after(only(answer, { mayHaveRun: true }));
      alone
        .when(only(answer, { mayHaveRun: true, message: 'hm' }))
        .thenEmits(attend('hotel', 'commit-one-phase', { code: answer, message: 'hm' }));
      doubtful.when(only('done')).thenEmits(decide('commit'), end({ status: 'committed' }));
    });
  }

  it('lets a late report decide', () => {
    inDoubt.when(only('done')).thenEmits(decide('commit'), end({ status: 'committed' }));
    inDoubt
      .when(only('refused'))
      .thenEmits(decide('abort', 'refused'), end({ status: 'aborted', code: 'refused', step: 'hotel' }));
  });

  it('is mixed when it decided on its own', () =>
    alone.when(only('heuristic', { result: 'committed' })).thenEmits(
      attend('hotel', 'commit-one-phase', { code: 'heuristic', message: 'committed on its own' }),
      tell({
        status: 'mixed',
        code: 'heuristic',
        message: 'committed on its own',
        step: 'hotel',
        attention: true,
      }),
    ));

  it('ends as an operator found it', () => {
    const cause = { code: 'refused', step: 'hotel' };
    inDoubt
      .when(operator('item_resolved', 'hotel', { answer: 'done' }))
      .thenEmits(decide('commit'), end({ status: 'committed' }));
    inDoubt
      .when(operator('item_resolved', 'hotel', { answer: 'refused' }))
      .thenEmits(decide('abort', 'refused'), end({ status: 'aborted', ...cause }));
    inDoubt
      .when(operator('item_skipped', 'hotel'))
      .thenEmits(end({ status: 'resolved', code: 'skipped', step: 'hotel' }));
  });

  it('is asked again by an operator; an earlier attempt may still answer', () => {
    const since = begun;
    inDoubt
      .when(operator('item_retried', 'hotel'))
      .thenEmits(command('hotel', 'commit-one-phase', { attempt: 2, since }), armIn(5_000));
    inDoubt
      .after(operator('item_retried', 'hotel'))
      .when(only('done'))
      .thenEmits(decide('commit'), end({ status: 'committed' }));
  });
});
