/**
 * From a plan as the client sent it to one with every default explicit. Pure, and part of the fold: a begin is refused
 * by what stands here (Rule 9), so a change is a new machine version (Rule 3).
 */
import { invariant } from '../kernel/assert.ts';
import { utf8Length } from '../kernel/json.ts';
import type { Pattern, Phase } from '../kernel/vocabulary.ts';
import type { Bounds, Compiled, CompiledPlan, CompiledStep, PlanProblem, Policy } from './compiled-plan.ts';
import { planSchema, type Deadline, type Plan, type PlanStep, type RetryPolicy } from './envelopes.ts';
import { pointersIn } from './inputs.ts';
import { isJsonWithin } from './json-guards.ts';
import { MAX_PLAN_BYTES, MAX_STEPS } from './limits.ts';
import { childOf, childProblems, eventualOf, gateOf, handOverOf, type Check } from './plan-children.ts';
import { ancestorsOf, dependentsOf, findCycle, type Graph } from './plan-graph.ts';
import * as policies from './policies.ts';
import { schemaProblems } from './schema-problems.ts';

/** Checks a plan that follows `planSchema` and fills in every default; the first problem if it has any. */
export function compilePlan(pattern: Pattern, plan: Plan): Compiled {
  const result = compileAll(pattern, plan);
  if (!Array.isArray(result)) return { ok: true, plan: result };
  const [problem] = result;
  invariant(problem !== undefined, 'a plan that does not compile has a problem');
  return { ok: false, problem };
}

/** Everything wrong with an unchecked plan, in reading order; empty when a coordinator would accept it. */
export function planProblems(pattern: Pattern, plan: unknown): readonly PlanProblem[] {
  const parsed = planSchema.safeParse(plan);
  if (!parsed.success) return schemaProblems(parsed.error, plan);
  const result = compileAll(pattern, parsed.data);
  return Array.isArray(result) ? result : [];
}

/** The parts of a plan that its checks and its compiled form share, by index of the step. */
interface Resolved {
  readonly pattern: Pattern;
  readonly plan: Plan;
  readonly names: readonly string[];
  readonly indexOf: ReadonlyMap<string, number>;
  readonly graph: Graph;
  readonly pointers: readonly ReturnType<typeof pointersIn>[];
}

const problemsOf: Check = (pattern, plan, depth) => {
  const result = compileAll(pattern, plan, depth);
  return Array.isArray(result) ? result : [];
};

function compileAll(pattern: Pattern, plan: Plan, depth = 0): CompiledPlan | PlanProblem[] {
  const names = plan.steps.map((step) => step.step ?? step.participant);
  const indexOf = new Map<string, number>();
  names.forEach((name, index) => indexOf.set(name, index));
  const problems = [
    ...sizeProblems(plan),
    ...fieldProblems(pattern, plan),
    ...identityProblems(plan, { names, indexOf }),
  ];
  if (problems.length === 0) problems.push(...childProblems(plan, problemsOf, depth));
  if (problems.length > 0) return problems;

  const graph = pattern === 'saga' ? sagaGraph(plan, indexOf, problems) : plan.steps.map(() => []);
  if (problems.length === 0) problems.push(...cycleProblems(graph, names));
  if (problems.length > 0) return problems;
  const pointers = plan.steps.map(({ input }) => (input === undefined ? NO_POINTERS : pointersIn(input)));
  const resolved: Resolved = { pattern, plan, names, indexOf, graph, pointers };
  problems.push(...pointerProblems(resolved), ...kindProblems(resolved));
  return problems.length > 0 ? problems : assemble(resolved);
}

function sizeProblems(plan: Plan): PlanProblem[] {
  if (plan.steps.length > MAX_STEPS) return [{ field: 'steps', problem: `has more than ${MAX_STEPS} steps` }];
  if (isJsonWithin(plan, { maxBytes: MAX_PLAN_BYTES, bodyBytes: Infinity })) return [];
  const bytes = utf8Length(JSON.stringify(plan));
  if (bytes <= MAX_PLAN_BYTES) return [];
  return [{ field: 'steps', problem: `make a plan of ${bytes} bytes: at most ${MAX_PLAN_BYTES}` }];
}

/** What the envelope allows but this pattern does not have. */
function fieldProblems(pattern: Pattern, plan: Plan): PlanProblem[] {
  const problems: PlanProblem[] = [];
  const allowed = policies.PATTERN_FIELDS[pattern];
  const check = (value: unknown, name: policies.PatternField, at = ''): void => {
    if (value !== undefined && !allowed.includes(name))
      problems.push({ field: `${at}${name}`, problem: `does not exist in pattern ${pattern}` });
  };
  plan.steps.forEach(({ kind, after, child, undoChild }, index) => {
    if ((kind ?? after ?? child ?? undoChild) === undefined) return;
    const at = `steps[${index}].`;
    check(kind, 'kind', at);
    check(after, 'after', at);
    check(child, 'child', at);
    check(undoChild, 'undoChild', at);
  });
  for (const phase of plan.deadlines === undefined ? [] : Object.keys(plan.deadlines)) {
    if (phase !== 'run' && !policies.PATTERN_PHASES[pattern].includes(phase as Phase))
      problems.push({ field: `deadlines.${phase}`, problem: `does not exist in pattern ${pattern}` });
  }
  check(plan.gate, 'gate');
  check(plan.eventual, 'eventual');
  return problems;
}

