// Goal: what a prefix of the log implies (Rules 1 to 9), whoever folds it.
// Method: inputs fed by hand to the fold; no NATS, no clock, no await.
import { beforeEach, describe, expect, it } from 'vitest';
import { viewOf } from '../../src/protocol/run.ts';
import { FRESH, FoldRig, T0, twoSteps } from '../kit/fold-rig.ts';

let rig: FoldRig;
beforeEach(() => {
  rig = new FoldRig();
});

const run = () => {
  const last = rig.runs.at(-1);
  if (last === undefined) throw new Error('no run');
  return last;
};
const trace = () => ({ clockMs: run().clockMs, digest: run().digest, state: run().state });
const outcomeNote = (more: object = {}) => ({
  ...rig.named(),
  kind: 'outcome',
  ...note(run().outcome),
  ...more,
});
const decisionNote = (more: object = {}) => ({
  ...rig.named(),
  kind: 'decision',
  ...note(run().decision),
  ...more,
});
const note = (derived: { at: string; value: string; digest: string } | undefined) =>
  derived && { at: derived.at, value: derived.value, digest: derived.digest };
const verdict = (value: string, more: object = {}) => ({
  ...rig.named(),
  kind: 'verdict',
  at: run().begun.at,
  value,
  ...more,
});

function commit(): void {
  rig.begin();
  rig.report('debit', 'prepare');
  rig.report('credit', 'prepare');
  rig.report('debit', 'commit');
  rig.report('credit', 'commit');
}

describe('a whole run', () => {
  it('commits, is noted, and leaves memory only when its outcome note is read back', () => {
    expect(rig.begin()).toEqual(['accepted begin', 'command debit prepare 1', 'command credit prepare 1']);
    expect(rig.report('debit', 'prepare')).toEqual(['accepted report']);
    expect(rig.report('credit', 'prepare')).toEqual([
      'accepted report',
      'decision commit',
      'command debit commit 1',
      'command credit commit 1',
    ]);
    rig.report('debit', 'commit');
    expect(rig.report('credit', 'commit')).toEqual([
      'accepted report',
      'outcome committed',
      'told committed',
    ]);
    expect(rig.fold.runs.size).toBe(1);
    expect(rig.feed('coordinator.decided', outcomeNote())).toEqual(['left']);
    expect(rig.fold.runs.size).toBe(0);
  });
});

describe('Rule 1: what is already in the state leaves no trace', () => {
  it('ignores a duplicate report: state, clock and digest stay', () => {
    rig.begin();
    rig.report('debit', 'prepare');
    const before = trace();
    expect(rig.report('debit', 'prepare', {}, { timeMs: T0 + 5_000 })).toEqual([]);
    expect(trace()).toEqual(before);
  });

  it('ignores a report that names another run of the same transaction', () => {
    rig.begin();
    const foreign = { ...rig.named(), run: `9.0.${T0}`, step: 'debit', phase: 'prepare', attempt: 1 };
    expect(rig.feed('debit.report', { ...foreign, cause: { at: '1.0', time: T0 }, answer: 'done' })).toEqual(
      [],
    );
  });

  it('ignores a second begin of an open fresh run', () => {
    rig.begin();
    expect(rig.begin()).toEqual([]);
    expect(rig.fold.runs.size).toBe(1);
  });
});

describe('Rule 2: the run has its own clock', () => {
  const deadline = (armed: string) => ({ ...rig.named(), kind: 'phase', phase: 'prepare', armed });

  it('ignores an early deadline, and accepts it when due', () => {
    rig.begin();
    expect(rig.feed('coordinator.deadline', deadline('1.0'), { timeMs: T0 + 29_999 })).toEqual([]);
    expect(rig.feed('coordinator.deadline', deadline('1.0'), { timeMs: T0 + 30_000 })).toContain(
      'decision abort',
    );
  });

  it('ignores a deadline that names another arming', () => {
    rig.begin();
    expect(rig.feed('coordinator.deadline', deadline('7.0'), { timeMs: T0 + 60_000 })).toEqual([]);
  });

  it('never steps back: a deadline due on the run clock counts although its own timestamp is older', () => {
    rig.begin();
    rig.report('debit', 'prepare', {}, { timeMs: T0 + 40_000 });
    const implied = rig.feed('coordinator.deadline', deadline('1.0'), { timeMs: T0 + 100 });
    expect(implied).toContain('decision abort');
    expect(run().clockMs).toBe(T0 + 40_000);
  });

  it('is not moved by inputs that did not count', () => {
    rig.begin();
    rig.feed('coordinator.deadline', deadline('1.0'), { timeMs: T0 + 20_000 });
    expect(run().clockMs).toBe(T0);
  });
});

