// Goal: a saga goes forward by its dependencies, and decides once.
// Method: feed events to the pure machine; the kit checks M1-M4 after every step.
import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../src/protocol/act.ts';
import { saga } from '../../src/protocol/saga.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import {
  armIn,
  at,
  attend,
  BEGUN,
  cancelled,
  command,
  decide,
  end,
  killed,
  passed,
  report,
  specOf,
  tell,
} from '../kit/machine-spec.ts';

const given = specOf(saga);
const done = (step: string, more = {}) => report(step, 'execute', 'done', more);
const execute = (step: string, more = {}) => command(step, 'execute', more);
const attemptArmed = armIn(RETRY.attemptMs);
const wait = (step: string, attempt: number) =>
  backoffMs(RETRY, attempt, { seed: `tx-1/${step}/execute/${attempt}`, retryAfterMs: 0 });

const chain = (...steps: readonly (string | StepSpec)[]) =>
  compiled(
    'saga',
    steps.map((spec, index) => {
      const previous = steps[index - 1];
      const step = typeof spec === 'string' ? { step: spec } : spec;
      if (previous === undefined) return step;
      return { after: [typeof previous === 'string' ? previous : previous.step], ...step };
    }),
  );

describe('saga forward, in sequence', () => {
  const order = given(chain('stock', 'payment', 'shipping'));

  it('starts only the first step', () => order.whenBegun().thenEmits(execute('stock'), attemptArmed));

  it('starts the next step when the one before is done', () =>
    order
      .when(done('stock'))
      .thenEmits(execute('payment'), attemptArmed)
      .thenOutstanding('payment execute 1')
      .thenTimers('attempt payment 10001'));

  it('completes when all are done, and only then decides', () =>
    order
      .after(done('stock'), done('payment'))
      .when(done('shipping'))
      .thenEmits(decide('commit'), end({ status: 'completed' })));

  it('takes read-only for done', () =>
    order.when(report('stock', 'execute', 'read-only')).thenEmits(execute('payment'), attemptArmed));

  it('gives the outputs', () =>
    order
      .after(done('stock', { output: { hold: 'h' } }), done('payment'))
      .when(done('shipping', { output: 7 }))
      .thenEmits(
        decide('commit'),
        end({ status: 'completed', outputs: { stock: { hold: 'h' }, shipping: 7 } }),
      ));

  it('leaves outputs out when they are larger than an outcome may be', () => {
    const output = 'x'.repeat(16_000);
    const steps = ['a', 'b', 'c', 'd', 'e'];
    given(chain(...steps))
      .after(...steps.slice(0, -1).map((step) => done(step, { output })))
      .when(done('e', { output }))
      .thenEmits(decide('commit'), end({ status: 'completed' }));
  });

  it.each([
    ['a report of a step that has not started', done('shipping')],
    ['a report of an attempt never commanded', done('stock', { attempt: 2 })],
    ['a report of a step that does not exist', done('refund')],
    ['a report of another phase', report('stock', 'commit', 'done')],
    ['a report of an undo never commanded', report('stock', 'compensate', 'done')],
    ['a signal', { type: 'signalled', name: 'go' } as const],
    ['a deadline of nothing', { type: 'deadline_passed', kind: 'run', armed: '1.0' } as const],
    [
      'an item that was never raised',
      { type: 'item_skipped', raised: '1.0', step: 'stock', phase: 'execute' } as const,
    ],
    ['a force without attention', { type: 'forced', raised: '1.0', decision: 'undo', reason: 'r' } as const],
  ])('ignores %s', (_, event) => {
    order.when(event).thenNothingHappens();
  });

  it('ignores a redelivered report', () =>
    order.after(done('stock')).when(done('stock')).thenNothingHappens());

  it('ignores everything after the end', () => {
    const ended = order.after(done('stock'), done('payment'), done('shipping'));
    ended.when(done('shipping', { lateEffect: true })).thenNothingHappens();
    ended.when(cancelled()).thenNothingHappens();
    ended.when(killed()).thenNothingHappens();
  });

  it('says what it waits for', () =>
    order.when(done('stock')).thenViews({
      phase: 'forward',
      waitsFor: 'payment to answer execute of step payment (attempt 1)',
      steps: [
        { step: 'stock', participant: 'stock', phase: 'execute', attempt: 1, status: 'done' },
        { step: 'payment', participant: 'payment', phase: 'execute', attempt: 1, status: 'commanded' },
        { step: 'shipping', participant: 'shipping', status: 'waiting' },
      ],
    }));
});

