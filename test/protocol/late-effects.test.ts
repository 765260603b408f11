// Goal: an effect that lands after its undo is undone again, or a person is told: never passed over. Method: the
// sequences that two copies of one command and a paused worker make, given to the machines and to the barrier's table.
import { describe, expect, it } from 'vitest';
import type { GuardedCommand, Reply } from '../../src/reliability/barrier.ts';
import { lost, unrecorded } from '../../src/reliability/barrier-late.ts';
import { decide, finish, type BarrierRecord } from '../../src/reliability/barrier-table.ts';
import { saga } from '../../src/protocol/saga.ts';
import { threePhaseCommit } from '../../src/protocol/three-phase-commit.ts';
import { threePhaseSaga } from '../../src/protocol/three-phase-saga.ts';
import { twoPhaseCommit } from '../../src/protocol/two-phase-commit.ts';
import { twoPhaseSaga } from '../../src/protocol/two-phase-saga.ts';
import { compiled } from '../kit/compiled.ts';
import { attend, armIn, BEGUN, command, operator, passed, report, specOf } from '../kit/machine-spec.ts';
import { plan2pc, plan3pc } from '../kit/two-phase-commit-plans.ts';

const late = { lateEffect: true } as const;
const atomic = [
  { machine: '2PC', given: specOf(twoPhaseCommit), plan: plan2pc(['hotel', 'flight', 'car']) },
  { machine: '3PC', given: specOf(threePhaseCommit), plan: plan3pc(['hotel', 'flight', 'car']) },
];

describe.each(atomic)('$machine, a late effect', ({ given, plan }) => {
  const voted = given(plan).after(report('hotel', 'prepare', 'done'), report('flight', 'prepare', 'refused'));
  const again = [command('hotel', 'abort', { attempt: 2, ran: true, redo: 2 }), armIn(10_000)] as const;

  it('of an attempt that voted already: aborted again, in flight or answered', () => {
    voted.when(report('hotel', 'prepare', 'done', late)).thenEmits(...again);
    voted
      .after(report('hotel', 'abort', 'done'))
      .when(report('hotel', 'prepare', 'done', late))
      .thenEmits(...again)
      .thenOutstanding('hotel abort 2', 'car abort 1');
  });

  it('that may be one: aborted again, for nobody knows', () =>
    given(plan)
      .after(report('flight', 'prepare', 'refused'), report('hotel', 'abort', 'done'))
      .when(report('hotel', 'prepare', 'unknown', late))
      .thenEmits(command('hotel', 'abort', { attempt: 2, ran: false, redo: 2 }), armIn(10_000)));

  it('while a person has the abort: no earlier answer clears the item, and the retry is a new abort', () => {
    const waiting = voted.after(
      report('hotel', 'abort', 'refused'),
      report('hotel', 'prepare', 'done', late),
    );
    waiting.when(report('hotel', 'abort', 'done')).thenNothingHappens();
    waiting.when(operator('item_retried', 'hotel')).thenEmits(...again);
  });

  it('after a person skipped the abort: attention', () =>
    voted
      .after(report('hotel', 'abort', 'refused'), operator('item_skipped', 'hotel'))
      .when(report('hotel', 'prepare', 'done', late))
      .thenEmits(
        attend('hotel', 'abort', {
          code: 'late-effect',
          message: 'prepare has taken effect after its abort',
        }),
      ));

  it('of a read-only voter: aborted, or attention when all commit', () => {
    const readOnly = given(plan).after(report('hotel', 'prepare', 'read-only'));
    const isLate = report('hotel', 'prepare', 'done', late);
    readOnly
      .after(report('flight', 'prepare', 'refused'))
      .when(isLate)
      .thenEmits(command('hotel', 'abort', { ran: true, redo: 1 }), armIn(10_000));
    const message = 'prepared although it said read-only, after the decision to commit';
    const all = readOnly.after(report('flight', 'prepare', 'done'), report('car', 'prepare', 'done'));
    const phase = plan.pattern === '3pc' ? 'precommit' : 'commit';
    all.when(isLate).thenEmits(attend('hotel', phase, { code: 'late-effect', message }));
    readOnly
      .after(isLate, report('flight', 'prepare', 'done'), report('car', 'prepare', 'done'))
      .when(report('hotel', phase, 'refused'))
      .thenEmits(attend('hotel', phase, { code: 'refused' }));
  });

  it('read-only after an attempt of which nothing is known: aborted with the others', () =>
    given(plan)
      .after(passed('attempt', { step: 'hotel' }), passed('backoff', { step: 'hotel' }))
      .after(report('hotel', 'prepare', 'read-only', { attempt: 2 }), report('flight', 'prepare', 'refused'))
      .when(report('car', 'abort', 'done'))
      .thenEmits()
      .thenOutstanding('hotel abort 1'));
});

