// Goal: a 3PC participant ends on its own only what it answered and heard no more of, to one side only, and whatever is
// commanded before or after meets the record. Method: rows of the pure table, given a history of executions.
import { describe, expect, it } from 'vitest';
import type { Phase } from '../../src/kernel/vocabulary.ts';
import type { GuardedCommand, Reply } from '../../src/reliability/barrier.ts';
import { decodeRecord, encodeRecord } from '../../src/reliability/barrier-record.ts';
import { decideEnd, finishEnd, reported, type OwnEnd } from '../../src/reliability/barrier-end.ts';
import {
  decide,
  finish,
  type BarrierNow,
  type BarrierRecord,
  type Decision,
} from '../../src/reliability/barrier-table.ts';

const LEASE_MS = 1_000;
const WAIT_MS = 60_000;
const T0 = 5_000_000;

const command = (phase: Phase, fields: Partial<GuardedCommand> = {}): GuardedCommand => ({
  ...{ pattern: '3pc', tx: 't', run: '1.0.1', step: 's', phase, attempt: 1, since: T0 },
  ...{ ran: phase === 'abort', redelivered: false, standing: { at: '7.2', waitMs: WAIT_MS } },
  ...fields,
});

/** A record as it was written at T0. */
class Given {
  constructor(readonly record?: BarrierRecord) {}

  static now(atMs: number, by = 'w1.1'): BarrierNow {
    return { serverMs: T0 + atMs, writtenMs: T0, keepMs: 604_800_000, leaseMs: LEASE_MS, by };
  }
  started(phase: Phase): Given {
    const decision = decide(this.record, command(phase), Given.now(0));
    if (decision.type !== 'run') throw new Error(`${phase} did not run: ${JSON.stringify(decision)}`);
    return new Given(decision.record);
  }
  answered(phase: Phase, reply: Reply): Given {
    const begun = this.started(phase).record!;
    const record = finish(begun, command(phase), { reply, by: 'w1.1' });
    expect(decodeRecord(encodeRecord(record, phase)), 'survives the bucket').toStrictEqual(record);
    return new Given(record);
  }
  ending(): Given {
    const end = this.end(WAIT_MS, 'w2.1');
    if (end.type !== 'run') throw new Error(`no end: ${end.type}`);
    return new Given(end.record);
  }
  ended(reply: Reply = { answer: 'done' }): Given {
    const { standing, ...record } = this.ending().record!;
    return new Given(finishEnd({ ...record, standing: standing! }, standing!, { reply, by: 'w2.1' }));
  }
  told(): Given {
    return new Given(reported(this.record!, 'w2.2'));
  }
  end(atMs: number, by = 'w2.1'): OwnEnd {
    return decideEnd(this.record!, Given.now(atMs, by));
  }
  decide(phase: Phase, fields: Partial<GuardedCommand> = {}, atMs = 1): Decision {
    return decide(this.record, command(phase, fields), Given.now(atMs, 'w3.1'));
  }
}

const yes: Reply = { answer: 'done', output: { hold: 7 } };
const prepared = new Given().answered('prepare', yes);
const precommitted = prepared.answered('precommit', { answer: 'done' });
const aborted = prepared.ended();
const committed = precommitted.ended();
const answers = (reply: Partial<Reply>) => ({ type: 'answer', reply: expect.objectContaining(reply) });
const NONE = { type: 'none' };
const standing = { phase: 'prepare', at: '7.2', waitMs: WAIT_MS };

