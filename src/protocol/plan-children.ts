/** The parts of a plan that are plans themselves, or stand between its phases: children, 1.5PS, gates. */
import type { Pattern } from '../kernel/vocabulary.ts';
import type { ChildSpec, CompiledPlan, CompiledStep, Gate, PlanProblem } from './compiled-plan.ts';
import { childSchema, type Plan, type PlanStep } from './envelopes.ts';
import { MAX_CHILD_DEPTH, MAX_SIGNALS } from './limits.ts';
import { MUST_FINISH_POLICY, waitsForChild } from './policies.ts';
import { schemaProblems } from './schema-problems.ts';

/** Checks a whole plan that follows its schema. */
export type Check = (pattern: Pattern, plan: Plan, depth: number) => readonly PlanProblem[];

const within = (field: string, problems: readonly PlanProblem[]): PlanProblem[] =>
  problems.map(({ field: inner, problem }) => ({ field: `${field}.${inner}`, problem }));

/** What is wrong with the plans inside a plan, and with its gate. `depth`: 0 for a plan that a client sent. */
export function childProblems(plan: Plan, check: Check, depth: number): PlanProblem[] {
  const problems: PlanProblem[] = [];
  plan.steps.forEach((step, index) => {
    const at = `steps[${index}]`;
    for (const field of ['child', 'undoChild'] as const) {
      if (step[field] === undefined) continue;
      if (depth >= MAX_CHILD_DEPTH) {
        problems.push({
          field: `${at}.${field}`,
          problem: `is nested deeper than ${MAX_CHILD_DEPTH} levels`,
        });
        continue;
      }
      const parsed = childSchema.safeParse(step[field]);
      const wrong = parsed.success
        ? within('plan', check(parsed.data.pattern, parsed.data.plan, depth + 1))
        : schemaProblems(parsed.error, step[field]);
      problems.push(...within(`${at}.${field}`, wrong));
    }
    problems.push(...stepProblems(step, at));
  });
  if (plan.eventual !== undefined) problems.push(...eventualProblems(plan, plan.eventual, check, depth));
  if (plan.gate !== undefined && plan.gate.signal === undefined && plan.gate.delay === undefined)
    problems.push({ field: 'gate', problem: 'needs a signal or a delay' });
  // Whoever may send them is named in the begins of children, one by one.
  if (depth === 0 && problems.length === 0 && gateNames(plan).length > MAX_SIGNALS)
    problems.push({ field: 'steps', problem: `hold gates with more than ${MAX_SIGNALS} signals altogether` });
  return problems;
}

function stepProblems(step: PlanStep, at: string): PlanProblem[] {
  if (step.child === undefined) {
    if (step.undoChild === undefined) return [];
    return [{ field: `${at}.undoChild`, problem: 'goes with a child only' }];
  }
  const problems: PlanProblem[] = [];
  if (step.input !== undefined)
    problems.push({ field: `${at}.input`, problem: 'goes to no participant: the child has its own inputs' });
  if (step.undoChild === undefined && (step.kind ?? 'compensatable') === 'compensatable')
    problems.push({
      field: `${at}.undoChild`,
      problem: 'is required: a compensatable child must be undone by another',
    });
  return problems;
}

function eventualProblems(
  plan: Plan,
  steps: readonly PlanStep[],
  check: Check,
  depth: number,
): PlanProblem[] {
  if (steps.length === 0) return [{ field: 'eventual', problem: 'has no steps' }];
  const problems = check('eventual', eventualPlan(plan, steps), depth + 1);
  return [
    ...handOverProblems(plan),
    ...problems.map(({ field, problem }) => ({ field: field.replace(/^steps/, 'eventual'), problem })),
  ];
}

/** The hand-over of a 1.5PS is its last step: no other may have its id. */
const HAND_OVER = 'eventual';

const handOverProblems = (plan: Plan): PlanProblem[] =>
  plan.steps.flatMap(({ step, participant }, index) => {
    if ((step ?? participant) !== HAND_OVER) return [];
    const field = `steps[${index}].${step === undefined ? 'participant' : 'step'}`;
    return [{ field, problem: `"${HAND_OVER}" is reserved in a plan that has eventual steps` }];
  });

/** Begins the 0.5PS once every other step has executed. Whatever it takes: it cannot be taken back. */
export const handOverOf = (child: ChildSpec, index: number): CompiledStep => ({
  index,
  step: HAND_OVER,
  participant: 'coordinator',
  action: 'begin',
  input: undefined,
  pointed: false,
  kind: 'retriable',
  after: [],
  dependents: [],
  retry: waitsForChild(MUST_FINISH_POLICY),
  undoRetry: MUST_FINISH_POLICY,
  commitRetry: MUST_FINISH_POLICY,
  deadline: undefined,
  child,
  undoChild: undefined,
});

/** The index of the hand-over, if there is one. */
export const handOverIndex = ({ eventual, steps }: CompiledPlan): number | undefined =>
  eventual === undefined ? undefined : steps.length - 1;

/** The signals that gates wait for in a plan and in the plans inside it, each once, in the plan's order. */
export function gateNames(plan: Plan): readonly string[] {
  const names = new Set<string>();
  const collect = ({ gate, steps }: Plan): void => {
    if (gate?.signal !== undefined) names.add(gate.signal);
    for (const { child, undoChild } of steps)
      for (const inner of [childOf(child), childOf(undoChild)]) if (inner !== undefined) collect(inner.plan);
  };
  collect(plan);
  return [...names];
}

const eventualPlan = (plan: Plan, steps: readonly PlanStep[]): Plan => ({
  name: plan.name,
  steps: [...steps],
});

/** Of a plan without problems. */
export const eventualOf = (plan: Plan): ChildSpec | undefined =>
  plan.eventual === undefined ? undefined : { pattern: 'eventual', plan: eventualPlan(plan, plan.eventual) };

/** Of a plan without problems: its schema has been checked. */
export const childOf = (child: PlanStep['child']): ChildSpec | undefined =>
  child === undefined ? undefined : (child as unknown as ChildSpec);

export const gateOf = ({ gate }: Plan): Gate | undefined =>
  gate === undefined ? undefined : { signal: gate.signal, delayMs: gate.delay };