describe('saga forward, in parallel', () => {
  const diamond = given(
    compiled('saga', [
      'a',
      { step: 'b', after: ['a'] },
      { step: 'c', after: ['a'] },
      { step: 'd', after: ['b', 'c'] },
    ]),
  );

  it('starts both branches at once', () =>
    diamond.when(done('a')).thenEmits(execute('b'), execute('c'), attemptArmed));
  it('waits for both before it joins', () =>
    diamond.after(done('a')).when(done('c')).thenEmits().thenOutstanding('b execute 1'));
  it('joins when the last is done', () =>
    diamond.after(done('a'), done('c')).when(done('b')).thenEmits(execute('d'), attemptArmed));
  it('starts steps without dependencies together', () =>
    given(compiled('saga', ['a', 'b']))
      .whenBegun()
      .thenEmits(execute('a'), execute('b'), attemptArmed));
});

describe('saga attempts', () => {
  const single = given(chain('stock'));

  it.each(['retry', 'unknown', 'heuristic', 'terminated'] as const)('backs off after %s', (answer) => {
    single
      .when(report('stock', 'execute', answer, { result: 'committed' }))
      .thenEmits(armIn(wait('stock', 1)))
      .thenOutstanding();
  });

  it('backs off when an attempt is overdue', () =>
    single.when(passed('attempt')).thenEmits(armIn(wait('stock', 1))));

  it('sends the next attempt after the back-off', () =>
    single
      .after(report('stock', 'execute', 'retry'))
      .when(passed('backoff'))
      .thenEmits(execute('stock', { attempt: 2, since: BEGUN.time }), attemptArmed));

  it('sends an isolated attempt at once, alone, and does not count it', () =>
    single
      .when(report('stock', 'execute', 'retry', { code: 'isolate', mayHaveRun: true }))
      .thenEmits(execute('stock', { attempt: 2, since: BEGUN.time, alone: true }), attemptArmed));

  it('takes the answer of an earlier attempt when it is positive', () =>
    single
      .after(passed('attempt'), passed('backoff'))
      .when(done('stock'))
      .thenEmits(decide('commit'), end({ status: 'completed' })));

  it.each(['conflict', 'stale', 'refused', 'unknown'] as const)(
    'does not settle by the %s of an earlier attempt while the next is in flight',
    (answer) => {
      single
        .after(passed('attempt'), passed('backoff'))
        .when(report('stock', 'execute', answer))
        .thenEmits()
        .thenOutstanding('stock execute 2');
    },
  );
});

describe('saga inputs', () => {
  const pointing = (input: StepSpec['input']) =>
    given(chain('stock', { step: 'ship', pointed: true, ...(input === undefined ? {} : { input }) }));

  it('resolves what points into an output', () =>
    pointing({ hold: { $from: 'stock/holds/0' } })
      .when(done('stock', { output: { holds: ['h-1'] } }))
      .thenEmits(execute('ship', { input: { hold: 'h-1' } }), attemptArmed));

  it('takes a missing target for a no, and never sends', () =>
    pointing({ hold: { $from: 'stock/holds/1' } })
      .when(done('stock', { output: { holds: ['h-1'] } }))
      .thenEmits(
        decide('undo', 'dangling-pointer'),
        command('stock', 'compensate', { ran: true, output: { holds: ['h-1'] } }),
        attemptArmed,
      ));

  it('takes an oversized input for a no', () => {
    const many = Array.from({ length: 6 }, () => ({ $from: 'stock' }));
    pointing(many)
      .when(done('stock', { output: 'x'.repeat(12_000) }))
      .thenEmits(
        decide('undo', 'input-too-large'),
        command('stock', 'compensate', { ran: true, output: 'x'.repeat(12_000) }),
        attemptArmed,
      );
  });

  it('starts no sibling of a step that cannot be sent', () =>
    given(
      compiled('saga', [
        'a',
        { step: 'b', after: ['a'] },
        { step: 'c', after: ['a'], pointed: true, input: { $from: 'a/x' } },
      ]),
    )
      .when(done('a'))
      .thenEmits(
        decide('undo', 'dangling-pointer'),
        command('a', 'compensate', { ran: true }),
        attemptArmed,
      ));

  it('past the point of no return raises attention instead', () =>
    given(
      chain(
        { step: 'pay', kind: 'pivot' },
        { step: 'mail', kind: 'retriable', pointed: true, input: { to: { $from: 'pay/to' } } },
      ),
    )
      .when(done('pay'))
      .thenEmits(
        decide('commit'),
        attend('mail', 'execute', { code: 'dangling-pointer', message: 'nothing is at "pay/to"' }),
        tell({ status: 'completed', attention: true }),
      ));
});

