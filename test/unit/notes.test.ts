// Goal: the envelopes that a coordinator puts together as text are exactly what the schemas say.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EMPTY_DIGEST } from '../../src/kernel/hash.ts';
import {
  commandSchema,
  decidedSchema,
  reportSchema,
  type BeginEnvelope,
  type CommandEnvelope,
} from '../../src/protocol/envelopes.ts';
import type { CommandEffect } from '../../src/protocol/machine.ts';
import { machineOf } from '../../src/protocol/registry.ts';
import { newRun, type RunRecord } from '../../src/protocol/run.ts';
import { commandText, decisionNote, outcomeNote } from '../../src/runtime/notes.ts';
import type { Reply } from '../../src/reliability/barrier.ts';
import { reportText } from '../../src/runtime/worker-reports.ts';
import { compiled } from '../kit/compiled.ts';

const machine = machineOf('2pc', 1)!; // version 1 exists

function runWith(more: Partial<BeginEnvelope> = {}): RunRecord {
  const plan = { name: 'p', steps: [{ participant: 'a', action: 'x' }] };
  const begin: BeginEnvelope = { v: 1, tx: 'order-7', id: 'own', shards: 1, plan, ...more };
  const facts = {
    pattern: '2pc',
    tx: begin.tx,
    run: '7.3.1700000000000',
    plan: compiled('2pc', ['a', 'b']),
  } as const;
  const begun = { at: '7.3', time: 1_700_000_000_000 };
  return newRun({
    facts,
    machine,
    begin,
    begun,
    sender: 'client',
    input: { seq: 7, index: 3, sha: EMPTY_DIGEST },
  });
}

const json = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.parse(JSON.stringify(value)) as never);
const identity = { v: 1, tx: 'order-7', run: '7.3.1700000000000' };

describe('envelopes as text', () => {
  it('is the envelope, whatever input, output and meta hold', () => {
    const command = fc.record(
      {
        step: fc.constantFrom('a', 'b_2', 'C-3'),
        phase: fc.constantFrom('prepare' as const, 'compensate' as const),
        attempt: fc.integer({ min: 1, max: 99 }),
        action: fc.constant('move'),
        cause: fc.constant({ at: '9.0', time: 5 }),
        since: fc.nat(),
        due: fc.nat(),
        input: json,
        output: json,
        ran: fc.boolean(),
        alone: fc.constant(true),
      },
      { requiredKeys: ['step', 'phase', 'attempt', 'action', 'cause', 'since', 'ran'] },
    );
    fc.assert(
      fc.property(
        command,
        fc.dictionary(fc.string({ minLength: 1 }), fc.string()),
        fc.boolean(),
        (fields, meta, reply) => {
          const run = runWith({ meta, ...(reply ? { reply: ['phases'] } : {}) });
          const effect: CommandEffect = { type: 'command', participant: 'a', ...fields };
          const parsed: unknown = JSON.parse(commandText(run, effect, 3));
          expect(parsed).toEqual(
            JSON.parse(
              JSON.stringify({ ...identity, ...fields, shard: 3, meta, ...(reply ? { reply } : {}) }),
            ),
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  it('passes the schema', () => {
    const cause = { at: '9.0', time: 5 };
    const fields = {
      step: 'a',
      phase: 'prepare',
      attempt: 1,
      action: 'x',
      cause,
      since: 5,
      input: { n: '"' },
    } as const;
    const text = commandText(runWith(), { type: 'command', participant: 'a', ...fields }, 0);
    expect(commandSchema.safeParse(JSON.parse(text)).success).toBe(true);
  });

  it('writes decisions and outcomes down, with codes escaped', () => {
    const run = runWith();
    run.decision = {
      at: '9.0',
      time: 1,
      value: 'abort',
      digest: '0123456789abcdef',
      code: 'a "quoted"\n code',
    };
    run.outcome = { at: '9.1', time: 2, value: 'aborted', digest: 'fedcba9876543210' };
    const decision: unknown = JSON.parse(decisionNote(run));
    const outcome: unknown = JSON.parse(outcomeNote(run, 99));
    expect(decidedSchema.safeParse(decision).success).toBe(true);
    expect(decision).toMatchObject({ kind: 'decision', value: 'abort', code: 'a "quoted"\n code' });
    expect(decidedSchema.parse(outcome)).toEqual({
      ...identity,
      kind: 'outcome',
      at: '9.1',
      value: 'aborted',
      digest: 'fedcba9876543210',
      until: 99,
    });
  });

  it('reports what was answered, under the identity of its command', () => {
    const cause = { at: '9.0', time: 5 };
    const act = { ...identity, step: 'a', phase: 'execute', attempt: 2, cause } as const;
    const command = { ...act, shard: 0, action: 'x', since: 5 } as CommandEnvelope;
    const replies: readonly Reply[] = [
      { answer: 'done' },
      { answer: 'done', output: { hold: 'a "quoted"\n one' } },
      { answer: 'retry', code: 'busy', message: '"', mayHaveRun: true, retryAfter: 5 },
      { answer: 'heuristic', result: 'aborted' },
    ];
    for (const reply of replies) {
      expect(reportSchema.parse(JSON.parse(reportText(command, reply)))).toEqual({ ...act, ...reply });
    }
  });
});
