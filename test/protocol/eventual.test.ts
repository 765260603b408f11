// Goal: every row of the 0.5PS table: each step is taken or dead, alone, and nobody loses it.
import { describe, it } from 'vitest';
import { eventual } from '../../src/protocol/eventual.ts';
import type { Burial, Effect } from '../../src/protocol/machine.ts';
import { compiled, RETRY, type StepSpec } from '../kit/compiled.ts';
import {
  armIn,
  at,
  attend,
  BEGUN,
  cancelled,
  command,
  end,
  killed,
  operator,
  passed,
  report,
  specOf,
  tell,
  type Expected,
  type Happening,
} from '../kit/machine-spec.ts';

const given = specOf(eventual);
const bounds = (ms: number) => ({ lowerMs: ms, upperMs: ms });
const mail: StepSpec = { step: 'mail', input: { to: 'you' } };
const both = compiled('eventual', [mail, 'stats']);
const confirmed = compiled('eventual', [mail], { deadlines: { confirm: bounds(60_000) } });
const impatient = compiled('eventual', [{ step: 'mail', retry: { ...RETRY, maxAttempts: 1 } }, 'stats']);

/** The burial of a step as last commanded; anything that differs from its first command goes into `more`. */
const bury =
  (step: string, why: Omit<Burial, 'command'>, more: Partial<Burial['command']> = {}): Expected =>
  ({ facts, begun }) => {
    const planned = facts.plan.steps[facts.plan.indexOf.get(step) ?? -1];
    if (planned === undefined) throw new Error(`no step ${step}`);
    const { participant, action, input } = planned;
    const carried = input === undefined ? {} : { input };
    const named = { type: 'command', step, participant, phase: 'execute', attempt: 1, action } as const;
    const buried = { ...named, cause: begun, since: begun.time, ...carried, ...more };
    return { type: 'bury', burials: [{ command: buried, ...why }] } satisfies Effect;
  };