describe('Rule 3: versions', () => {
  it('stops when a version is enabled that this build does not know', () => {
    const enable = { v: 1, machine: 2, by: 'ops', reason: 'upgrade' };
    expect(rig.feed('coordinator.enable', enable)).toEqual([
      'halt: machine version 2 of 2pc is unknown to this build',
    ]);
  });

  it('ignores a version that is enabled already', () => {
    expect(rig.feed('coordinator.enable', { v: 1, machine: 1, by: 'ops', reason: 'again' })).toEqual([]);
  });
});

describe('Rule 4: decisions are written down', () => {
  it('notes the same digest for the same inputs, and another when one more was accepted', () => {
    const digestAfter = (...voters: readonly string[]): string | undefined => {
      rig = new FoldRig();
      rig.begin();
      // Takes the place of the vote that is missing; nothing about it is accepted.
      for (const step of ['debit', 'credit'])
        rig.report(step, 'prepare', voters.includes(step) ? {} : { step: 'nobody' });
      rig.feed('client.cancel', { ...rig.named(), reason: 'changed my mind' });
      return run().decision?.digest;
    };
    const one = digestAfter('debit');
    expect(one).toMatch(/^[0-9a-f]{16}$/);
    expect(digestAfter('debit')).toBe(one);
    expect(digestAfter()).not.toBe(one);
  });

  it('accepts the note it would have written, also twice', () => {
    rig.begin();
    rig.report('debit', 'prepare', { answer: 'refused' });
    expect(rig.feed('coordinator.decided', decisionNote())).toEqual([]);
    expect(rig.feed('coordinator.decided', decisionNote())).toEqual([]);
    expect(run().decisionNoted).toBe(true);
  });

  it.each([
    ['another value', { value: 'commit' }],
    ['another digest', { digest: '0000000000000000' }],
    ['another position', { at: '1.0' }],
  ])('contradicts a note with %s', (_, difference) => {
    rig.begin();
    rig.report('debit', 'prepare', { answer: 'refused' });
    expect(rig.feed('coordinator.decided', decisionNote(difference))).toEqual(['contradicted decision']);
  });

  it('contradicts a decision that this log does not imply yet', () => {
    rig.begin();
    const early = {
      ...rig.named(),
      kind: 'decision',
      at: '1.0',
      value: 'commit',
      digest: '0123456789abcdef',
    };
    expect(rig.feed('coordinator.decided', early)).toEqual(['contradicted decision']);
  });

  it('freezes the run on a conflict: inputs are recorded, nothing is commanded, until an operator acts', () => {
    rig.begin();
    const conflict = {
      ...rig.named(),
      kind: 'conflict',
      at: '1.0',
      value: 'none',
      digest: '0123456789abcdef',
    };
    expect(rig.feed('coordinator.decided', conflict)).toEqual([
      'accepted decided',
      'attend decided-conflict',
    ]);
    rig.report('debit', 'prepare');
    expect(rig.report('credit', 'prepare')).toEqual(['accepted report', 'decision commit']);
    const cancel = { ...rig.named(), by: 'asha', reason: 'looked at it' };
    const thawed = rig.feed('operator.cancel', cancel);
    expect(thawed).toContain('command debit commit 1');
    expect(thawed).toContain('command credit commit 1');
  });
});