describe('3PC, a late effect of a step that ended on its own', () => {
  const given = specOf(threePhaseCommit);
  const plan = plan3pc(['hotel', 'flight']);
  const ended = report('hotel', 'prepare', 'terminated', { result: 'aborted' });

  it('read before that end: it is aborted with the others', () =>
    given(plan)
      .after(report('hotel', 'prepare', 'done'), report('hotel', 'prepare', 'done', late))
      .when(ended)
      .thenEmits(
        { type: 'decide', value: 'abort', code: 'terminated' },
        command('hotel', 'abort', { ran: true, redo: 1 }),
        command('flight', 'abort', { ran: false }),
        armIn(10_000),
      ));

  it('of a read-only voter while the others commit: attention', () =>
    given(plan)
      .after(report('hotel', 'prepare', 'read-only'), report('flight', 'prepare', 'done'))
      .after(report('flight', 'precommit', 'done'))
      .when(report('hotel', 'prepare', 'done', late))
      .thenEmits(
        attend('hotel', 'commit', {
          code: 'late-effect',
          message: 'prepared although it said read-only, after the decision to commit',
        }),
      ));

  it('read after that end: aborted, and the end told again does not count for it', () => {
    const aborting = given(plan).after(report('hotel', 'prepare', 'done'), ended);
    const isLate = report('hotel', 'prepare', 'done', late);
    aborting.when(isLate).thenEmits(command('hotel', 'abort', { ran: true, redo: 1 }), armIn(10_000));
    aborting.after(isLate).when(ended).thenNothingHappens();
  });
});

const staged = [
  { machine: 'saga', given: specOf(saga), plan: compiled('saga', [{ step: 'a', after: [] }, { step: 'b', after: [] }, { step: 'c', after: [] }]), act: 'execute', undo: 'compensate' }, // prettier-ignore
  { machine: '2PS', given: specOf(twoPhaseSaga), plan: compiled('2ps', ['c', 'b', 'a']), act: 'prepare', undo: 'cancel' }, // prettier-ignore
  { machine: '3PS', given: specOf(threePhaseSaga), plan: compiled('3ps', ['c', 'b', 'a']), act: 'reserve', undo: 'release' }, // prettier-ignore
] as const;

describe.each(staged)('$machine, a late effect', ({ given, plan, act, undo }) => {
  const undoing = given(plan)
    .after(report('a', act, 'done'), report('b', act, 'refused'))
    .after(...(act === 'reserve' ? [report('a', 'validate', 'refused')] : []));
  const redo = (n: number) => [
    command('a', undo, { attempt: n, ran: true, redo: n, since: BEGUN.time }),
    armIn(10_000),
  ];

  it('told twice is undone twice, for it may be two', () => {
    const once = undoing.after(report('a', undo, 'done'), report('a', act, 'done', late));
    undoing.when(report('a', act, 'done', late)).thenEmits(...redo(2));
    once.when(report('a', act, 'done', late)).thenEmits(...redo(3));
    once
      .after(report('a', act, 'done', late))
      .when(report('a', undo, 'done', { attempt: 2 }))
      .thenNothingHappens();
  });

  it('that may be one: undone again', () =>
    undoing.when(report('a', act, 'unknown', late)).thenEmits(...redo(2)));

  it('after a person skipped the undo: attention, and the retry is a new undo', () => {
    const skipped = undoing.after(report('a', undo, 'refused'), operator('item_skipped', 'a'));
    const told = { code: 'late-effect', message: `${act} has taken effect after its ${undo}` };
    skipped.when(report('a', act, 'done', late)).thenEmits(attend('a', undo, told));
    skipped
      .after(report('a', act, 'done', late))
      .when(operator('item_retried', 'a'))
      .thenEmits(...redo(2));
  });

  it('read-only after an attempt of which nothing is known is undone', () => {
    const { retry } = plan.steps[0]!;
    expect(retry.maxAttempts).toBeGreaterThan(1);
    given(plan)
      .after(passed('attempt', { step: 'a' }), passed('backoff', { step: 'a' }))
      .after(report('a', act, 'read-only', { attempt: 2 }))
      .when(report('b', act, 'refused'))
      .thenOutstanding(
        ...(act === 'execute' ? ['a compensate 1', 'c execute 1'] : [`c ${act} 1`, `a ${undo} 1`]),
      );
  });

  it('read-only of every attempt is not undone, in whatever order they are answered', () => {
    given(plan)
      .after(passed('attempt', { step: 'a' }), passed('backoff', { step: 'a' }))
      .after(report('a', act, 'read-only', { attempt: 2 }), report('a', act, 'read-only', { attempt: 1 }))
      .when(report('b', act, 'refused'))
      .thenOutstanding(`c ${act} 1`);
  });
});

