// Goal: a plan is either compiled with every default explicit, or refused with the field and a sentence a person can use.
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import { MAX_PLAN_BYTES } from '../../src/protocol/limits.ts';
import type { Plan } from '../../src/protocol/envelopes.ts';
import { planProblems } from '../../src/protocol/plan.ts';
import * as policies from '../../src/protocol/policies.ts';
import { compiled, planOf, problems, step, type StepOf } from '../kit/written-plans.ts';

const afterOf = (plan: CompiledPlan): (readonly number[])[] => plan.steps.map(({ after }) => after);

describe('step ids', () => {
  it('are the participant by default', () => {
    const plan = compiled('2pc', planOf([step('hdfc'), step('icici', { step: 'credit' })]));
    expect(plan.steps.map(({ step: id, index }) => [id, index])).toEqual([
      ['hdfc', 0],
      ['credit', 1],
    ]);
    expect([...plan.indexOf]).toEqual([
      ['hdfc', 0],
      ['credit', 1],
    ]);
  });

  it('are required where a participant occurs twice', () => {
    expect(problems('2pc', planOf([step('bank', { step: 'a' }), step('bank'), step('tax')]))).toEqual([
      'steps[1].step is required: participant "bank" occurs more than once',
    ]);
    expect(
      compiled('2pc', planOf([step('bank', { step: 'a' }), step('bank', { step: 'b' })])).steps,
    ).toHaveLength(2);
  });

  it('are unique, also against defaults', () => {
    expect(problems('saga', planOf([step('bank'), step('tax', { step: 'bank' })]))).toEqual([
      'steps[1].step "bank" is also the id of steps[0]',
    ]);
    expect(problems('saga', planOf([step('tax', { step: 'bank' }), step('bank')]))).toEqual([
      'steps[1].participant "bank" is also the id of steps[0]',
    ]);
  });

  it('may be names of object members, but for one', () => {
    const plan = compiled(
      'saga',
      planOf([step('constructor'), step('a', { step: 'toString', after: ['constructor'] })]),
    );
    expect(plan.indexOf.get('toString')).toBe(1);
    expect(afterOf(plan)).toEqual([[], [0]]);
    expect(problems('saga', planOf([step('a', { step: '__proto__' })]))).toEqual([
      'steps[0].step "__proto__" is a reserved name',
    ]);
  });
});

describe('dependencies of a saga', () => {
  it('are the previous step by default; an empty list is a parallel root', () => {
    const plan = compiled(
      'saga',
      planOf([step('a'), step('b'), step('c', { after: [] }), step('d', { after: ['c', 'a'] })]),
    );
    expect(afterOf(plan)).toEqual([[], [0], [], [0, 2]]);
    expect(plan.steps.map(({ dependents }) => dependents)).toEqual([[1, 3], [], [3], []]);
  });

  it('may point forward in the list', () => {
    const plan = compiled('saga', planOf([step('a', { after: ['b'] }), step('b', { after: [] })]));
    expect(afterOf(plan)).toEqual([[1], []]);
  });

  it('refuse unknown steps, the step itself and repetitions, each by its place', () => {
    expect(problems('saga', planOf([step('a'), step('b', { after: ['a', 'x', 'b', 'a'] })]))).toEqual([
      'steps[1].after[1] no step has the id "x"',
      'steps[1].after[2] step "b" cannot wait for itself',
      'steps[1].after[3] "a" is listed twice',
    ]);
  });

  it('refuse a cycle and name it', () => {
    const cyclic = planOf([
      step('root', { after: [] }),
      step('a', { after: ['root', 'c'] }),
      step('b', { after: ['a'] }),
      step('c', { after: ['b'] }),
    ]);
    expect(problems('saga', cyclic)).toEqual(['steps[1].after is part of a cycle: a -> c -> b -> a']);
    expect(problems('saga', planOf([step('a', { after: ['b'] }), step('b')]))).toEqual([
      'steps[0].after is part of a cycle: a -> b -> a',
    ]);
  });

  it('name a long cycle in short', () => {
    const long = Array.from({ length: 100 }, (_, i) => step('p', { step: `${'s'.repeat(60)}${i}` }));
    const [problem] = problems(
      'saga',
      planOf([{ ...long[0]!, after: [`${'s'.repeat(60)}99`] }, ...long.slice(1)]),
    );
    expect(problem).toContain(' -> ... -> ');
    expect(problem!.length).toBeLessThan(1_024);
  });
});