describe('Rule 7: ends and duplicates', () => {
  it.each([
    ['without a message id', {}, { headers: 'none' as const }, 'msg-id-missing'],
    ['from a clock that is ahead', {}, { timeMs: T0 - 60_001 }, 'clock-skew'],
    ['from a clock that is behind', {}, { timeMs: T0 + 60_001 }, 'clock-skew'],
    ['that is no ULID', { tx: 'order-7' }, {}, 'not-a-ulid'],
    ['for another number of shards', { shards: 2 }, {}, 'shards-mismatch'],
    ['with a plan that cannot run', { plan: { ...twoSteps, gate: {} } }, {}, 'plan-invalid'],
  ])('refuses a fresh begin %s', (_, begin, fed, code) => {
    expect(rig.begin(begin, fed)).toEqual(['accepted begin', `refusal ${code}`, 'told refused']);
    expect(rig.feed('coordinator.decided', verdict('refused', { code }))).toEqual(['left']);
  });

  it('an own id waits for its verdict; the first one counts', () => {
    expect(rig.begin({ tx: 'order-7', id: 'own' }, { headers: 'none' })).toEqual([
      'accepted begin',
      'verdict',
    ]);
    expect(rig.feed('coordinator.decided', verdict('admit'))).toEqual([
      'accepted decided',
      'command debit prepare 1',
      'command credit prepare 1',
    ]);
    expect(rig.feed('coordinator.decided', verdict('mismatch'))).toEqual([]);
    expect(run().phase).toBe('active');
  });

  it('a duplicate begin is told the outcome of the first, which does not notice', () => {
    rig.begin({ tx: 'order-7', id: 'own' });
    rig.feed('coordinator.decided', verdict('admit'));
    const first = run();
    rig.begin({ tx: 'order-7', id: 'own' });
    expect(rig.feed('coordinator.decided', verdict('duplicate', { of: first.facts.run }))).toEqual([
      'accepted decided',
      'judged duplicate',
      'left',
    ]);
    expect(first.duplicates).toBe(1);
    expect(rig.fold.runOf('order-7')).toBe(first);
  });

  it('a cancel that arrives before the verdict counts', () => {
    rig.begin({ tx: 'order-7', id: 'own' });
    expect(rig.feed('client.cancel', { ...rig.named(), reason: 'changed my mind' })).toEqual([
      'accepted cancel',
    ]);
    expect(rig.feed('coordinator.decided', verdict('admit'))).toEqual([
      'accepted decided',
      'outcome cancelled',
      'told cancelled',
    ]);
  });

  it('after the end only a report of a late effect raises attention', () => {
    commit();
    rig.feed('coordinator.decided', outcomeNote());
    expect(rig.report('debit', 'prepare')).toEqual([]);
    expect(rig.report('debit', 'prepare', { lateEffect: true })).toEqual(['attend late-effect']);
  });
});

describe('Rule 8: identity by subject', () => {
  it.each(['coordinator.decided', 'coordinator.deadline', 'operator.kill'])(
    'refuses Nats-* headers on %s',
    (from) => {
      rig.begin();
      const [line] = rig.feed(from, { ...rig.named(), by: 'x', reason: 'y' }, { headers: 'other' });
      expect(line).toMatch(/^dead: Nats-\* headers/);
    },
  );

  it('refuses a report for a step of another participant', () => {
    rig.begin();
    const report = {
      ...rig.named(),
      step: 'debit',
      phase: 'prepare',
      attempt: 1,
      cause: { at: '1.0', time: T0 },
    };
    const [line] = rig.feed('credit.report', { ...report, answer: 'done' });
    expect(line).toMatch(/^dead: step debit .* does not belong to credit/);
    expect(rig.report('debit', 'prepare')).toEqual(['accepted report']);
  });

  it('lets only the begin’s sender cancel, unless the begin names others', () => {
    rig.begin();
    expect(rig.feed('stranger.cancel', { ...rig.named(), reason: 'no' })[0]).toMatch(/^dead/);
    expect(rig.feed('client.cancel', { ...rig.named(), reason: 'yes' })).toContain('decision abort');
    const other = new FoldRig();
    other.begin({ allow: { cancel: ['support'] } });
    expect(other.feed('client.cancel', { ...other.named(), reason: 'no' })[0]).toMatch(/^dead/);
    expect(other.feed('support.cancel', { ...other.named(), reason: 'yes' })).toContain('decision abort');
  });

  it('lets only the begin’s sender signal, and latches the first that a gate waits for', () => {
    rig = new FoldRig('2ps');
    rig.begin({ plan: { ...twoSteps, gate: { signal: 'go' } } });
    const go = () => ({ ...rig.named(), name: 'go', verdict: 'approve' });
    expect(rig.feed('stranger.signal', go())[0]).toMatch(/^dead: stranger may not signal go/);
    expect(rig.feed('client.signal', go())).toEqual(['accepted signal']);
    expect(rig.feed('client.signal', go())).toEqual([]);
  });
});

