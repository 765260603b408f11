// Goal: each checker of the simulation catches what it is there for, and accepts what is right. Method: histories made
// by hand, right but for one thing.
import { beforeEach, describe, expect, it } from 'vitest';

import { CHECKERS, judge } from '../../src/simulation/checkers/index.ts';
import { HistoryBuilder, type RunBuilder } from '../kit/history.ts';

let history: HistoryBuilder;
beforeEach(() => {
  history = new HistoryBuilder();
});

/** Names of the checkers that complain. */
const complaints = (): readonly string[] => [
  ...new Set(judge(history.evidence()).violations.map(({ checker }) => checker)),
];

const caught = new Set<string>();
function expectCaught(...checkers: readonly string[]): void {
  const found = complaints();
  expect(found).toEqual(expect.arrayContaining([...checkers]));
  for (const checker of checkers) caught.add(checker);
}

const TWO = {
  name: 'two',
  steps: [
    { step: 'a', participant: 'pa', action: 'move' },
    { step: 'b', participant: 'pb', action: 'move' },
  ],
};
const parts = [
  ['pa', 'a', -5],
  ['pb', 'b', 5],
] as const;

function prepared(pattern: '2pc' | '3pc' = '2pc'): RunBuilder {
  const run = history.begin(pattern, TWO);
  for (const [participant, step] of parts)
    run.command(participant, 'prepare', step).report(participant, 'prepare', step, 'done');
  return run;
}

function committed(): RunBuilder {
  const run = prepared().note('decision', 'commit');
  for (const [participant, step, amount] of parts)
    run
      .command(participant, 'commit', step)
      .report(participant, 'commit', step, 'done')
      .did(participant, step, 'applied', amount);
  return run;
}

const good = (): RunBuilder => committed().note('outcome', 'committed').told('committed');

function executed(pattern: 'saga' | 'eventual' = 'saga'): RunBuilder {
  const run = history.begin(pattern, TWO);
  for (const [participant, step, amount] of parts)
    run
      .command(participant, 'execute', step)
      .report(participant, 'execute', step, 'done')
      .did(participant, step, 'applied', amount);
  return run;
}

it('a right history breaks nothing', () => {
  good();
  executed().note('outcome', 'completed');
  executed('eventual').note('outcome', 'completed');
  expect(complaints()).toEqual([]);
});

describe('decisions', () => {
  it('are one', () => {
    good().note('decision', 'abort');
    expectCaught('one-decision');
  });
  it('have one outcome', () => {
    good().note('outcome', 'aborted');
    expectCaught('one-decision');
  });
  it('are never contradicted', () => {
    good().note('conflict', 'abort');
    expectCaught('one-decision');
  });
  it('are commanded one way', () => {
    good().command('pb', 'abort', 'b');
    expectCaught('one-decision');
  });
  it('to commit need every yes', () => {
    const run = history.begin('2pc', TWO).command('pa', 'prepare', 'a').report('pa', 'prepare', 'a', 'done');
    run.note('decision', 'commit');
    expectCaught('validity');
  });
  it('to commit need every yes before', () => {
    const run = history.begin('2pc', TWO).report('pa', 'prepare', 'a', 'done').note('decision', 'commit');
    run.report('pb', 'prepare', 'b', 'done');
    expectCaught('validity');
  });
  it('to commit need a yes of the step itself', () => {
    const run = history.begin('2pc', TWO).report('pa', 'prepare', 'a', 'done');
    run.report('pa', 'prepare', 'b', 'done').note('decision', 'commit');
    expectCaught('validity');
  });
  it('are kept by all', () => {
    prepared()
      .note('decision', 'commit')
      .note('outcome', 'committed')
      .did('pa', 'a', 'applied', -5)
      .did('pb', 'b', 'over', 5);
    expectCaught('agreement');
  });
  it('to abort are applied by none', () => {
    prepared().note('decision', 'abort').did('pa', 'a', 'applied', -5);
    expectCaught('agreement');
  });
});