describe('step kinds of a saga', () => {
  const kind = (name: StepOf['kind'], id: string, after?: string[]): StepOf =>
    step(id, { ...(name === undefined ? {} : { kind: name }), ...(after === undefined ? {} : { after }) });

  it('default to compensatable, and the pivot is known', () => {
    const plan = compiled('saga', planOf([step('a'), kind('pivot', 'b'), kind('retriable', 'c')]));
    expect(plan.steps.map((each) => each.kind)).toEqual(['compensatable', 'pivot', 'retriable']);
    expect(plan.pivot).toBe(1);
    expect(compiled('saga', planOf([step('a')])).pivot).toBeUndefined();
  });

  it('allow one pivot', () => {
    expect(problems('saga', planOf([kind('pivot', 'a'), kind('pivot', 'b')]))).toEqual([
      'steps[1].kind a saga has at most one pivot, and steps[0] is one',
    ]);
  });

  it('order everything around the pivot, transitively', () => {
    compiled(
      'saga',
      planOf([step('a'), step('b'), kind('pivot', 'p'), kind('retriable', 'r'), kind('retriable', 's')]),
    );
    expect(
      problems('saga', planOf([step('a'), kind('pivot', 'p', []), kind('retriable', 'r', ['a'])])),
    ).toEqual([
      'steps[0].kind a compensatable step must come before the pivot "p"',
      'steps[2].kind a retriable step must come after the pivot "p"',
    ]);
    expect(problems('saga', planOf([kind('pivot', 'p'), step('late')]))).toEqual([
      'steps[1].kind a compensatable step must come before the pivot "p"',
    ]);
  });

  it('without a pivot put every compensatable step before every retriable one', () => {
    compiled('saga', planOf([step('a'), kind('retriable', 'r')]));
    compiled('saga', planOf([kind('retriable', 'r'), kind('retriable', 's', [])]));
    expect(problems('saga', planOf([step('a'), kind('retriable', 'r'), step('b', { after: [] })]))).toEqual([
      'steps[2].kind a compensatable step must come before the retriable step "r"',
    ]);
  });
});

describe('pointers', () => {
  const pointing = (from: unknown): Partial<StepOf> => ({ input: { deep: [{ $from: from as string }] } });

  it('reach into transitive dependencies', () => {
    const plan = compiled(
      'saga',
      planOf([step('a'), step('b'), step('c', pointing('a/hold/id')), step('d', pointing('c'))]),
    );
    expect(plan.steps.map(({ pointed }) => pointed)).toEqual([false, false, true, true]);
  });

  it('reach nothing else', () => {
    const plan = planOf([
      step('a', pointing('a')),
      step('b', { ...pointing('c/x'), after: [] }),
      step('c', pointing('nobody/x')),
      step('d', { ...pointing('a/x'), after: ['b'] }),
      step('e', pointing('/x')),
      step('f', pointing('a/~2')),
      step('g', { input: { $from: 'a', other: 1 } }),
    ]);
    expect(problems('saga', plan)).toEqual([
      'steps[0].input.deep[0] step "a" is not among those that this step waits for',
      'steps[1].input.deep[0] step "c" is not among those that this step waits for',
      'steps[2].input.deep[0] no step has the id "nobody"',
      'steps[3].input.deep[0] step "a" is not among those that this step waits for',
      expect.stringContaining('steps[4].input.deep[0] '),
      expect.stringContaining('steps[5].input.deep[0] '),
      'steps[6].input "$from" must be a string and the only key of its object',
    ]);
  });

  it('work in a saga only', () => {
    expect(problems('2pc', planOf([step('a'), step('b', pointing('a'))]))).toEqual([
      'steps[1].input.deep[0] "$from" works in a saga only',
    ]);
  });
});

