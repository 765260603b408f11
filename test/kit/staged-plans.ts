/** Random plans of 2PS, 2PS-OV and 3PS. */
import fc from 'fast-check';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Plan } from '../../src/protocol/envelopes.ts';
import { compilePlan } from '../../src/protocol/plan.ts';

export interface StagedShape {
  readonly pattern: '2ps' | '3ps';
  readonly steps: number;
  readonly gate: 'none' | 'signal' | 'delay' | 'both';
  readonly attempts: number;
  readonly undoAttempts: number;
  readonly limits: readonly ('phase' | 'step' | 'run' | 'undo')[];
}

const shapesOf = (pattern: '2ps' | '3ps', gates: readonly StagedShape['gate'][]): fc.Arbitrary<StagedShape> =>
  fc.record({
    pattern: fc.constant(pattern),
    steps: fc.integer({ min: 1, max: 5 }),
    gate: fc.constantFrom(...gates),
    attempts: fc.integer({ min: 1, max: 3 }),
    undoAttempts: fc.integer({ min: 1, max: 3 }),
    limits: fc.subarray(['phase', 'step', 'run', 'undo'] as const),
  });

export const STAGED: Readonly<Record<'2ps' | '2ps-ov' | '3ps', fc.Arbitrary<StagedShape>>> = {
  '2ps': shapesOf('2ps', ['none']),
  '2ps-ov': shapesOf('2ps', ['signal', 'delay', 'both']),
  '3ps': shapesOf('3ps', ['none']),
};

/** Deadlines of phases that lie between an attempt and the whole policy, so that either may come first. */
const LIMIT = { lower: 2_500 };
const QUICK = { initial: 10, max: 100, attempt: 1_000 };
const GATES: Readonly<Record<StagedShape['gate'], Pick<Plan, 'gate'>>> = {
  none: {},
  signal: { gate: { signal: 'ok' } },
  delay: { gate: { delay: 700 } },
  both: { gate: { signal: 'ok', delay: 700 } },
};

export function stagedPlan({ pattern, steps, gate, limits, ...shape }: StagedShape): CompiledPlan {
  const wanted = new Set(limits);
  const phases = pattern === '2ps' ? ['prepare', 'execute'] : ['reserve', 'validate', 'execute'];
  const undos = pattern === '2ps' ? ['cancel', 'compensate'] : ['release', 'compensate'];
  const bounded = [...(wanted.has('phase') ? phases : []), ...(wanted.has('undo') ? undos : [])];
  const plan: Plan = {
    name: 'random',
    steps: Array.from({ length: steps }, (_, index) => ({
      step: `s${index}`,
      participant: `p${index}`,
      action: 'act',
      input: index,
      ...(wanted.has('step') && index === 0 ? { deadline: { lower: 1_800 } } : {}),
    })),
    retry: { maxAttempts: shape.attempts, ...QUICK },
    undoRetry: { maxAttempts: shape.undoAttempts, ...QUICK },
    deadlines: {
      ...Object.fromEntries(bounded.map((phase) => [phase, LIMIT])),
      ...(wanted.has('run') ? { run: { lower: 6_000 } } : {}),
    },
    ...GATES[gate],
  };
  const compiled = compilePlan(pattern, plan);
  if (!compiled.ok) throw new Error(`${compiled.problem.field}: ${compiled.problem.problem}`);
  return compiled.plan;
}
