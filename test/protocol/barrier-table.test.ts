// Goal: a barrier never lets an act run beside or after its undo, never runs both decisions, and answers duplicates
// from its record. Method: rows of the pure table, given a history of executions, when a command comes.
import { describe, expect, it } from 'vitest';
import type { GuardedCommand, Reply } from '../../src/reliability/barrier.ts';
import { lost } from '../../src/reliability/barrier-late.ts';
import { decide, finish, type BarrierRecord, type Decision } from '../../src/reliability/barrier-table.ts';
import type { Phase } from '../../src/kernel/vocabulary.ts';

const KEEP_MS = 1_000_000;
const LEASE_MS = 1_000;
const T0 = 5_000_000;

interface Told extends Partial<GuardedCommand> {
  readonly atMs?: number;
  readonly by?: string;
}

class Given {
  constructor(
    readonly record?: BarrierRecord,
    readonly writtenMs = 0,
  ) {}

  /** An execution that began and died, or is still at work. */
  started(phase: Phase, told: Told = {}): Given {
    const decision = this.decide(phase, told);
    if (decision.type !== 'run') throw new Error(`${phase} did not run: ${JSON.stringify(decision)}`);
    return new Given(decision.record, told.atMs ?? T0);
  }

  answered(phase: Phase, reply: Reply, told: Told = {}): Given {
    const { record, writtenMs } = this.started(phase, told);
    const by = told.by ?? 'w1.1';
    return new Given(finish(record!, command(phase, told), { reply, by }), writtenMs);
  }

  buried(phase: Phase, told: Told = {}): Given {
    const decision = this.decide(phase, told);
    if (decision.type !== 'bury') throw new Error(`${phase} was not empty: ${JSON.stringify(decision)}`);
    return new Given(decision.record, told.atMs ?? T0);
  }

  decide(phase: Phase, told: Told = {}): Decision {
    return decide(this.record, command(phase, told), {
      serverMs: told.atMs ?? T0,
      writtenMs: this.writtenMs,
      keepMs: KEEP_MS,
      leaseMs: LEASE_MS,
      by: told.by ?? 'w1.1',
    });
  }
}

function command(phase: Phase, told: Told): GuardedCommand {
  const { atMs: _, by: __, ...fields } = told;
  const identity = { pattern: 'saga', tx: 't', run: '1.0.1', step: 's' } as const;
  return { ...identity, phase, attempt: 1, since: T0 - 10, ran: false, redelivered: false, ...fields };
}

const nothing = new Given();
const done = (output?: string): Reply => ({ answer: 'done', ...(output === undefined ? {} : { output }) });
const no: Reply = { answer: 'refused', code: 'no' };
const again: Reply = { answer: 'retry', code: 'busy-db' };
const thrown: Reply = { answer: 'unknown', code: 'handler-error' };
const answers = (reply: Partial<Reply>) => ({ type: 'answer', reply: expect.objectContaining(reply) });
const runs = (mayHaveRun = false): unknown => expect.objectContaining({ type: 'run', mayHaveRun });
const later = { atMs: T0 + LEASE_MS + 1, by: 'w2.1' };
const soon = { atMs: T0 + LEASE_MS, by: 'w2.1' };