describe('names that every object inherits', () => {
  it.each(['constructor', '__proto__', 'toString', 'hasOwnProperty'])(
    'the signal %s belongs to the begin’s sender',
    (name) => {
      rig = new FoldRig('2ps');
      rig.begin({ plan: { ...twoSteps, gate: { signal: name } }, allow: { signal: { ok: ['support'] } } });
      const signal = { ...rig.named(), name, verdict: 'approve' };
      expect(rig.feed('support.signal', signal)[0]).toMatch(/^dead/);
      expect(rig.feed('client.signal', signal)).toEqual(['accepted signal']);
    },
  );
});

describe('a killed run that waits for its verdict', () => {
  it('leaves the name to the run of this id that is open', () => {
    rig.begin({ tx: 'order-7', id: 'own' });
    rig.feed('coordinator.decided', verdict('admit'));
    const first = run();
    rig.begin({ tx: 'order-7', id: 'own' });
    const killed = rig.feed('operator.kill', { ...rig.named(), by: 'asha', reason: 'not this one' });
    expect(killed).toEqual(['accepted kill', 'outcome killed', 'told killed']);
    expect(rig.fold.runOf('order-7')).toBe(first);
    rig.feed('coordinator.decided', outcomeNote());
    expect(rig.fold.runOf('order-7')).toBe(first);
  });
});

it('keeps what it told early', () => {
  rig.begin();
  rig.report('debit', 'prepare');
  rig.report('credit', 'prepare');
  rig.report('debit', 'commit');
  expect(rig.report('credit', 'commit', { answer: 'stale' })).toContain('told committed early');
  expect(run().toldEarly).toMatchObject({ status: 'committed', attention: true });
});

describe('delayed start', () => {
  const start = { kind: 'start', armed: '1.0' };

  it('commands nothing before its time, then begins', () => {
    expect(rig.begin({ startAt: T0 + 60_000 })).toEqual(['accepted begin']);
    expect(rig.feed('coordinator.deadline', { ...rig.named(), ...start }, { timeMs: T0 + 59_999 })).toEqual(
      [],
    );
    expect(rig.feed('coordinator.deadline', { ...rig.named(), ...start }, { timeMs: T0 + 60_000 })).toEqual([
      'accepted deadline',
      'command debit prepare 1',
      'command credit prepare 1',
    ]);
  });

  it('can be cancelled before', () => {
    rig.begin({ startAt: T0 + 60_000 });
    expect(rig.feed('client.cancel', { ...rig.named(), reason: 'no' })).toContain('outcome cancelled');
  });
});

describe('Rule 5: a recovered log', () => {
  it('raises attention for a report whose cause was lost', () => {
    rig.begin();
    rig.feed(
      'operator.recover',
      { v: 1, by: 'ops', reason: 'restored', survived: '1.0' },
      { timeMs: T0 + 1_000 },
    );
    const lost = { cause: { at: '40.0', time: T0 + 500 } };
    expect(rig.report('debit', 'prepare', lost)).toContain('attend lost-log');
    const later = { cause: { at: '41.0', time: T0 + 2_000 } };
    expect(rig.report('credit', 'prepare', later)).not.toContain('attend lost-log');
    expect(viewOf(run()).attention).toMatchObject([{ code: 'lost-log', step: 'debit', phase: 'prepare' }]);
  });

  const recover = (timeMs: number): unknown =>
    rig.feed('operator.recover', { v: 1, by: 'ops', reason: 'restored', survived: '1.0' }, { timeMs });
  const gone = {
    ...{ v: 1, tx: FRESH, run: '39.0.1', step: 'a', phase: 'prepare', attempt: 1, answer: 'done' },
    cause: { at: '40.0', time: T0 + 500 },
  };

  it('raises attention, with a dead letter, also for a run that is gone with its log', () => {
    expect(rig.feed('debit.report', gone)).toEqual([]);
    recover(T0 + 1_000);
    expect(rig.feed('debit.report', gone)).toEqual(['attend lost-log', expect.stringContaining('dead')]);
  });
});

it('the id used in these specs is a ULID of T0', () => {
  expect(FRESH).toHaveLength(26);
});
