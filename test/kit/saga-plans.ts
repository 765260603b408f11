/** Random valid saga plans. */
import fc from 'fast-check';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Plan, PlanStep } from '../../src/protocol/envelopes.ts';
import { compilePlan } from '../../src/protocol/plan.ts';

export interface Shape {
  readonly steps: number;
  readonly form: 'plain' | 'pivot' | 'retriable';
  /** How many steps come before the pivot, or before the retriable ones. */
  readonly front: number;
  /** Bit j of entry i: step i waits for step j. */
  readonly edges: readonly number[];
  readonly attempts: number;
  readonly undoAttempts: number;
  readonly deadlines: readonly ('step' | 'run' | 'compensate')[];
  /** Steps whose input points into the output of a step they wait for. */
  readonly pointing: readonly boolean[];
}

export const shapes: fc.Arbitrary<Shape> = fc.integer({ min: 2, max: 6 }).chain((steps) =>
  fc.record({
    steps: fc.constant(steps),
    form: fc.constantFrom('plain', 'pivot', 'retriable'),
    front: fc.integer({ min: 0, max: steps - 1 }),
    edges: fc.array(fc.nat(63), { minLength: steps, maxLength: steps }),
    attempts: fc.integer({ min: 1, max: 3 }),
    undoAttempts: fc.integer({ min: 1, max: 3 }),
    deadlines: fc.subarray(['step', 'run', 'compensate'] as const),
    pointing: fc.array(fc.boolean(), { minLength: steps, maxLength: steps }),
  }),
);

const name = (index: number): string => `s${index}`;

export function planOf(shape: Shape): CompiledPlan {
  const quick = { initial: 10, max: 100, attempt: 1_000 };
  const wanted = new Set(shape.deadlines);
  const limit = { lower: 2_500 };
  const plan: Plan = {
    name: 'random',
    steps: Array.from({ length: shape.steps }, (_, index) => stepOf(shape, index)),
    retry: { maxAttempts: shape.attempts, ...quick },
    undoRetry: { maxAttempts: shape.undoAttempts, ...quick },
    deadlines: {
      ...(wanted.has('step') ? { execute: limit } : {}),
      ...(wanted.has('compensate') ? { compensate: limit } : {}),
      ...(wanted.has('run') ? { run: { lower: 4_000 } } : {}),
    },
  };
  const compiled = compilePlan('saga', plan);
  if (!compiled.ok) throw new Error(`${compiled.problem.field}: ${compiled.problem.problem}`);
  return compiled.plan;
}

function stepOf(shape: Shape, index: number): PlanStep {
  const { form, front, edges, pointing } = shape;
  const after = dependenciesOf(shape, index);
  const kind =
    form === 'plain' || index < front
      ? 'compensatable'
      : form === 'pivot' && index === front
        ? 'pivot'
        : 'retriable';
  const source = after[(edges[index] ?? 0) % Math.max(1, after.length)];
  const input = pointing[index] === true && source !== undefined ? { x: { $from: `${source}/of` } } : index;
  return { step: name(index), participant: `p${index}`, action: 'act', kind, after, input };
}

function dependenciesOf({ form, front, edges }: Shape, index: number): string[] {
  const earlier = Array.from({ length: index }, (_, other) => other);
  const chosen = earlier.filter((other) => ((edges[index] ?? 0) >> other) & 1);
  if (form === 'plain' || index < front) return chosen.map(name);
  // The pivot, or with none every retriable step, waits for all compensatable ones; what follows waits for the pivot.
  const isPivot = form === 'pivot' && index === front;
  const needed = earlier.filter((other) => other < front || (form === 'pivot' && other === front));
  return (isPivot ? needed : [...new Set([...needed, ...chosen])].sort((a, b) => a - b)).map(name);
}