it('saga: an undo commanded again has its deadline anew', () =>
  specOf(saga)(
    compiled(
      'saga',
      [
        { step: 'a', after: [] },
        { step: 'b', after: [] },
        { step: 'c', after: [] },
      ],
      {
        deadlines: { compensate: { lowerMs: 5_000, upperMs: 5_000 } },
      },
    ),
  )
    .after(
      report('a', 'execute', 'done'),
      report('b', 'execute', 'refused'),
      report('a', 'compensate', 'done'),
    )
    .when((moment) => ({ body: report('a', 'execute', 'done', late), timeMs: moment.mark.time + 6_000 }))
    .thenEmits(
      command('a', 'compensate', {
        attempt: 2,
        ran: true,
        redo: 2,
        due: BEGUN.time + 6_003 + 5_000,
      }),
      armIn(5_000),
    ));

it('3PS: a read-only reservation does not expire', () =>
  specOf(threePhaseSaga)(compiled('3ps', ['a', 'b']))
    .after(report('a', 'reserve', 'read-only', { expiresAt: BEGUN.time + 50 }))
    .when(report('b', 'reserve', 'done'))
    .thenTimers('attempt b 10002'));

describe('the barrier, about an effect after its undo', () => {
  const KEEP_MS = 1_000_000;
  const act: GuardedCommand = {
    ...{ pattern: '2pc', tx: 't', run: '1.0.1', step: 's', phase: 'prepare', attempt: 1 },
    ...{ since: 0, ran: false, redelivered: false },
  };
  const undo = (told: Partial<GuardedCommand> = {}): GuardedCommand => ({ ...act, phase: 'abort', ...told });
  const undone: BarrierRecord = {
    ...{ v: 1, by: 'w2' },
    phases: {
      prepare: { status: 'idle', dirty: true },
      abort: { status: 'answered', attempt: 1, reply: { answer: 'done' } },
    },
  };
  const now = { serverMs: 10, writtenMs: 0, keepMs: KEEP_MS, by: 'w3', leaseMs: 100 };

  it('that ended unknown: says so, and reopens the undo', () => {
    const outcome = lost(undone, act, { reply: { answer: 'unknown', code: 'thrown' }, by: 'w1' });
    expect(outcome.reply).toEqual({ answer: 'unknown', code: 'thrown', lateEffect: true });
    expect(decide(outcome.record, undo({ attempt: 2 }), now).type).toBe('run');
    expect(unrecorded({ answer: 'unknown' })).toEqual({ answer: 'unknown', lateEffect: true });
  });

  it('that could not be recorded: an undo with redo runs again, one more attempt of the undo does not', () => {
    expect(decide(undone, undo({ attempt: 2, ran: true, redo: 2 }), now).type).toBe('run');
    expect(decide(undone, undo({ attempt: 3, ran: true }), now)).toEqual({
      type: 'answer',
      reply: { answer: 'done' },
    });
    const again = finish(undone, undo({ attempt: 2, redo: 2 }), { reply: { answer: 'done' }, by: 'w3' });
    expect(decide(again, undo({ attempt: 3, redo: 2 }), now).type).toBe('answer');
    expect(decide(undefined, undo({ attempt: 2, redo: 2 }), now).type).toBe('run');
  });

  it('is none while another execution of the act is at work and nothing was undone', () => {
    const taken: BarrierRecord = {
      ...{ v: 1, by: 'w2' },
      phases: { prepare: { status: 'started', attempt: 1, by: 'w2', leaseMs: 100, dirty: true } },
    };
    expect(lost(taken, act, { reply: { answer: 'done' }, by: 'w1' })).toEqual({ reply: { answer: 'done' } });
  });

  it('counts a read-only after an execution nobody knows about as one that may have run', () => {
    const first: BarrierRecord = { v: 1, by: 'w1', phases: { prepare: { status: 'idle', dirty: true } } };
    const second = decide(first, { ...act, attempt: 2 }, now);
    if (second.type !== 'run') throw new Error(second.type);
    expect(second.mayHaveRun).toBe(true);
    const reply: Reply = { answer: 'read-only', mayHaveRun: true };
    const record = finish(second.record, { ...act, attempt: 2 }, { reply, by: 'w3' });
    expect(decide(record, undo(), now).type).toBe('run');
  });
});