describe('0.5PS: execute', () => {
  it('begins: every step is commanded at once, and nothing is decided', () => {
    given(both)
      .whenBegun()
      .thenEmits(command('mail', 'execute'), command('stats', 'execute'), armIn(10_000))
      .thenOutstanding('mail execute 1', 'stats execute 1')
      .thenTimers('attempt mail 10000', 'attempt stats 10000');
  });

  it('running, execute done: taken, the others go on; when all were taken it has completed', () => {
    given(both)
      .when(report('mail', 'execute', 'done', { output: { id: 7 } }))
      .thenEmits()
      .thenViews({ steps: [{ status: 'done' }, { status: 'commanded' }] });
    given(both)
      .after(report('mail', 'execute', 'done', { output: { id: 7 } }))
      .when(report('stats', 'execute', 'done'))
      .thenEmits(end({ status: 'completed', outputs: { mail: { id: 7 } } }));
  });

  it('running, execute read-only: taken, and nothing is there to confirm', () => {
    given(confirmed)
      .when(report('mail', 'execute', 'read-only'))
      .thenEmits(end({ status: 'completed' }));
  });

  it.each(['retry', 'unknown', 'heuristic', 'terminated'] as const)(
    'running, execute %s: backs off',
    (no) => {
      given(both)
        .when(report('mail', 'execute', no))
        .thenEmits(({ timers }) => {
          const backoff = timers.find(({ kind }) => kind === 'backoff');
          return { type: 'arm', dueMs: backoff?.dueMs ?? 0 };
        })
        .thenOutstanding('stats execute 1');
    },
  );

  it('running, execute attempt due: backs off, then the next attempt', () => {
    given(both)
      .after(passed('attempt', { step: 'mail' }))
      .when(passed('backoff', { step: 'mail' }))
      .thenEmits(command('mail', 'execute', { attempt: 2, since: BEGUN.time }), armIn(10_000));
  });

  it('running, execute retried out: dead when the policy ends, buried, and the others go on', () => {
    given(impatient)
      .when(report('mail', 'execute', 'unknown', { code: 'crashed' }))
      .thenEmits(bury('mail', { code: 'crashed', mayHaveRun: true }))
      .thenOutstanding('stats execute 1')
      .thenViews({ steps: [{ status: 'failed' }, { status: 'commanded' }] });
    given(impatient)
      .when(passed('attempt', { step: 'mail' }))
      .thenEmits(bury('mail', { code: 'deadline', mayHaveRun: true }));
  });

  it.each([
    ['refused', false],
    ['conflict', true],
    ['stale', true],
  ] as const)('running, execute %s: dead, buried; the others go on', (no, mayHaveRun) => {
    given(both)
      .when(report('mail', 'execute', no, { message: 'no' }))
      .thenEmits(bury('mail', { code: no, message: 'no', mayHaveRun }))
      .thenOutstanding('stats execute 1');
  });

  it('an older conflict does not settle the attempt in flight', () => {
    given(both)
      .after(report('mail', 'execute', 'unknown'), passed('backoff', { step: 'mail' }))
      .when(report('mail', 'execute', 'conflict', { attempt: 1 }))
      .thenNothingHappens();
  });

  it('running, step due: dead, whatever its policy says', () => {
    const slow = compiled('eventual', [mail, 'stats'], { deadlines: { execute: bounds(5_000) } });
    given(slow)
      .whenBegun()
      .thenEmits(
        command('mail', 'execute', { due: BEGUN.time + 5_000 }),
        command('stats', 'execute', { due: BEGUN.time + 5_000 }),
        armIn(5_000),
      );
    given(slow)
      .when(passed('step', { step: 'mail' }))
      .thenEmits(bury('mail', { code: 'deadline', mayHaveRun: true }))
      .thenTimers('attempt stats 10000', 'step stats 5000');
  });

  it('running, execute done when dead: taken after all', () => {
    given(impatient)
      .after(report('mail', 'execute', 'unknown'))
      .when(report('mail', 'execute', 'done'))
      .thenEmits()
      .thenViews({ steps: [{ status: 'done' }, { status: 'commanded' }] });
    given(impatient)
      .after(report('mail', 'execute', 'unknown'))
      .when(report('mail', 'execute', 'refused'))
      .thenNothingHappens();
    given(impatient)
      .after(report('mail', 'execute', 'unknown'))
      .when(report('mail', 'execute', 'done', { attempt: 2 }))
      .thenNothingHappens();
  });

  it('all over, one dead: ended dead, with the first cause and the outputs of the others', () => {
    given(both)
      .after(report('stats', 'execute', 'refused', { code: 'gone' }))
      .when(report('mail', 'execute', 'done', { output: 1 }))
      .thenEmits(end({ status: 'dead', code: 'gone', step: 'stats', outputs: { mail: 1 } }));
    given(both)
      .after(report('stats', 'execute', 'refused', { code: 'gone', message: 'for good' }))
      .when(report('mail', 'execute', 'refused'))
      .thenEmits(
        bury('mail', { code: 'refused', mayHaveRun: false }),
        end({ status: 'dead', code: 'gone', message: 'for good', step: 'stats' }),
      );
  });

  it('ended: anything changes nothing', () => {
    const over = given(compiled('eventual', ['mail'])).after(report('mail', 'execute', 'done'));
    const raised = BEGUN.at;
    for (const late of [report('mail', 'execute', 'refused'), cancelled(), killed()] as const)
      over.when(late).thenNothingHappens();
    over.when({ type: 'forced', raised, decision: 'complete', reason: 'x' }).thenNothingHappens();
    over.when(report('mail', 'execute', 'done')).thenViews({ waitsFor: 'nothing: it has ended, completed' });
  });
});