describe('an own end', () => {
  it('from prepared: abort, once it has waited, with what prepare put out', () => {
    expect(prepared.end(WAIT_MS - 1)).toEqual(NONE);
    expect(prepared.end(WAIT_MS)).toMatchObject({
      type: 'run',
      phase: 'abort',
      standing,
      output: { hold: 7 },
    });
  });

  it('from precommitted: commit', () =>
    expect(precommitted.end(WAIT_MS)).toMatchObject({
      type: 'run',
      phase: 'commit',
      standing: { ...standing, phase: 'precommit' },
    }));

  for (const answer of ['refused', 'unknown', 'retry'] as const)
    it(`commit, also when precommit was answered ${answer}: it knows the decision`, () =>
      expect(prepared.answered('precommit', { answer }).end(WAIT_MS)).toMatchObject({
        type: 'run',
        phase: 'commit',
      }));

  it('commit, also when precommit began and its worker never answered: once nobody is at work there', () => {
    const begun = prepared.started('precommit');
    expect(decodeRecord(encodeRecord(begun.record!, 'precommit'))).toStrictEqual(begun.record);
    expect(begun.end(WAIT_MS - 1)).toEqual(NONE);
    expect(begun.end(WAIT_MS)).toMatchObject({
      type: 'run',
      phase: 'commit',
      standing: { ...standing, phase: 'precommit' },
      record: { phases: { precommit: { status: 'idle', dirty: true }, commit: { status: 'started' } } },
    });
    const slow = Given.now(LEASE_MS, 'w2.1');
    const patient = { ...begun.record!, standing: { ...begun.record!.standing!, waitMs: 1 } };
    expect(decideEnd(patient, slow), 'its claim is alive').toEqual(NONE);
    expect(decideEnd(patient, Given.now(LEASE_MS + 1, 'w2.1'))).toMatchObject({ type: 'run' });
  });

  it('never again because a precommit comes after its commit has begun', () => {
    const again = precommitted.answered('commit', { answer: 'unknown' });
    expect(again.decide('precommit', { attempt: 2 })).not.toMatchObject({ record: { standing: {} } });
    expect(
      prepared
        .answered('commit', { answer: 'unknown' })
        .answered('precommit', yes)
        .end(WAIT_MS * 9),
    ).toEqual(NONE);
  });

  for (const answer of ['refused', 'read-only', 'retry', 'unknown'] as const)
    it(`never of a step that voted ${answer}`, () =>
      expect(new Given().answered('prepare', { answer }).end(WAIT_MS * 9)).toEqual(NONE));

  it('never once something more was heard, whatever became of it', () => {
    expect(prepared.started('abort').end(WAIT_MS * 9)).toEqual(NONE);
    expect(prepared.answered('abort', { answer: 'unknown' }).end(WAIT_MS * 9)).toEqual(NONE);
    expect(precommitted.started('commit').end(WAIT_MS * 9)).toEqual(NONE);
    expect(precommitted.answered('commit', yes).end(WAIT_MS * 9)).toEqual(NONE);
  });

  it('never in 2PC, or where the worker keeps no time for it', () => {
    const record = new Given().started('prepare').record!;
    const plain = finish(record, command('prepare', { standing: undefined }), { reply: yes, by: 'w1.1' });
    expect(decideEnd(plain, Given.now(WAIT_MS * 9))).toEqual(NONE);
  });

  it('is taken over only from a dead fellow', () => {
    expect(prepared.ending().end(LEASE_MS, 'w4.1')).toEqual(NONE);
    expect(prepared.ending().end(LEASE_MS + 1, 'w4.1')).toMatchObject({ type: 'run', phase: 'abort' });
  });

  it('without an answer is tried again after the wait, and to the same side', () => {
    const failed = prepared.ended({ answer: 'unknown' });
    expect(failed.end(WAIT_MS - 1)).toEqual(NONE);
    expect(failed.end(WAIT_MS)).toMatchObject({ type: 'run', phase: 'abort' });
    expect(failed.decide('precommit')).toEqual(answers({ answer: 'conflict' }));
  });

  it('is told until it was reported', () => {
    const reply = { answer: 'terminated', result: 'aborted' };
    expect(aborted.end(0)).toMatchObject({ type: 'ended', reply });
    expect(committed.end(0)).toMatchObject({ type: 'ended', reply: { ...reply, result: 'committed' } });
    expect(aborted.told().end(WAIT_MS * 9)).toEqual(NONE);
  });

  it('keeps what a handler decided against it', () =>
    expect(prepared.ended({ answer: 'heuristic', result: 'committed' }).end(0)).toMatchObject({
      type: 'ended',
      reply: { answer: 'heuristic', result: 'committed' },
    }));
});

describe('a command after an own end', () => {
  for (const [name, after] of [
    ['told', (given: Given) => given.told()],
    ['not yet told', (given: Given) => given],
  ] as const) {
    it(`that aborted, ${name}`, () => {
      const given = after(aborted);
      expect(given.decide('abort')).toEqual(answers({ answer: 'done', code: 'terminated' }));
      expect(given.decide('abort', { attempt: 4 })).toEqual(answers({ answer: 'done' }));
      expect(given.decide('precommit')).toEqual(answers({ answer: 'conflict' }));
      expect(given.decide('commit')).toEqual(answers({ answer: 'conflict' }));
      expect(given.decide('prepare', { attempt: 2 })).toEqual(answers({ answer: 'refused', code: 'late' }));
    });

    it(`that committed, ${name}`, () => {
      const given = after(committed);
      expect(given.decide('commit')).toEqual(answers({ answer: 'done', code: 'terminated' }));
      expect(given.decide('precommit', { attempt: 2 })).toEqual(answers({ answer: 'done' }));
      expect(given.decide('abort')).toEqual(answers({ answer: 'conflict' }));
    });
  }

  it('waits for one at work, and takes over from a dead one', () => {
    expect(prepared.ending().decide('abort').type).toBe('wait');
    expect(prepared.ending().decide('precommit')).toEqual(answers({ answer: 'conflict' }));
    const taken = prepared.ending().decide('abort', {}, LEASE_MS + 1);
    expect(taken).toMatchObject({ type: 'run', mayHaveRun: true });
    expect(taken.type === 'run' && taken.record.standing).toBe(undefined);
  });
});