function identityProblems(
  plan: Plan,
  { names, indexOf }: { readonly names: readonly string[]; readonly indexOf: ReadonlyMap<string, number> },
): PlanProblem[] {
  const distinct = indexOf.size === names.length && !indexOf.has('__proto__');
  if (distinct && plan.steps.every(({ step }) => step === undefined)) return [];
  const problems: PlanProblem[] = [];
  const uses = new Map<string, number>();
  for (const { participant } of plan.steps) uses.set(participant, (uses.get(participant) ?? 0) + 1);
  plan.steps.forEach(({ step, participant }, index) => {
    if (step === undefined && (uses.get(participant) ?? 0) > 1) {
      const problem = `is required: participant "${participant}" occurs more than once`;
      problems.push({ field: `steps[${index}].step`, problem });
      return;
    }
    const name = step ?? participant;
    // Outputs are objects keyed by step.
    if (name === '__proto__') {
      problems.push({ field: `steps[${index}].step`, problem: `"${name}" is a reserved name` });
    }
    const first = names.indexOf(name);
    if (first < index) {
      const problem = `"${name}" is also the id of steps[${first}]`;
      problems.push({ field: `steps[${index}].${step === undefined ? 'participant' : 'step'}`, problem });
    }
  });
  return problems;
}

/** `after` left out means the previous step in the list, `[]` none. */
function sagaGraph(plan: Plan, indexOf: ReadonlyMap<string, number>, problems: PlanProblem[]): Graph {
  return plan.steps.map((step, index) => {
    if (step.after === undefined) return index === 0 ? [] : [index - 1];
    const found = new Set<number>();
    step.after.forEach((name, place) => {
      const dependency = indexOf.get(name);
      const wrong = (problem: string): unknown =>
        problems.push({ field: `steps[${index}].after[${place}]`, problem });
      if (dependency === undefined) wrong(`no step has the id "${name}"`);
      else if (dependency === index) wrong(`step "${name}" cannot wait for itself`);
      else if (found.has(dependency)) wrong(`"${name}" is listed twice`);
      else found.add(dependency);
    });
    return [...found].sort((a, b) => a - b);
  });
}

/** Steps of a cycle that a problem names: it must fit the message of an outcome. */
const MAX_SHOWN = 10;

function cycleProblems(graph: Graph, names: readonly string[]): PlanProblem[] {
  const cycle = findCycle(graph);
  if (cycle === undefined) return [];
  const shown =
    cycle.length <= MAX_SHOWN ? cycle : [...cycle.slice(0, MAX_SHOWN - 1), -1, ...cycle.slice(-1)];
  const path = shown.map((index) => names[index] ?? '...').join(' -> ');
  return [{ field: `steps[${cycle[0] ?? 0}].after`, problem: `is part of a cycle: ${path}` }];
}

const NONE: ReadonlySet<number> = new Set();
const NO_POINTERS: ReturnType<typeof pointersIn> = [];

/** Compensatable steps precede the pivot, or with no pivot every retriable step; retriable steps follow the pivot. */
function kindProblems({ plan, graph, names }: Resolved): PlanProblem[] {
  if (plan.steps.every(({ kind }) => kind === undefined || kind === 'compensatable')) return [];
  const kinds = plan.steps.map((step) => step.kind ?? 'compensatable');
  const pivot = kinds.indexOf('pivot');
  const retriable = [...kinds.keys()].filter((index) => kinds[index] === 'retriable');
  const ancestors = ancestorsOf(graph);
  const follows = (later: number, earlier: number): boolean => (ancestors[later] ?? NONE).has(earlier);
  const problems: PlanProblem[] = [];
  const wrong = (index: number, problem: string): unknown =>
    problems.push({ field: `steps[${index}].kind`, problem });
  kinds.forEach((kind, index) => {
    if (kind === 'pivot' && index !== pivot) {
      wrong(index, `a saga has at most one pivot, and steps[${pivot}] is one`);
    } else if (kind === 'retriable' && pivot >= 0 && !follows(index, pivot)) {
      wrong(index, `a retriable step must come after the pivot "${names[pivot]}"`);
    } else if (kind === 'compensatable') {
      const late = (pivot >= 0 ? [pivot] : retriable).find((later) => !follows(later, index));
      if (late === undefined) return;
      const what = late === pivot ? 'pivot' : 'retriable step';
      wrong(index, `a compensatable step must come before the ${what} "${names[late]}"`);
    }
  });
  return problems;
}