describe('what a pattern does not have', () => {
  it('is refused field by field in 2PC', () => {
    const plan = planOf([step('a', { kind: 'pivot', after: [], child: {} }), step('b', { undoChild: 1 })], {
      deadlines: { execute: { lower: 5 }, run: { lower: 5 } },
      gate: {},
      eventual: [],
    });
    const fields = ['steps[0].kind', 'steps[0].after', 'steps[0].child', 'steps[1].undoChild'];
    expect(problems('2pc', plan)).toEqual(
      [...fields, 'deadlines.execute', 'gate', 'eventual'].map(
        (field) => `${field} does not exist in pattern 2pc`,
      ),
    );
  });

  it('is refused in a saga', () => {
    const plan = planOf([step('a')], {
      deadlines: { commit: { lower: 5 } },
      gate: { delay: 5 },
      eventual: [],
    });
    expect(problems('saga', plan)).toEqual(
      ['deadlines.commit', 'gate', 'eventual'].map((field) => `${field} does not exist in pattern saga`),
    );
  });

  it.each([
    ['3pc', 'commit-one-phase'],
    ['2ps', 'reserve'],
    ['3ps', 'prepare'],
    ['eventual', 'compensate'],
  ] as const)('is refused in %s: deadlines of phases of others, dependencies, children', (pattern, phase) => {
    const plan = planOf([step('a', { after: [], child: {} })], { deadlines: { [phase]: { lower: 5 } } });
    expect(problems(pattern, plan)).toEqual(
      ['steps[0].after', 'steps[0].child', `deadlines.${phase}`].map(
        (field) => `${field} does not exist in pattern ${pattern}`,
      ),
    );
  });
});

describe('policies and deadlines', () => {
  it('of 2PC: a commit never stops, an abort does', () => {
    const [only] = compiled('2pc', planOf([step('a')])).steps;
    expect(only).toMatchObject({
      retry: policies.OPEN_POLICY,
      undoRetry: policies.ABORT_POLICY,
      commitRetry: policies.COMMIT_POLICY,
    });
    expect(only!.commitRetry.maxAttempts).toBe(Infinity);
    const bounded = compiled('2pc', planOf([step('a')], { undoRetry: { maxAttempts: 2, attempt: 7 } }))
      .steps[0]!;
    expect(bounded.undoRetry).toMatchObject({ maxAttempts: 2, attemptMs: 7 });
    expect(bounded.commitRetry).toMatchObject({ maxAttempts: Infinity, attemptMs: 7, initialMs: 200 });
  });

  it('of a saga: retriable steps and compensations are retried for longer', () => {
    const [first, last] = compiled('saga', planOf([step('a'), step('b', { kind: 'retriable' })])).steps;
    expect(first).toMatchObject({ retry: policies.OPEN_POLICY, undoRetry: policies.MUST_FINISH_POLICY });
    expect(last).toMatchObject({ retry: policies.MUST_FINISH_POLICY });
  });

  it('are overridden by the plan, and that by the step, field by field', () => {
    const plan = planOf([step('a', { retry: { max: 9, factor: 3 } }), step('b')], {
      retry: { max: 8, initial: 7, attempt: 6 },
    });
    const [a, b] = compiled('saga', plan).steps;
    expect(a!.retry).toEqual({ maxAttempts: 3, initialMs: 7, factor: 3, maxMs: 9, attemptMs: 6 });
    expect(b!.retry).toEqual({ maxAttempts: 3, initialMs: 7, factor: 2, maxMs: 8, attemptMs: 6 });
  });

  it('merge with the deadlines of the pattern', () => {
    const plan = planOf([step('a', { deadline: { lower: 3 } })], {
      deadlines: { prepare: { lower: 1, upper: 2 }, run: { lower: 9 } },
    });
    const result = compiled('2pc', plan);
    expect(result.deadlines).toEqual({
      prepare: { lowerMs: 1, upperMs: 2 },
      commit: { lowerMs: 5_000, upperMs: 5_000 },
      'commit-one-phase': { lowerMs: 5_000, upperMs: 5_000 },
      run: { lowerMs: 9, upperMs: 9 },
    });
    expect(result.steps[0]!.deadline).toEqual({ lowerMs: 3, upperMs: 3 });
    expect(compiled('saga', planOf([step('a')])).deadlines).toEqual({});
  });
});

