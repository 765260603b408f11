// Goal: whatever commands come in whatever order, with crashes and expired claims in between, the table keeps its
// promises. Method: random histories against the pure table with a compare-and-set of one record.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Phase } from '../../src/kernel/vocabulary.ts';
import type { GuardedCommand, Reply } from '../../src/reliability/barrier.ts';
import { decodeRecord, encodeRecord } from '../../src/reliability/barrier-record.ts';
import { lost } from '../../src/reliability/barrier-late.ts';
import { decide, finish, isOurs, type BarrierRecord } from '../../src/reliability/barrier-table.ts';

const LEASE_MS = 100;
const KEEP_MS = 1_000_000;
const PHASES = ['prepare', 'commit', 'abort'] as const;

type Move =
  | { readonly type: 'command'; readonly phase: (typeof PHASES)[number]; readonly attempt: number }
  /** The oldest execution at work ends; `undefined`: it was killed. */
  | { readonly type: 'end'; readonly reply: Reply | undefined }
  | { readonly type: 'wait'; readonly ms: number };

const reply = fc.constantFrom<Reply | undefined>(
  { answer: 'done' },
  { answer: 'refused', code: 'no' },
  { answer: 'retry' },
  { answer: 'unknown' },
  undefined,
);
const moves = fc.array(
  fc.oneof<fc.Arbitrary<Move>[]>(
    fc.record({
      type: fc.constant('command' as const),
      phase: fc.constantFrom(...PHASES),
      attempt: fc.integer({ min: 1, max: 3 }),
    }),
    fc.record({ type: fc.constant('end' as const), reply }),
    fc.record({ type: fc.constant('wait' as const), ms: fc.constantFrom(10, LEASE_MS + 1) }),
  ),
  { maxLength: 24 },
);

interface Running {
  readonly phase: Phase;
  readonly by: string;
  readonly command: GuardedCommand;
  readonly record: BarrierRecord;
  readonly revision: number;
  readonly begunMs: number;
}

class OneStep {
  record: BarrierRecord | undefined;
  revision = 0;
  writtenMs = 0;
  nowMs = 1_000;
  readonly running: Running[] = [];
  /** Handlers that began, in order. */
  readonly begun: Phase[] = [];
  readonly finished: { readonly phase: Phase; readonly reply: Reply }[] = [];
  #count = 0;

  command(phase: Phase, attempt: number): void {
    this.#count += 1;
    const by = `w.${this.#count}`;
    const identity = { pattern: '2pc', tx: 't', run: '1.0.1', step: 's' } as const;
    const told = { ...identity, phase, attempt, since: 1_000, ran: false, redelivered: false };
    const now = {
      serverMs: this.nowMs,
      writtenMs: this.writtenMs,
      keepMs: KEEP_MS,
      leaseMs: LEASE_MS,
      by,
    };
    const decision = decide(this.record, told, now);
    if (decision.type === 'answer' || decision.type === 'wait') return;
    // Through bytes and back: the table must not depend on what JSON drops.
    this.store(decodeRecord(encodeRecord(decision.record, phase)));
    if (decision.type === 'bury') return;
    this.begun.push(phase);
    const { record, revision, nowMs: begunMs } = this;
    this.running.push({ phase, by, command: told, record: record!, revision, begunMs });
  }

  end(reply: Reply | undefined): void {
    const run = this.running.shift();
    if (run === undefined || reply === undefined) return;
    if (this.revision === run.revision) {
      this.store(finish(run.record, run.command, { reply, by: run.by }));
      this.finished.push({ phase: run.phase, reply });
      return;
    }
    const outcome = lost(this.record, run.command, { reply, by: run.by });
    this.finished.push({ phase: run.phase, reply: outcome.reply });
    if (outcome.record !== undefined) this.store(outcome.record);
  }

  store(record: BarrierRecord): void {
    this.record = record;
    this.revision += 1;
    this.writtenMs = this.nowMs;
  }

  /** Executions that the record still takes for living. */
  get alive(): Running[] {
    return this.running.filter(
      ({ command, by }) => isOurs(this.record, command, by) && this.nowMs - this.writtenMs <= LEASE_MS,
    );
  }
}

describe('the barrier table', () => {
  const play = (check: (step: OneStep, move: Move) => void): void => {
    fc.assert(
      fc.property(moves, (history) => {
        const step = new OneStep();
        for (const move of history) {
          if (move.type === 'command') step.command(move.phase, move.attempt);
          else if (move.type === 'end') step.end(move.reply);
          else step.nowMs += move.ms;
          check(step, move);
        }
      }),
    );
  };

  it('never begins both decisions', () =>
    play((step) => {
      expect(step.begun.includes('commit') && step.begun.includes('abort')).toBe(false);
    }));

  it('never begins an act once its undo was commanded', () =>
    play((step) => {
      const undo = step.begun.indexOf('abort');
      if (undo !== -1) expect(step.begun.indexOf('prepare', undo)).toBe(-1);
      if (step.record?.phases.abort !== undefined) {
        const before = step.begun.length;
        step.command('prepare', 3);
        expect(step.begun.length).toBe(before);
      }
    }));

  it('lets at most one execution live at a time', () =>
    play((step) => {
      expect(step.alive.length).toBeLessThanOrEqual(1);
    }));

  it('never answers an undo as empty while the act may have run', () => {
    let empties = 0;
    play((step, move) => {
      const abort = step.record?.phases.abort;
      if (move.type !== 'command' || abort?.status !== 'answered' || abort.empty !== true) return;
      empties += 1;
      const unclean = step.begun.length > 0 && step.finished.some(({ reply }) => reply.answer === 'done');
      expect(unclean).toBe(false);
      expect(step.running.filter(({ phase }) => phase === 'prepare')).toEqual([]);
    });
    expect(empties).toBeGreaterThan(0);
  });

  it('runs a step again that has a positive answer only for an undo that a late act reopened', () =>
    play((step, move) => {
      if (move.type !== 'command') return;
      for (const phase of PHASES) {
        const entry = step.record?.phases[phase];
        if (entry?.status !== 'answered' || entry.reply.answer !== 'done' || entry.reopened === true)
          continue;
        const before = step.begun.length;
        step.command(phase, 3);
        expect(step.begun.length).toBe(before);
      }
    }));
});
