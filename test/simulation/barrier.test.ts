// Goal: what a `kv` barrier promises is judged, and kept under faults. Method: records made by hand, right but for one
// thing; then seeds in which handlers do whatever they are called for.
import { beforeEach, describe, expect, it } from 'vitest';

import type { Phase } from '../../src/kernel/vocabulary.ts';
import {
  recordWrite,
  type BarrierEvidence,
  type Execution,
  type RecordWrite,
  type Trouble,
} from '../../src/simulation/checkers/barrier-evidence.ts';
import type { Change } from '../../src/simulation/checkers/book.ts';
import { BARRIER_CHECKERS, judge } from '../../src/simulation/checkers/index.ts';
import { simulateSeed } from '../../src/simulation/driver/index.ts';
import { HistoryBuilder, type RunBuilder } from '../kit/history.ts';

/** In which claims die, answers are lost and acts come late. */
const SEEDS = [
  ...([
    ['2pc', 0],
    ['2pc', 16],
    ['3ps', 12],
    ['2ps', 27],
    ['3ps', 28],
    ['3ps', 44],
    ['child', 47],
  ] as const),
] as const;
const BARRIER_BRANCHES = ['barrier:takeover', 'barrier:again', 'barrier:late'];
const LEASE_MS = 1_000;
const PLAN = { name: 'one', steps: [{ step: 'a', participant: 'pa', action: 'move' }] };

const started = (by: string, more: object = {}) => ({
  status: 'started',
  attempt: 1,
  by,
  leaseMs: LEASE_MS,
  ...more,
});
const answered = (answer: string, more: object = {}) => ({
  status: 'answered',
  attempt: 1,
  reply: { answer },
  ...more,
});
const idle = { status: 'idle', dirty: true };

let history: HistoryBuilder;
let run: RunBuilder;
let writes: RecordWrite[];
let executions: Execution[];
let troubles: Trouble[];
beforeEach(() => {
  history = new HistoryBuilder();
  run = history.begin('saga', PLAN);
  [writes, executions, troubles] = [[], [], []];
});

const key = (): string => `saga.${run.named.tx}.${run.named.run}.a`;

/** A revision of the one record, a millisecond after the last one unless told otherwise. */
function write(
  by: string,
  phases: object,
  { atMs = (writes.at(-1)?.atMs ?? 0) + 1, node = 'pa-x' } = {},
): void {
  const data = new TextEncoder().encode(JSON.stringify({ v: 1, by, phases }));
  const seen = recordWrite(data, { atMs, timeMs: atMs, node });
  if (seen !== undefined) writes.push(seen);
}

/** A handler is called right after the last write. */
function call(phase: Phase, answer: string | undefined, node = 'pa-x'): void {
  const startMs = writes.at(-1)?.atMs ?? 0;
  executions.push({ key: key(), phase, attempt: 1, node, startMs, answer });
}

function did(...changes: readonly (readonly [Phase, Change])[]): void {
  run.did('pa', 'a', 'over', 0);
  const operation = history.book('pa').operations.get(key());
  changes.forEach(([phase, change], atMs) =>
    operation?.entries.push({ atMs: atMs + 10, phase, attempt: 1, change }),
  );
}

function complaints(): readonly string[] {
  const records: BarrierEvidence['records'] = new Map([[key(), writes]]);
  history.barriers = { records, executions, troubles, trusting: new Set(['pa']) };
  const found = judge(history.evidence()).violations.map(({ checker }) => checker);
  return [...new Set(found.filter((checker) => checker in BARRIER_CHECKERS))];
}

const caught = new Set<string>();
function expectCaught(checker: string): void {
  expect(complaints()).toContain(checker);
  caught.add(checker);
}

it('an act and its undo, each behind its claim, break nothing', () => {
  write('x.1', { execute: started('x.1') });
  call('execute', 'done');
  write('x.1', { execute: started('x.1') });
  write('x.1', { execute: answered('done') });
  write('y.1', { execute: answered('done'), compensate: started('y.1') }, { node: 'pa-y' });
  call('compensate', 'done', 'pa-y');
  write('y.1', { execute: answered('done'), compensate: answered('done') }, { node: 'pa-y' });
  did(['execute', 'apply'], ['compensate', 'revert']);
  expect(complaints()).toEqual([]);
});

describe('a record', () => {
  it.each([
    ['what was answered', { execute: answered('done') }, { execute: started('y.1') }],
    ['an attempt that left nothing', { execute: answered('retry') }, { execute: started('y.1') }],
    [
      'an act after its undo',
      { compensate: answered('done') },
      { compensate: answered('done'), execute: started('y.1') },
    ],
    ['two undos', { cancel: answered('done') }, { cancel: answered('done'), compensate: started('y.1') }],
    [
      'an undo beside a finish',
      { confirm: answered('done') },
      { confirm: answered('done'), compensate: started('y.1') },
    ],
    [
      'an undo of what left nothing',
      { execute: answered('refused') },
      { execute: answered('refused'), compensate: started('y.1') },
    ],
    ['what may have run as if it had not', { execute: idle }, { execute: started('y.1') }],
  ])('does not run %s', (_name, before, after) => {
    write('x.1', before);
    write('y.1', after);
    expectCaught('barrier-records');
  });
  it('does not run an undo of nothing', () => {
    write('x.1', { compensate: started('x.1') });
    expectCaught('barrier-records');
  });
  it('runs an undo of what its command says has run', () => {
    run.input('pa', 'compensate', { step: 'a', phase: 'compensate', attempt: 1, ran: true });
    const { tx, run: id } = run.named;
    const command = { v: 1, tx, run: id, step: 'a', phase: 'compensate', attempt: 1, ran: true };
    history.add('DTX_SAGA_STREAM', 'saga.pa.compensate', [command]);
    write('x.1', { compensate: started('x.1') });
    expect(complaints()).toEqual([]);
  });
  it.each([
    ['a phase', { execute: answered('done') }, { compensate: idle }],
    ['an answer', { execute: answered('done') }, { execute: idle }],
  ])('forgets %s never', (_name, before, after) => {
    write('x.1', before);
    write('y.1', after);
    expectCaught('barrier-records');
  });
  it('is answered by who ran', () => {
    write('x.1', { execute: started('x.1') });
    write('y.1', { execute: answered('done') });
    expectCaught('barrier-records');
  });
});