describe('sizes', () => {
  it('end at 100 steps and at the bytes of a plan', () => {
    const many = (count: number): Plan =>
      planOf(Array.from({ length: count }, (_, i) => step('p', { step: `s${i}` })));
    compiled('2pc', many(100));
    expect(planProblems('2pc', many(101))).toEqual([
      { field: 'steps', problem: 'must have at most 100 items' },
    ]);

    const inputs = (last: number): Plan =>
      planOf(['a', 'b', 'c', 'd'].map((id, i) => step(id, { input: 'é'.repeat(i === 3 ? last : 32_000) })));
    const spare = MAX_PLAN_BYTES - Buffer.byteLength(JSON.stringify(inputs(0)));
    compiled('saga', inputs(Math.floor(spare / 2)));
    expect(problems('saga', inputs(Math.floor(spare / 2) + 1))[0]).toContain('at most 196608');
  });
});

describe('planProblems on unchecked input', () => {
  const found = (plan: unknown): string[] =>
    planProblems('saga', plan).map(({ field, problem }) => `${field} ${problem}`.trim());

  it('names every wrong field in a sentence', () => {
    const plan = {
      name: '',
      steps: [
        { participant: 'coordinator', action: 'a.b' },
        { participant: 'Pay', step: '*', retry: { maxAttempts: 0, factor: 'two', tries: 1 } },
        { participant: 'pay', action: 'x', input: { n: 2 ** 53 }, kind: 'pivotal', after: 'pay' },
      ],
      deadlines: { run: { lower: 9, upper: 8 }, sleep: { lower: 1 } },
      extra: 1,
    };
    expect(found(plan).sort()).toEqual(
      [
        'name must have at least 1 characters',
        'steps[0].participant is reserved',
        'steps[0].action must match /^[A-Za-z0-9_-]{1,64}$/',
        'steps[1].step must match /^[A-Za-z0-9_-]{1,64}$/',
        'steps[1].participant must match /^[a-z][a-z0-9-]{0,31}$/',
        'steps[1].action is required',
        'steps[1].retry.maxAttempts must be at least 1',
        'steps[1].retry.factor must be a number',
        'steps[1].retry.tries is not a known field',
        'steps[2].input is an integer beyond 2^53: send it as a string',
        'steps[2].kind must be one of compensatable, pivot, retriable',
        'steps[2].after must be an array',
        'deadlines.run upper is below lower',
        'deadlines.sleep is not a known field',
        'extra is not a known field',
      ].sort(),
    );
  });

  it.each([
    [undefined, 'is required'],
    [null, 'must be an object'],
    ['plan', 'must be an object'],
    [[], 'must be an object'],
    [{ name: 'x', steps: [] }, 'steps must have at least 1 items'],
    [
      JSON.parse('{"name":"x","steps":[{"participant":"a","action":"b"}],"__proto__":1}'),
      '__proto__ is not a known field',
    ],
    [
      JSON.parse(
        '{"name":"x","steps":[{"participant":"a","action":"b"}],"deadlines":{"__proto__":{"lower":1}}}',
      ),
      'deadlines has the forbidden key "__proto__"',
    ],
  ])('refuses %j', (plan, problem) => {
    expect(found(plan)).toEqual([problem]);
  });
});