describe('a split', () => {
  const split = (pattern: '2pc' | '3pc'): void => {
    const run = prepared(pattern).note('decision', 'commit').note('outcome', 'mixed').told('mixed');
    run.did('pa', 'a', 'applied', -5).did('pb', 'b', 'over', 5);
  };
  it('of 3PC is expected when somebody may have been cut off', () => {
    split('3pc');
    history.mayHaveSplit = true;
    expect(complaints()).toEqual([]);
    expect(judge(history.evidence()).expectedSplits).toHaveLength(1);
  });
  it('of 3PC is not expected otherwise', () => {
    split('3pc');
    expectCaught('agreement');
  });
  it('of 2PC never is', () => {
    split('2pc');
    history.mayHaveSplit = true;
    expectCaught('agreement');
    expect(judge(history.evidence()).expectedSplits).toEqual([]);
  });
});

describe('begins', () => {
  it('of one id run once', () => {
    history.beginAs('own', '2pc', TWO).command('pa', 'prepare', 'a').note('outcome', 'aborted');
    history.beginAs('own', '2pc', TWO).command('pa', 'prepare', 'a').note('outcome', 'aborted');
    expectCaught('one-run');
  });
  it('that were acknowledged are in the log', () => {
    good();
    history.told.push({ pattern: '2pc', tx: 'lost', begunAt: '99.0', begunMs: 1, outcomes: [] });
    expectCaught('no-lost-acknowledgement');
  });
  it('that were acknowledged have an outcome', () => {
    history.begin('2pc', TWO).told();
    expectCaught('no-lost-acknowledgement');
  });
  it('are told what is written', () => {
    committed().note('outcome', 'committed').told('aborted');
    expectCaught('told-truly');
  });
  it('end, or wait for somebody', () => {
    const run = committed();
    expectCaught('liveness');
    const { pattern, tx, run: id } = run.named;
    history.attention.add(`${pattern}/${tx}/${id}`);
    expect(complaints()).toEqual([]);
  });
  it('leave memory when they have ended', () => {
    good();
    history.openRuns.set('coordinator-a', 1);
    expectCaught('bounded-memory');
  });
});

describe('messages', () => {
  it('can be read by whom they are for', () => {
    history.add('DTX_DEAD_LETTER_STREAM', 'dead.3pc.coordinator', {
      subject: '3pc.pa.report.0',
      problem: 'bad',
    });
    expectCaught('readable');
  });
});

describe('effects', () => {
  it('add up in every book', () => {
    good();
    history.book('pa').balance += 1;
    expectCaught('books');
  });
  it('happen once', () => {
    const run = good();
    for (const { entries } of history.book('pa').operations.values())
      entries.push({ atMs: 1, phase: 'commit', attempt: 2, change: 'apply' });
    expect(run.named.pattern).toBe('2pc');
    expectCaught('books');
  });
  it('are never asked for out of turn', () => {
    history.book('pa').anomalies.push('commit of what is new');
    expectCaught('books');
  });
  it('are all there when a run went forward', () => {
    prepared()
      .note('decision', 'commit')
      .note('outcome', 'committed')
      .did('pa', 'a', 'applied', -5)
      .did('pb', 'b', 'held', 5);
    expectCaught('atomic-effects', 'conservation');
  });
  it('are all gone when a run was turned back', () => {
    prepared().note('decision', 'abort').note('outcome', 'aborted').did('pa', 'a', 'held', -5);
    expectCaught('atomic-effects', 'conservation');
  });
  it('of a saga sum up to nothing', () => {
    executed().note('outcome', 'completed').did('pb', 'b', 'applied', 4);
    expectCaught('conservation');
  });
});

