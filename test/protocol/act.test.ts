// Goal: attempts, back-off and "known not to have run" (DESIGN §3) mean the same in every machine.
// Method: table-like specs on the pure functions.
import { describe, expect, it } from 'vitest';
import * as act from '../../src/protocol/act.ts';
import type { Mark, Report } from '../../src/protocol/machine.ts';

const policy = { maxAttempts: 3, initialMs: 100, factor: 2, maxMs: 1_000, attemptMs: 5_000 };
const mark = (n: number, time = n): Mark => ({ at: `${n}.0`, time });
const started = act.startAct({ phase: 'prepare', mark: mark(1), policy });
const context = (n: number, time = n): act.ActContext => ({ mark: mark(n, time), policy, seed: 'tx/step' });
const report = (answer: Report['answer'], attempt = 1, more: Partial<Report> = {}): Report => ({
  step: 'step',
  phase: 'prepare',
  attempt,
  answer,
  ...more,
});
/** The act after these reports, each followed by the end of its back-off. */
function after(...reports: readonly Report[]): act.Act {
  let current = started;
  reports.forEach((one, index) => {
    const advance = act.reportAct(current, one, context(index * 2 + 2));
    if (advance.type === 'ignored') throw new Error(`${one.answer} ${one.attempt} was ignored`);
    current =
      advance.type === 'backing_off'
        ? act.nextAttempt(advance.act, mark(index * 2 + 3), { policy })
        : advance.act;
  });
  return current;
}

describe('an act', () => {
  it('is guarded by its attempt time, or not at all when that is endless', () => {
    expect(started.timer).toStrictEqual({ armed: '1.0', dueMs: 5_001 });
    const endless = act.startAct({
      phase: 'commit',
      mark: mark(1),
      policy: { ...policy, attemptMs: Infinity },
    });
    expect(endless.timer).toBeUndefined();
    expect(act.actTimer('step', endless)).toBeUndefined();
  });

  it.each(['done', 'read-only', 'heuristic', 'terminated', 'conflict', 'stale'] as const)(
    'is settled by %s of any attempt commanded so far (A3)',
    (answer) => {
      const second = after(report('unknown'));
      for (const attempt of [1, 2])
        expect(act.reportAct(second, report(answer, attempt), context(9))).toMatchObject({
          type: 'answered',
          act: { status: 'settled', attempt: 2 },
        });
      expect(act.reportAct(second, report(answer, 3), context(9)).type).toBe('ignored');
    },
  );

  it('is settled by a refusal of its current attempt only (A3)', () => {
    const second = after(report('unknown'));
    expect(act.reportAct(second, report('refused', 1), context(9)).type).toBe('noted');
    expect(act.reportAct(second, report('refused', 2), context(9)).type).toBe('answered');
  });

  it('ignores another phase, a settled act and an answer it already took', () => {
    expect(act.reportAct(started, { ...report('done'), phase: 'abort' }, context(2)).type).toBe('ignored');
    expect(act.reportAct(act.settle(started), report('done'), context(2)).type).toBe('ignored');
    expect(act.reportAct(after(report('retry')), report('retry'), context(9)).type).toBe('ignored');
  });

  it('exhausts its policy, an isolated attempt not counted and staying alone', () => {
    const isolated = after(report('retry', 1, { code: 'isolate' }));
    expect(isolated).toMatchObject({ attempt: 2, counted: 0, alone: true });
    const fourth = after(report('retry', 1, { code: 'isolate' }), report('unknown', 2), report('unknown', 3));
    expect(fourth).toMatchObject({ attempt: 4, counted: 2, alone: true });
    expect(act.reportAct(fourth, report('unknown', 4), context(20)).type).toBe('exhausted');
  });

  it('counts a request to isolate what is isolated already like any other retry', () => {
    const alone = after(report('retry', 1, { code: 'isolate' }));
    const again = act.reportAct(alone, report('retry', 2, { code: 'isolate' }), context(5));
    expect(again).toMatchObject({ type: 'backing_off', act: { counted: 1, alone: true } });
    const isolate = (attempt: number) => report('retry', attempt, { code: 'isolate' });
    const last = after(isolate(1), isolate(2), isolate(3));
    expect(act.reportAct(last, isolate(4), context(20)).type).toBe('exhausted');
  });

  it('takes a deadline only if it is due and its arming current (M4)', () => {
    const deadline = { kind: 'attempt', attempt: 1, armed: '1.0' } as const;
    expect(act.deadlineAct(started, deadline, context(2, 5_000)).type).toBe('ignored');
    expect(act.deadlineAct(started, { ...deadline, armed: '9.0' }, context(2, 5_001)).type).toBe('ignored');
    expect(act.deadlineAct(started, { ...deadline, attempt: 2 }, context(2, 5_001)).type).toBe('ignored');
    expect(act.deadlineAct(started, { ...deadline, kind: 'backoff' }, context(2, 5_001)).type).toBe(
      'ignored',
    );
    expect(act.deadlineAct(started, deadline, context(2, 5_001)).type).toBe('backing_off');
  });
});