describe('a claim', () => {
  const takenOver = (afterMs: number): void => {
    write('x.1', { execute: started('x.1') });
    write('y.1', { execute: started('y.1', { dirty: true }) }, { atMs: 1 + afterMs, node: 'pa-y' });
  };
  it('is not taken over while it lives', () => {
    takenOver(LEASE_MS);
    troubles.push({ where: 'pa-x', fromMs: 0, toMs: 5_000 });
    expectCaught('barrier-takeovers');
  });
  it('is not taken over by another phase either', () => {
    write('x.1', { prepare: started('x.1') });
    write('y.1', { prepare: idle, execute: started('y.1') });
    expectCaught('barrier-takeovers');
  });
  it('is not left to die', () => {
    takenOver(LEASE_MS + 1);
    expectCaught('barrier-takeovers');
  });
  it('is not excused by the trouble of others, or of other times', () => {
    takenOver(LEASE_MS + 1);
    troubles.push({ where: 'pa-y', fromMs: 0, toMs: 5_000 }, { where: 'pa-x', fromMs: 2_000, toMs: 5_000 });
    expectCaught('barrier-takeovers');
  });
  it.each(['pa-x', 'broker', 'its record'])('may die by the trouble of %s', (where) => {
    takenOver(LEASE_MS + 1);
    troubles.push({
      where: where === 'its record' ? `$KV.DTX_BARRIER_pa.${key()}` : where,
      fromMs: 500,
      toMs: 600,
    });
    expect(complaints()).toEqual([]);
  });
  it('may die when nobody waits for its attempt any more', () => {
    const { tx, run: id } = run.named;
    const command = { v: 1, tx, run: id, step: 'a', phase: 'execute', attempt: 1, due: 700 };
    history.add('DTX_SAGA_STREAM', 'saga.pa.execute', [command]);
    takenOver(LEASE_MS + 1);
    expect(complaints()).toEqual([]);
  });
});

describe('a handler', () => {
  it('does not run without a claim', () => {
    call('execute', 'done');
    expectCaught('barrier-executions');
  });
  it('does not run twice behind one', () => {
    write('x.1', { execute: started('x.1') });
    call('execute', 'thrown');
    call('execute', 'done');
    expectCaught('barrier-executions');
  });
  it('does not run behind the claim of another process', () => {
    write('x.1', { execute: started('x.1') });
    call('execute', 'done', 'pa-y');
    expectCaught('barrier-executions');
  });
  it('is remembered by its answer', () => {
    write('x.1', { execute: started('x.1') });
    call('execute', 'done');
    write('x.1', { execute: idle });
    expectCaught('barrier-executions');
  });
  it('takes effect twice only when an answer was lost', () => {
    write('x.1', { execute: started('x.1') });
    write('x.1', { execute: answered('done') });
    did(['execute', 'apply'], ['execute', 'again']);
    expectCaught('effects-once');
    writes.splice(1, 1);
    expect(complaints()).toEqual([]);
  });
  it('that takes effect after its undo says so', () => {
    did(['compensate', 'tombstone'], ['execute', 'late']);
    expectCaught('late-effects');
    run.input('pa', 'report', { step: 'a', phase: 'execute', attempt: 1, answer: 'done', lateEffect: true });
    expect(complaints()).toEqual([]);
  });
  it('is undone once more when it took effect late', () => {
    run.input('pa', 'report', { step: 'a', phase: 'execute', attempt: 1, answer: 'done', lateEffect: true });
    run.command('pa', 'compensate', 'a').report('pa', 'compensate', 'a', 'done');
    did(['compensate', 'tombstone'], ['execute', 'late']);
    expectCaught('late-effects');
    did(['compensate', 'tombstone'], ['execute', 'late'], ['compensate', 'none']);
    expect(complaints()).toEqual([]);
  });
});

it('every checker of barriers has caught something', () => {
  expect([...caught].sort()).toEqual(Object.keys(BARRIER_CHECKERS).sort());
});

describe('handlers that do whatever they are called for', () => {
  it('are called as their barrier promises', async () => {
    const problems: string[] = [];
    const counts = new Map<string, number>();
    for (const [kind, seed] of SEEDS) {
      const { violations, branches } = await simulateSeed({ kind, seed });
      problems.push(...violations.map(({ checker, what }) => `${kind} ${seed}: ${checker}: ${what}`));
      for (const name of BARRIER_BRANCHES)
        counts.set(name, (counts.get(name) ?? 0) + (branches.get(name) ?? 0));
    }
    expect(problems).toEqual([]);
    // A barrier that nobody strains keeps every promise, too.
    for (const name of BARRIER_BRANCHES) expect(counts.get(name), name).toBeGreaterThan(0);
  });
});