describe('an act', () => {
  it('runs when nothing is known of it', () => expect(nothing.decide('execute')).toEqual(runs()));

  it('waits while another act of its step is at work', () => {
    const given = nothing.started('prepare', { attempt: 2 });
    expect(given.decide('execute', soon)).toMatchObject({ type: 'wait', reply: { code: 'busy' } });
    expect(given.decide('execute', later)).toEqual(runs());
  });

  it('cannot speak for earlier deliveries', () =>
    expect(nothing.decide('execute', { redelivered: true })).toEqual(runs(true)));

  it('is stale when half of the keep is over, since its record may be gone', () => {
    expect(nothing.decide('execute', { since: T0 - KEEP_MS / 2 })).toEqual(runs());
    expect(nothing.decide('execute', { since: T0 - KEEP_MS / 2 - 1 })).toEqual(answers({ answer: 'stale' }));
  });

  it('is answered from its record, in any attempt, however old', () => {
    const given = nothing.answered('execute', done('id-1'));
    expect(given.decide('execute', { attempt: 3, since: 0 })).toEqual(
      answers({ answer: 'done', output: 'id-1' }),
    );
  });

  it('repeats a no to the attempt that got it, and asks anew in a later one', () => {
    const given = nothing.answered('execute', no);
    expect(given.decide('execute')).toEqual(answers(no));
    expect(given.decide('execute', { attempt: 2 })).toEqual(runs());
  });

  it('waits for the execution that is at work', () =>
    expect(nothing.started('execute').decide('execute', soon)).toEqual({
      type: 'wait',
      reply: expect.objectContaining({ answer: 'retry', code: 'busy', mayHaveRun: true }),
    }));

  it('takes over from an execution whose lease is over, and cannot speak for it', () =>
    expect(nothing.started('execute').decide('execute', later)).toEqual(runs(true)));

  it('closes the attempt that was answered retry: a copy of it does not run, the next attempt does (ADR 1)', () => {
    const given = nothing.answered('execute', again);
    expect(given.decide('execute')).toEqual(answers(again));
    expect(given.decide('execute', { redelivered: true })).toEqual(answers(again));
    expect(given.decide('execute', { attempt: 2 })).toEqual(runs());
  });

  it('needs no handler to undo an act that only ever answered retry', () =>
    expect(nothing.answered('execute', again).decide('compensate').type).toBe('bury'));

  it('remembers that a throw may have left something, also over a clean retry after it', () => {
    const given = nothing.answered('execute', thrown).answered('execute', again, { attempt: 2, by: 'w1.2' });
    expect(given.decide('execute', { attempt: 3 })).toEqual(runs(true));
  });

  it.each(['abort', 'compensate', 'cancel', 'release'] as const)('is late after %s', (undo) => {
    const given = nothing.buried(undo);
    expect(given.decide('execute')).toEqual({
      type: 'answer',
      reply: { answer: 'refused', code: 'late', message: 'its undo was commanded before' },
    });
  });

  it('is late also while its undo is at work, and after one that will be tried again', () => {
    const ran = { ran: true };
    expect(nothing.started('compensate', ran).decide('execute')).toEqual(answers({ code: 'late' }));
    expect(nothing.answered('compensate', again, ran).decide('execute')).toEqual(answers({ code: 'late' }));
  });

  it('admits when late that it may have run before its undo', () => {
    const given = nothing.answered('execute', done()).answered('compensate', done(), { by: 'w1.2' });
    expect(given.decide('execute')).toEqual(answers({ answer: 'refused', code: 'late', mayHaveRun: true }));
  });

  it('is late after the commit of its step', () =>
    expect(nothing.answered('commit', done()).decide('prepare')).toEqual(answers({ code: 'late' })));
});

describe('an undo', () => {
  const prepared = nothing.answered('prepare', done('hold-7'));

  it('runs after its act, and gets the output', () =>
    expect(prepared.decide('abort')).toMatchObject({ type: 'run', output: 'hold-7' }));

  it('is empty when nothing is known, and young', () =>
    expect(nothing.decide('abort')).toMatchObject({
      type: 'bury',
      reply: { answer: 'done', code: 'empty' },
    }));

  it('is stale when nothing is known, and old', () =>
    expect(nothing.decide('abort', { since: T0 - KEEP_MS / 2 - 1 })).toEqual(answers({ answer: 'stale' })));

  it('runs without a record if the act is known to have run, also an old one', () =>
    expect(nothing.decide('abort', { ran: true, since: 0 })).toEqual(runs()));

  it('waits for an act at work, and runs once its lease is over', () => {
    const given = nothing.started('prepare');
    expect(given.decide('abort', soon)).toEqual(answers({ answer: 'retry', code: 'busy' }));
    expect(given.decide('abort', later)).toEqual(runs());
  });

  it.each([no, again, { answer: 'read-only' } as const])('is empty after %j', (reply) =>
    expect(nothing.answered('prepare', reply).decide('abort', { since: 0 })).toMatchObject({ type: 'bury' }),
  );

  it('runs after an act that threw', () =>
    expect(nothing.answered('prepare', thrown).decide('abort')).toEqual(runs()));

  it('runs after a no that cannot speak for earlier executions', () =>
    expect(nothing.answered('prepare', { ...no, mayHaveRun: true }).decide('abort')).toEqual(runs()));

  it('is answered from its record, as an empty one', () => {
    expect(prepared.answered('abort', done()).decide('abort', { attempt: 2 })).toEqual(answers(done()));
    expect(nothing.buried('abort').decide('abort', { since: 0 })).toEqual(answers({ code: 'empty' }));
  });

  it('runs again after retry, although no act is known', () =>
    expect(
      nothing.answered('abort', again, { ran: true }).decide('abort', { attempt: 2, by: 'w1.2' }),
    ).toEqual(runs()));

  it('runs again when an operator asks once more after it was refused', () =>
    expect(prepared.answered('abort', no).decide('abort', { attempt: 2 })).toEqual(runs()));

  it('is a conflict beside another undo', () =>
    expect(nothing.answered('compensate', done(), { ran: true }).decide('cancel')).toEqual(
      answers({ answer: 'conflict' }),
    ));
});