describe('known not to have run (A2)', () => {
  const known = (current: act.Act): boolean => act.knownNotToHaveRun(current);

  it('needs a clean answer of every attempt', () => {
    expect(known(started)).toBe(false);
    expect(known(after(report('refused')))).toBe(true);
    expect(known(after(report('refused', 1, { mayHaveRun: true })))).toBe(false);
    expect(known(after(report('unknown'), report('refused', 2)))).toBe(false);
    expect(known(after(report('retry'), report('refused', 2)))).toBe(true);
    expect(known(after(report('unknown'), report('retry', 1), report('refused', 2)))).toBe(true);
    expect(known(after(report('conflict')))).toBe(false);
  });

  it('can still be learned after the act was settled', () => {
    const settled = after(report('unknown'), report('refused', 2));
    const cleaned = act.cleanedAct(settled, report('retry', 1));
    expect(known(cleaned)).toBe(true);
    expect(act.cleanedAct(cleaned, report('retry', 1))).toBe(cleaned);
    expect(act.cleanedAct(settled, report('unknown', 1))).toBe(settled);
  });
});

describe('an act commanded anew (A4)', () => {
  const stale = after(report('stale'));

  it('by an operator: old objections are spent, an old yes is not', () => {
    const restarted = act.nextAttempt(stale, mark(5), { policy, restart: true });
    expect(restarted).toMatchObject({ attempt: 2, counted: 0, status: 'commanded' });
    expect(act.reportAct(restarted, report('stale', 1), context(6)).type).toBe('ignored');
    expect(act.reportAct(restarted, report('stale', 2), context(6)).type).toBe('answered');
    expect(act.reportAct(restarted, report('done', 1), context(6)).type).toBe('answered');
  });

  it('because its act ran late: every old answer is spent, also after more attempts', () => {
    const redone = act.nextAttempt(after(report('done')), mark(5), { policy, redo: 'seen' });
    expect(act.reportAct(redone, report('done', 1), context(6)).type).toBe('ignored');
    const retried = act.reportAct(redone, report('unknown', 2), context(6));
    if (retried.type !== 'backing_off') throw new Error(retried.type);
    const third = act.nextAttempt(retried.act, mark(7), { policy });
    expect(act.reportAct(third, report('done', 1), context(8)).type).toBe('ignored');
    expect(act.reportAct(third, report('done', 2), context(8)).type).toBe('answered');
  });
});

describe('back-off', () => {
  const hint = (retryAfterMs = 0): { seed: string; retryAfterMs: number } => ({ seed: 'a', retryAfterMs });

  it('doubles, is capped, and spreads over its upper half by the seed alone', () => {
    for (const [failures, full] of [
      [1, 100],
      [2, 200],
      [3, 400],
      [9, 1_000],
    ] as const) {
      const waitMs = act.backoffMs(policy, failures, hint());
      expect(waitMs).toBeGreaterThanOrEqual(full / 2);
      expect(waitMs).toBeLessThanOrEqual(full);
      expect(act.backoffMs(policy, failures, hint())).toBe(waitMs);
    }
    const waits = new Set(
      ['a', 'b', 'c', 'd'].map((seed) => act.backoffMs(policy, 9, { seed, retryAfterMs: 0 })),
    );
    expect(waits.size).toBeGreaterThan(1);
  });

  it('follows the participant’s hint up to the policy’s cap', () => {
    expect(act.backoffMs(policy, 1, hint(700))).toBe(700);
    expect(act.backoffMs(policy, 1, hint(70_000))).toBe(1_000);
  });

  it('stays a number after ten thousand failures, also from zero', () => {
    expect(act.backoffMs(policy, 10_000, hint())).toBeGreaterThanOrEqual(500);
    expect(act.backoffMs({ ...policy, initialMs: 0 }, 10_000, hint())).toBe(0);
  });
});