describe('0.5PS: the whole run', () => {
  const timed = compiled('eventual', [mail, 'stats'], {
    deadlines: { run: bounds(3_000), confirm: bounds(60_000) },
  });

  it('running, run due: what is being executed is dead, what is being confirmed waits for a person', () => {
    given(timed)
      .after(report('mail', 'execute', 'done'))
      .when(passed('run'))
      .thenEmits(
        attend('mail', 'confirm', { code: 'deadline' }),
        bury('stats', { code: 'deadline', mayHaveRun: true }),
        tell({ status: 'dead', code: 'deadline', step: 'stats', attention: true }),
      )
      .thenTimers();
    given(timed)
      .when(passed('run'))
      .thenEmits(
        (moment) => {
          const [mails, stats] = ['mail', 'stats'].map((step) => {
            const made = bury(step, { code: 'deadline', mayHaveRun: true });
            return (typeof made === 'function' ? made(moment) : made) as Effect & { type: 'bury' };
          });
          return { type: 'bury', burials: [...(mails?.burials ?? []), ...(stats?.burials ?? [])] };
        },
        end({ status: 'dead', code: 'deadline', step: 'mail' }),
      );
  });

  it('running, cancel: nothing, once accepted it is never lost', () => {
    given(both).when(cancelled()).thenNothingHappens();
    given(both)
      .after(report('mail', 'execute', 'unknown'))
      .when(cancelled())
      .thenNothingHappens();
  });

  it('running, a signal or a report of nobody: nothing', () => {
    given(both).when({ type: 'signalled', name: 'go', verdict: 'approve' }).thenNothingHappens();
    given(both)
      .when(report('ghost', 'execute', 'done'))
      .thenNothingHappens();
    given(both)
      .when(report('mail', 'confirm', 'done'))
      .thenNothingHappens();
    given(both)
      .when(report('mail', 'execute', 'done', { attempt: 2 }))
      .thenNothingHappens();
  });

  it('running, killed: ended, nothing is buried', () => {
    given(both)
      .after(report('mail', 'execute', 'refused'))
      .when(killed('enough'))
      .thenEmits(end({ status: 'killed', code: 'killed', message: 'enough' }));
  });
});