describe('saga deadlines', () => {
  const limited = (more: Partial<StepSpec>) => given(chain('a', { step: 'b', ...more }));
  const deadline = { lowerMs: 4_000, upperMs: 9_000 };

  it('arms a step deadline with the first command, whose upper bound ends the attempt', () =>
    limited({ deadline })
      .when(done('a'))
      .thenEmits(execute('b', { due: BEGUN.time + 9_001 }), armIn(4_000))
      .thenTimers('attempt b 10001', 'step b 4001'));

  it('takes a step past its deadline for a no that may have run', () =>
    limited({ deadline })
      .after(done('a'))
      .when(passed('step'))
      .thenEmits(
        decide('undo', 'deadline'),
        command('b', 'compensate', { ran: false, since: BEGUN.time + 1 }),
        attemptArmed,
      ));

  it('does not undo a step past its deadline whose attempts all left nothing', () =>
    limited({ deadline, retry: { ...RETRY, initialMs: 8_000, maxMs: 8_000 } })
      .after(done('a'), report('b', 'execute', 'retry'))
      .when(passed('step'))
      .thenEmits(decide('undo', 'deadline'), command('a', 'compensate', { ran: true }), attemptArmed));

  it('bounds every step by the deadline of execute, unless it has its own', () => {
    const plan = compiled('saga', ['a', { step: 'b', deadline }], {
      deadlines: { execute: { lowerMs: 2_000, upperMs: 2_000 } },
    });
    given(plan).whenBegun().thenTimers('attempt a 10000', 'attempt b 10000', 'step a 2000', 'step b 4000');
  });

  const bounded = compiled('saga', ['a', { step: 'b', after: ['a'] }], {
    deadlines: { run: { lowerMs: 5_000, upperMs: 5_000 } },
  });

  it('goes back when the run is overdue', () =>
    given(bounded)
      .after(done('a'))
      .when(passed('run'))
      .thenEmits(decide('undo', 'deadline'))
      .thenOutstanding('b execute 1')
      .thenTimers('attempt b 10001'));

  it('raises attention when the run is overdue past the point of no return', () => {
    const mails = (step: string): StepSpec => ({ step, kind: 'retriable', after: ['pay'] });
    const plan = compiled('saga', [{ step: 'pay', kind: 'pivot' }, mails('m'), mails('n')], {
      deadlines: { run: { lowerMs: 5_000, upperMs: 5_000 } },
    });
    given(plan)
      .after(done('pay'), done('m'))
      .when(passed('run'))
      .thenEmits(
        attend('n', 'execute', { code: 'deadline' }),
        tell({ status: 'completed', attention: true }),
      );
  });

  it('an overdue run that ends anyway needs nobody', () => {
    const plan = compiled(
      'saga',
      [
        { step: 'pay', kind: 'pivot' },
        { step: 'm', kind: 'retriable', after: ['pay'] },
      ],
      {
        deadlines: { run: { lowerMs: 5_000, upperMs: 5_000 } },
      },
    );
    given(plan)
      .after(done('pay'), passed('run'))
      .when(done('m'))
      .thenEmits(end({ status: 'completed' }));
  });
});

describe('saga killed', () => {
  it('ends at once and undoes nothing', () =>
    given(chain('a', 'b'))
      .after(done('a'))
      .when(killed('beyond repair'))
      .thenEmits(end({ status: 'killed', code: 'killed', message: 'beyond repair' })));
});

describe('saga events at their own time', () => {
  it('counts a report that stands before the deadline in the log', () =>
    given(chain('a'))
      .when(at(60_000, done('a')))
      .thenEmits(decide('commit'), end({ status: 'completed' })));

  it('is version 1 of pattern saga', () => {
    expect([saga.pattern, saga.version]).toStrictEqual(['saga', 1]);
  });
});
