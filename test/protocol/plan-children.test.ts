// Goal: plans inside plans are checked like any other, wherever they stand.
import { describe, expect, it } from 'vitest';
import type { Plan } from '../../src/protocol/envelopes.ts';
import { MAX_CHILD_DEPTH } from '../../src/protocol/limits.ts';
import { compiled, planOf, problems, step, type StepOf } from '../kit/written-plans.ts';

describe('plans within plans', () => {
  const child = (plan: Plan): { pattern: string; plan: Plan } => ({ pattern: '2pc', plan });
  const nested = planOf([step('x'), step('y')]);
  const json = (value: unknown): NonNullable<StepOf['child']> => value as NonNullable<StepOf['child']>;

  it('stand for a step, and its coordinator for a participant', () => {
    const plan = planOf([
      step('settle', { child: json(child(nested)), undoChild: json(child(nested)) }),
      step('tell', { kind: 'retriable', child: json(child(nested)) }),
    ]);
    const [first, second] = compiled('saga', plan).steps;
    expect(first).toMatchObject({
      participant: 'coordinator',
      child: child(nested),
      undoChild: child(nested),
    });
    expect(second).toMatchObject({ participant: 'coordinator', child: child(nested), undoChild: undefined });
  });

  it('are checked like any other, with the field inside', () => {
    const bad = planOf([step('x'), step('x')]);
    const steps = [
      step('a', { child: json(child(bad)), undoChild: json(child(nested)) }),
      step('b', { child: json({ pattern: 'none', plan: nested }), undoChild: json(child(nested)) }),
    ];
    expect(problems('saga', planOf(steps))).toEqual([
      'steps[0].child.plan.steps[0].step is required: participant "x" occurs more than once',
      'steps[0].child.plan.steps[1].step is required: participant "x" occurs more than once',
      expect.stringMatching(/^steps\[1\]\.child\.pattern /),
    ]);
  });

  it('need an undo where the step can be compensated, and take no input', () => {
    const steps = [
      step('a', { child: json(child(nested)), input: 1 }),
      step('b', { undoChild: json(child(nested)) }),
    ];
    expect(problems('saga', planOf(steps))).toEqual([
      'steps[0].input goes to no participant: the child has its own inputs',
      'steps[0].undoChild is required: a compensatable child must be undone by another',
      'steps[1].undoChild goes with a child only',
    ]);
  });

  it('are nested to a bounded depth', () => {
    let plan = nested;
    const wrap = (inner: Plan, pattern: string): Plan =>
      planOf([step('w', { kind: 'pivot', child: json({ pattern, plan: inner }) })]);
    for (let depth = 0; depth < MAX_CHILD_DEPTH; depth += 1) plan = wrap(plan, depth === 0 ? '2pc' : 'saga');
    expect(compiled('saga', plan).steps).toHaveLength(1);
    expect(problems('saga', wrap(plan, 'saga'))).toEqual([
      expect.stringMatching(/child is nested deeper than 3 levels$/),
    ]);
  });

  it('of 1.5PS are the steps that follow as a 0.5PS', () => {
    const plan = planOf([step('pay')], { eventual: [step('mail'), step('count')] });
    const follows = { pattern: 'eventual', plan: { name: 'test', steps: plan.eventual } };
    expect(compiled('2ps', plan)).toMatchObject({ eventual: follows });
    expect(problems('2ps', planOf([step('pay')], { eventual: [] }))).toEqual(['eventual has no steps']);
    expect(problems('2ps', planOf([step('pay')], { eventual: [step('mail', { kind: 'pivot' })] }))).toEqual([
      'eventual[0].kind does not exist in pattern eventual',
    ]);
  });

  it('of 2PS-OV wait at a gate, which needs something to open it', () => {
    expect(compiled('2ps', planOf([step('a')], { gate: { signal: 'approval', delay: 5 } })).gate).toEqual({
      signal: 'approval',
      delayMs: 5,
    });
    expect(problems('2ps', planOf([step('a')], { gate: {} }))).toEqual(['gate needs a signal or a delay']);
  });
});