describe('0.5PS: confirm', () => {
  const taken = report('mail', 'execute', 'done', { output: { id: 7 } });
  const stuck: readonly Happening[] = [taken, report('mail', 'confirm', 'refused', { code: 'no' })];

  it('running, execute done with deadlines.confirm: confirm, with the output', () => {
    given(confirmed)
      .when(taken)
      .thenEmits(command('mail', 'confirm', { output: { id: 7 } }), armIn(10_000))
      .thenTimers('attempt mail 10001', 'step mail 60001')
      .thenOutstanding('mail confirm 1');
  });

  it.each(['done', 'read-only'] as const)('running, confirm %s: taken', (yes) => {
    given(confirmed)
      .after(taken)
      .when(report('mail', 'confirm', yes))
      .thenEmits(end({ status: 'completed', outputs: { mail: { id: 7 } } }));
  });

  it('running, confirm retry and due: next attempts by undoRetry; when the policy ends: attention', () => {
    given(confirmed)
      .after(taken, report('mail', 'confirm', 'retry'))
      .when(passed('backoff', { step: 'mail' }))
      .thenEmits(({ mark, facts, begun, ...rest }) => {
        const made = command('mail', 'confirm', {
          attempt: 2,
          since: BEGUN.time + 1,
          output: { id: 7 },
        });
        return typeof made === 'function' ? made({ mark, facts, begun, ...rest }) : made;
      }, armIn(10_000));
    given(confirmed)
      .after(
        taken,
        report('mail', 'confirm', 'unknown'),
        passed('backoff', { step: 'mail' }),
        passed('attempt', { step: 'mail' }),
        passed('backoff', { step: 'mail' }),
      )
      .when(report('mail', 'confirm', 'unknown', { attempt: 3 }))
      .thenEmits(
        attend('mail', 'confirm', { code: 'unknown' }),
        tell({ status: 'completed', outputs: { mail: { id: 7 } }, attention: true }),
      );
  });

  it.each(['refused', 'conflict', 'stale'] as const)('running, confirm %s: attention', (no) => {
    given(confirmed)
      .after(taken)
      .when(report('mail', 'confirm', no, { message: 'why' }))
      .thenEmits(
        attend('mail', 'confirm', { code: no, message: 'why' }),
        tell({ status: 'completed', outputs: { mail: { id: 7 } }, attention: true }),
      )
      .thenViews({ waitsFor: 'a person to settle confirm of step mail', steps: [{ status: 'attention' }] });
  });

  it('running, confirm step due: attention', () => {
    given(confirmed)
      .after(taken)
      .when(passed('step', { step: 'mail' }))
      .thenEmits(
        attend('mail', 'confirm', { code: 'deadline' }),
        tell({ status: 'completed', outputs: { mail: { id: 7 } }, attention: true }),
      )
      .thenTimers();
  });

  it('running, a late yes to a confirm that waits for a person: taken', () => {
    given(confirmed)
      .after(...stuck)
      .when(report('mail', 'confirm', 'done'))
      .thenEmits(end({ status: 'completed', outputs: { mail: { id: 7 } } }));
  });

  it('running, item retried: the next attempt, with the policy counted afresh or an other one', () => {
    const again = (attemptMs: number): Expected =>
      command('mail', 'confirm', {
        attempt: 2,
        since: BEGUN.time + 1,
        due: BEGUN.time + 3 + attemptMs,
        output: { id: 7 },
      });
    given(confirmed)
      .after(...stuck)
      .when(operator('item_retried', 'mail'))
      .thenEmits(again(10_000), armIn(10_000));
    given(confirmed)
      .after(...stuck)
      .when(operator('item_retried', 'mail', { policy: { attemptMs: 500, maxAttempts: 1 } }))
      .thenEmits(again(500), armIn(500));
    given(confirmed)
      .after(...stuck, operator('item_retried', 'mail', { policy: { maxAttempts: 1 } }))
      .when(report('mail', 'confirm', 'unknown', { attempt: 2 }))
      .thenViews({ attention: [{ raised: '5.0', step: 'mail', phase: 'confirm', code: 'unknown' }] });
  });

  it('running, item skipped: ended resolved', () => {
    given(confirmed)
      .after(...stuck)
      .when(operator('item_skipped', 'mail'))
      .thenEmits(end({ status: 'resolved', outputs: { mail: { id: 7 } } }));
  });

  it('running, item resolved: done is taken; that it was refused changes nothing', () => {
    given(confirmed)
      .after(...stuck)
      .when(operator('item_resolved', 'mail', { answer: 'done' }))
      .thenEmits(end({ status: 'completed', outputs: { mail: { id: 7 } } }));
    given(confirmed)
      .after(...stuck)
      .when(operator('item_resolved', 'mail', { answer: 'refused' }))
      .thenNothingHappens();
  });

  it('running, forced to complete: every item is skipped; no other fate exists', () => {
    const force =
      (decision: 'complete' | 'undo'): Happening =>
      ({ view }) => ({
        body: { type: 'forced', raised: view.attention[0]?.raised ?? '', decision, reason: 'x' },
      });
    given(confirmed)
      .after(...stuck)
      .when(force('complete'))
      .thenEmits(end({ status: 'resolved', outputs: { mail: { id: 7 } } }));
    given(confirmed)
      .after(...stuck)
      .when(force('undo'))
      .thenNothingHappens();
  });

  it('an item that has moved, or was never raised, is nobody’s', () => {
    const stray = { raised: '77.0', step: 'mail', phase: 'confirm' } as const;
    given(confirmed)
      .after(...stuck)
      .when({ type: 'item_skipped', ...stray })
      .thenNothingHappens();
    given(confirmed)
      .after(...stuck)
      .when({ type: 'item_retried', ...stray })
      .thenNothingHappens();
    given(confirmed)
      .when(at(50, { type: 'item_skipped', ...stray }))
      .thenNothingHappens();
  });

  it('a step that died beside one that waits for a person is told with the attention', () => {
    const pair = compiled('eventual', [mail, 'stats'], { deadlines: { confirm: bounds(60_000) } });
    given(pair)
      .after(...stuck)
      .when(report('stats', 'execute', 'refused'))
      .thenEmits(
        bury('stats', { code: 'refused', mayHaveRun: false }),
        tell({
          status: 'dead',
          code: 'refused',
          step: 'stats',
          outputs: { mail: { id: 7 } },
          attention: true,
        }),
      );
  });
});