describe('an undo', () => {
  it('comes after the undo of what depends on it', () => {
    const run = executed().note('decision', 'undo').command('pa', 'compensate', 'a');
    run.report('pa', 'compensate', 'a', 'done').command('pb', 'compensate', 'b');
    expectCaught('undo-order');
  });
  it('needs an act whose turn had come', () => {
    history.begin('saga', TWO).command('pa', 'execute', 'a').command('pb', 'compensate', 'b');
    expectCaught('undo-order');
  });
  it('never touches the pivot', () => {
    const [a, b] = TWO.steps;
    const run = history.begin('saga', { name: 'pivoted', steps: [a, { ...b, kind: 'pivot' }] });
    run.report('pa', 'execute', 'a', 'done').command('pb', 'compensate', 'b');
    expectCaught('undo-order');
  });
  it('is done one way', () => {
    const run = history.begin('2ps', TWO).command('pb', 'compensate', 'b');
    run.command('pb', 'cancel', 'b');
    expectCaught('undo-order');
  });
});

describe('an execute', () => {
  it('of 2PS waits for every prepare', () => {
    const run = history
      .begin('2ps', TWO)
      .report('pa', 'prepare', 'a', 'done')
      .report('pb', 'prepare', 'b', 'refused');
    run.command('pa', 'execute', 'a');
    expectCaught('execute-gate');
  });
  it('of 3PS waits for every validation', () => {
    const run = history.begin('3ps', TWO);
    for (const [participant, step] of parts) run.report(participant, 'reserve', step, 'done');
    run.report('pa', 'validate', 'a', 'done').command('pa', 'execute', 'a');
    expectCaught('execute-gate');
  });
  for (const verdict of ['reject', 'nothing'])
    it(`of 2PS-OV waits for an approval, and ${verdict} is none`, () => {
      const run = history.begin('2ps', { ...TWO, gate: { signal: 'go' } });
      for (const [participant, step] of parts)
        for (const phase of ['prepare', 'verify'] as const) run.report(participant, phase, step, 'done');
      if (verdict === 'reject') run.input('teller', 'signal', { name: 'go', verdict });
      run.command('pa', 'execute', 'a');
      expectCaught('execute-gate');
    });
});

describe('an eventual step', () => {
  it('is never lost', () => {
    const run = history.begin('eventual', TWO).command('pa', 'execute', 'a').did('pa', 'a', 'applied', -5);
    run.command('pb', 'execute', 'b').note('outcome', 'dead');
    expectCaught('never-lost');
    const letter = { tx: run.named.tx, step: 'b' };
    const data = Buffer.from(JSON.stringify(letter)).toString('base64');
    history.add('DTX_DEAD_LETTER_STREAM', 'dead.eventual.pb', { problem: 'refused', data });
    expect(complaints()).toEqual([]);
  });
  it('of 1.5PS waits for the critical part', () => {
    const run = history.begin('2ps', { ...TWO, eventual: [{ participant: 'pa', action: 'mail' }] });
    const { pattern, tx, run: id } = run.command('pa', 'execute', 'a').named;
    history.begin(
      'eventual',
      { name: 'mail', steps: [] },
      { parent: { pattern, tx, run: id, step: 'eventual' } },
    );
    expectCaught('hand-over');
  });
  it('of 1.5PS follows the critical part', () => {
    const run = history.begin('2ps', { ...TWO, eventual: [{ participant: 'pa', action: 'mail' }] });
    for (const [participant, step, amount] of parts)
      for (const phase of ['prepare', 'execute'] as const)
        run.report(participant, phase, step, 'done').did(participant, step, 'applied', amount);
    run.note('outcome', 'completed');
    expectCaught('hand-over');
  });
});

describe('a nested transaction', () => {
  const child = { pattern: '2pc', plan: TWO };
  const parentPlan = { name: 'parent', steps: [{ step: 'n', participant: 'child', action: 'begin', child }] };
  it('is there when its parent went forward', () => {
    history.begin('saga', parentPlan).note('outcome', 'completed');
    expectCaught('nested');
  });
  it('is undone when its parent was turned back', () => {
    const { pattern, tx, run } = history.begin('saga', parentPlan).note('outcome', 'compensated').named;
    const parent = { pattern, tx, run, step: 'n', phase: 'execute' };
    history.begin('2pc', TWO, { parent }).note('outcome', 'committed');
    expectCaught('nested');
  });
});

it('every checker has caught something', () => {
  expect([...caught].sort()).toEqual(Object.keys(CHECKERS).sort());
});