/** Inputs point only into outputs that are certain to be there: of transitive dependencies. */
function pointerProblems({ pattern, graph, indexOf, pointers }: Resolved): PlanProblem[] {
  if (pointers.every((found) => found.length === 0)) return [];
  const ancestors = ancestorsOf(graph);
  return pointers.flatMap((found, index) =>
    found.flatMap((pointer): PlanProblem[] => {
      const field = `steps[${index}].input${pointer.field}`;
      if ('problem' in pointer) return [{ field, problem: pointer.problem }];
      if (pattern !== 'saga') return [{ field, problem: '"$from" works in a saga only' }];
      const source = indexOf.get(pointer.step);
      if (source === undefined) return [{ field, problem: `no step has the id "${pointer.step}"` }];
      if ((ancestors[index] ?? NONE).has(source)) return [];
      return [{ field, problem: `step "${pointer.step}" is not among those that this step waits for` }];
    }),
  );
}

function assemble({ pattern, plan, names, indexOf, graph, pointers }: Resolved): CompiledPlan {
  const dependents = dependentsOf(graph);
  const steps = plan.steps.map((step, index): CompiledStep => {
    const { retry, undoRetry, commitRetry } = retriesOf(pattern, plan, step);
    return {
      index,
      step: names[index] ?? step.participant,
      participant: step.child === undefined ? step.participant : 'coordinator',
      action: step.action,
      input: step.input,
      pointed: (pointers[index] ?? NO_POINTERS).length > 0,
      kind: step.kind ?? 'compensatable',
      after: graph[index] ?? [],
      dependents: dependents[index] ?? [],
      retry,
      undoRetry,
      commitRetry,
      deadline: step.deadline === undefined ? undefined : boundsOf(step.deadline),
      child: childOf(step.child),
      undoChild: childOf(step.undoChild),
    };
  });
  const pivot = steps.findIndex((step) => step.kind === 'pivot');
  const deadlines = deadlinesOf(pattern, plan);
  const eventual = eventualOf(plan);
  const handOver = eventual === undefined ? undefined : handOverOf(eventual, steps.length);
  return {
    pattern,
    name: plan.name,
    steps: handOver === undefined ? steps : [...steps, handOver],
    indexOf: handOver === undefined ? indexOf : new Map([...indexOf, [handOver.step, handOver.index]]),
    deadlines,
    gate: gateOf(plan),
    eventual,
    pivot: pivot < 0 ? undefined : pivot,
  };
}

function retriesOf(
  pattern: Pattern,
  plan: Plan,
  step: PlanStep,
): { readonly retry: Policy; readonly undoRetry: Policy; readonly commitRetry: Policy } {
  const mustFinish = step.kind === 'retriable' || pattern === 'eventual';
  const act = mustFinish ? policies.MUST_FINISH_POLICY : policies.OPEN_POLICY;
  const open = step.child === undefined ? act : policies.waitsForChild(act);
  const aborts = pattern === '2pc' || pattern === '3pc';
  const close = aborts ? policies.ABORT_POLICY : policies.MUST_FINISH_POLICY;
  const undo = step.undoChild === undefined ? close : policies.CHILD_UNDO_POLICY;
  const commit = policies.overridePolicy(policies.COMMIT_POLICY, plan.undoRetry, step.undoRetry);
  return {
    retry: policies.overridePolicy(open, generalFor(step.child, plan.retry), step.retry),
    undoRetry: policies.overridePolicy(undo, generalFor(step.undoChild, plan.undoRetry), step.undoRetry),
    commitRetry: commit.maxAttempts === Infinity ? commit : { ...commit, maxAttempts: Infinity },
  };
}

/** How long participants may take says nothing about a child: only its own step bounds its attempts. */
function generalFor(child: PlanStep['child'], general: RetryPolicy | undefined): RetryPolicy | undefined {
  if (child === undefined || general === undefined) return general;
  const { attempt: _, ...rest } = general;
  return rest;
}

const boundsOf = (deadline: Deadline): Bounds => ({
  lowerMs: deadline.lower,
  upperMs: deadline.upper ?? deadline.lower,
});

function deadlinesOf(pattern: Pattern, plan: Plan): CompiledPlan['deadlines'] {
  const defaults = policies.DEFAULT_DEADLINES[pattern];
  if (plan.deadlines === undefined) return defaults;
  const deadlines: Partial<Record<Phase | 'run', Bounds>> = { ...defaults };
  for (const [phase, deadline] of Object.entries(plan.deadlines)) {
    deadlines[phase as Phase | 'run'] = boundsOf(deadline);
  }
  // The commit of a single step is its commit-one-phase.
  const { commit, 'commit-one-phase': onePhase } = plan.deadlines;
  if (pattern === '2pc' && commit !== undefined && onePhase === undefined)
    deadlines['commit-one-phase'] = boundsOf(commit);
  return deadlines;
}