describe('commit against abort', () => {
  const prepared = nothing.answered('prepare', done());

  it.each([done(), again, thrown, no])('abort is a conflict once commit was commanded: %j', (reply) =>
    expect(prepared.answered('commit', reply).decide('abort')).toEqual(answers({ answer: 'conflict' })),
  );

  it('abort is a conflict while commit is at work', () =>
    expect(prepared.started('commit').decide('abort')).toEqual(answers({ answer: 'conflict' })));

  it('abort is a conflict after a done commit-one-phase', () =>
    expect(nothing.answered('commit-one-phase', done()).decide('abort')).toEqual(
      answers({ answer: 'conflict' }),
    ));

  it.each([done(), again, thrown])('commit is a conflict once abort was commanded: %j', (reply) =>
    expect(prepared.answered('abort', reply).decide('commit')).toEqual(answers({ answer: 'conflict' })),
  );

  it('commit is a conflict after an empty abort', () =>
    expect(nothing.buried('abort').decide('commit')).toEqual(answers({ answer: 'conflict' })));

  it('commit runs without a record: everybody voted yes', () =>
    expect(nothing.decide('commit', { since: T0 - KEEP_MS / 2 })).toEqual(runs()));

  it.each(['precommit', 'commit', 'confirm'] as const)(
    '%s is stale when nothing is known, and old: it may have run before its record ended',
    (finish) => {
      const since = T0 - KEEP_MS / 2 - 1;
      expect(nothing.decide(finish, { since })).toEqual(answers({ answer: 'stale' }));
      expect(nothing.answered('prepare', done()).decide(finish, { since })).toEqual(runs());
      expect(nothing.answered(finish, done()).decide(finish, { since })).toEqual(answers(done()));
    },
  );

  it('commit waits for a prepare at work', () =>
    expect(nothing.started('prepare').decide('commit', soon)).toEqual(answers({ code: 'busy' })));
});

describe('an execution whose claim was taken over', () => {
  const slow = nothing.started('execute');
  const act = command('execute', {});

  it('reports a late effect after an undo, which is then reopened', () => {
    const undone = slow.answered('compensate', done(), later);
    const outcome = lost(undone.record, act, { reply: done('x'), by: 'w1.1' });
    expect(outcome.reply).toEqual({ answer: 'done', output: 'x', lateEffect: true });
    const reopened = new Given(outcome.record);
    expect(reopened.decide('compensate', { attempt: 2 })).toEqual(runs(true));
    const closed = reopened.answered('compensate', done(), { attempt: 2, by: 'w3.1' });
    expect(closed.decide('compensate', { attempt: 2 })).toEqual(answers(done()));
    expect(closed.decide('execute')).toEqual(answers({ code: 'late' }));
  });

  it('reports a late effect where its successor answered otherwise', () => {
    const taken = slow.answered('execute', no, later);
    expect(lost(taken.record, act, { reply: done(), by: 'w1.1' })).toEqual({
      reply: { answer: 'done', lateEffect: true },
    });
  });

  it('gives the answer of its successor where that is the same', () => {
    const taken = slow.answered('execute', done('theirs'), later);
    expect(lost(taken.record, act, { reply: done('mine'), by: 'w1.1' })).toEqual({ reply: done('theirs') });
  });

  it('cannot promise any more that nothing was left behind', () =>
    expect(lost(undefined, act, { reply: no, by: 'w1.1' })).toEqual({ reply: { ...no, mayHaveRun: true } }));
});
