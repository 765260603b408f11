/** What a 0.5PS remembers: plain data by step index, replaced and never mutated (M2). */
import { invariant } from '../../kernel/assert.ts';
import { utf8Length, type Json } from '../../kernel/json.ts';
import { comparePositions, type Position } from '../../kernel/position.ts';
import type { Act } from '../act.ts';
import type { CompiledPlan, Policy } from '../compiled-plan.ts';
import { MAX_OUTPUTS_BYTES } from '../limits.ts';
import type { Mark, OutcomeBody, Report, RunFacts } from '../machine.ts';

export interface Due {
  readonly armed: Position;
  readonly dueMs: number;
}

/** Why an act did not succeed. */
export interface Failure {
  readonly code: string;
  readonly message?: string | undefined;
}

/** No report in time. */
export const OVERDUE: Failure = { code: 'deadline' };
export const failureOf = ({ code, message, answer }: Report): Failure => ({ code: code ?? answer, message });
export const isPositive = ({ answer }: Pick<Report, 'answer'>): boolean =>
  answer === 'done' || answer === 'read-only';

export interface Executing {
  readonly status: 'executing';
  readonly act: Act;
  readonly deadline?: Due | undefined;
}

/** The effect is there; its confirm is on the way. */
export interface Confirming {
  readonly status: 'confirming';
  readonly act: Act;
  readonly output?: Json | undefined;
  readonly deadline?: Due | undefined;
  /** An operator's, from a retried item. */
  readonly policy?: Partial<Policy> | undefined;
}

/** The confirm waits for a person. */
export interface Stuck {
  readonly status: 'stuck';
  readonly act: Act;
  readonly output?: Json | undefined;
  readonly policy?: Partial<Policy> | undefined;
  readonly raised: Position;
  readonly failure: Failure;
}

/** Nobody took it; it has been buried. */
export interface Dead {
  readonly status: 'dead';
  readonly act: Act;
  readonly raised: Position;
  readonly failure: Failure;
}

export type EventualStep =
  | Executing
  | Confirming
  | Stuck
  | Dead
  | { readonly status: 'taken'; readonly output?: Json | undefined }
  /** By an operator: taken, but not confirmed. */
  | { readonly status: 'skipped'; readonly output?: Json | undefined };

export interface Running {
  readonly phase: 'running';
  readonly steps: readonly EventualStep[];
  readonly deadline: Due | undefined;
}
export type EventualState =
  | Running
  | { readonly phase: 'ended'; readonly steps: readonly EventualStep[]; readonly outcome: OutcomeBody };

/** One event applied to one state. */
export interface Turn {
  readonly facts: RunFacts;
  readonly state: Running;
  readonly mark: Mark;
}

/** An index that the plan vouches for. */
export function at<T>(list: readonly T[], index: number): T {
  const item = list[index];
  invariant(item !== undefined, `no step ${index}`);
  return item;
}

export const withStep = (state: Running, index: number, step: EventualStep): Running => ({
  phase: 'running',
  steps: state.steps.with(index, step),
  deadline: state.deadline,
});

export const isOver = ({ status }: EventualStep): boolean =>
  status === 'taken' || status === 'dead' || status === 'skipped';

/** Some attempt or back-off is under way: the run moves without a person. */
export const isMoving = ({ status }: EventualStep): boolean =>
  status === 'executing' || status === 'confirming';

/** How the run ends, or would if nobody settled the open items: the first death is the cause. */
export function outcomeOf(plan: CompiledPlan, steps: readonly EventualStep[]): OutcomeBody {
  const outputs = outputsOf(plan, steps);
  const more = outputs === undefined ? {} : { outputs };
  let first: { readonly index: number; readonly dead: Dead } | undefined;
  for (const [index, entry] of steps.entries()) {
    if (entry.status !== 'dead') continue;
    if (first === undefined || comparePositions(entry.raised, first.dead.raised) < 0)
      first = { index, dead: entry };
  }
  if (first !== undefined) {
    const { code, message } = first.dead.failure;
    const why = message === undefined ? { code } : { code, message };
    return { status: 'dead', ...why, step: at(plan.steps, first.index).step, ...more };
  }
  const resolved = steps.some(({ status }) => status === 'skipped');
  return { status: resolved ? 'resolved' : 'completed', ...more };
}

function outputsOf(
  plan: CompiledPlan,
  steps: readonly EventualStep[],
): Readonly<Record<string, Json>> | undefined {
  const outputs: [string, Json][] = [];
  steps.forEach((entry, index) => {
    const output = 'output' in entry ? entry.output : undefined;
    if (output !== undefined) outputs.push([at(plan.steps, index).step, output]);
  });
  if (outputs.length === 0) return undefined;
  const body = Object.fromEntries(outputs);
  return utf8Length(JSON.stringify(body)) > MAX_OUTPUTS_BYTES ? undefined : body;
}
