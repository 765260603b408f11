/** What a worker was told, completed and checked; JavaScript checks nothing. */
import { isId, isParticipant } from '../kernel/ids.ts';
import { PATTERNS, PHASES, type Pattern } from '../kernel/vocabulary.ts';
import { assertOptions } from '../errors/options.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { PlanProblem } from '../protocol/compiled-plan.ts';
import { problemText } from '../protocol/schema-problems.ts';
import type { Barrier } from '../reliability/barrier.ts';
import { handlerName, type Action } from './worker-call.ts';

export interface WorkerOptions {
  /** The service role, `[a-z][a-z0-9-]{0,31}`, shared by all its worker processes. */
  readonly participant: string;
  /**
   * Handlers by action and phase. An action or phase without a handler here answers `retry` (`no-handler`), except
   * that `prepare` and `commit` together also serve `commit-one-phase`.
   */
  readonly actions: Readonly<Record<string, Action>>;
  /**
   * What stops duplicate, empty and late executions. `kv`: records in a bucket, effects at least once. `none`: only
   * for handlers that answer a repeated call the same and refuse an act after its undo by themselves. Or a barrier of
   * an adapter, written in the participant's own transaction.
   */
  readonly barrier: 'kv' | 'none' | Barrier;
  /** Default: those that some action has the handlers for. */
  readonly patterns?: readonly Pattern[];
  /** Calls at once, per pattern: of phases that begin work, and of those that finish or undo. Default: 64 each. */
  readonly concurrency?: { readonly open?: number; readonly close?: number };
  /**
   * A command whose worker gave no sign of life for this long goes to another one. Fixed when the consumers are
   * first made. Default: 30_000.
   */
  readonly ackWaitMs?: number;
  /** Longest a handler may take, beside the due time of its command. Default: no own limit. */
  readonly handlerTimeoutMs?: number;
  /** Life of a barrier record after its last write; acts older than half of it are not begun. Default: 7 days. */
  readonly barrierKeepMs?: number;
  /**
   * 3PC with barrier `kv`: how long a step that was prepared or precommitted waits for its coordinator before the
   * participant ends it on its own: abort from prepared, commit from precommitted. From 1_000 to half of
   * `barrierKeepMs`. Keep it well above the plan's deadlines for prepare and precommit together, and the same in every
   * worker of every participant: an own end while the coordinator is merely slow can split the transaction.
   * Default: 60_000.
   */
  readonly terminationTimeoutMs?: number;
  /** Replicas of the barrier's bucket when it is first made. Default: the server's. */
  readonly replicas?: number;
}

export type WorkerSettings = Required<Omit<WorkerOptions, 'handlerTimeoutMs' | 'replicas'>> &
  Pick<WorkerOptions, 'handlerTimeoutMs' | 'replicas'> & {
    readonly concurrency: { readonly open: number; readonly close: number };
  };

/** What an action must have a handler for to take part in a pattern. */
const NEEDED: Readonly<Record<Pattern, readonly (keyof Action)[]>> = {
  '2pc': ['prepare', 'commit'],
  '3pc': ['prepare', 'precommit', 'commit'],
  saga: ['execute'],
  '2ps': ['prepare', 'execute'],
  '3ps': ['reserve', 'execute'],
  eventual: ['execute'],
};
const DAY_MS = 86_400_000;
const handlerNames: ReadonlySet<string> = new Set(PHASES.map(handlerName));

/** @throws {PhasorError} `CONFIG_INVALID` with `details.field`. */
export function workerSettings(options: WorkerOptions): WorkerSettings {
  assertOptions(options, 'participant', 'is required: the service role of this worker');
  const problem = identityProblem(options) ?? actionsProblem(options.actions);
  if (problem !== undefined) throw invalid(problem);
  const settings: WorkerSettings = {
    ackWaitMs: 30_000,
    barrierKeepMs: 7 * DAY_MS,
    terminationTimeoutMs: Math.min(60_000, Math.floor((options.barrierKeepMs ?? 7 * DAY_MS) / 2)),
    ...options,
    patterns: options.patterns ?? PATTERNS.filter((pattern) => serves(options.actions, pattern)),
    concurrency: { open: options.concurrency?.open ?? 64, close: options.concurrency?.close ?? 64 },
  };
  const further = patternsProblem(settings) ?? numbersProblem(settings);
  if (further !== undefined) throw invalid(further);
  return settings;
}

const invalid = (problem: PlanProblem): PhasorError =>
  new PhasorError('CONFIG_INVALID', problemText(problem), { field: problem.field });

const serves = (actions: WorkerOptions['actions'], pattern: Pattern): boolean =>
  Object.values(actions).some((action) => NEEDED[pattern].every((handler) => action[handler] !== undefined));

function identityProblem(options: WorkerOptions): PlanProblem | undefined {
  const participant: unknown = options.participant;
  if (typeof participant !== 'string' || !isParticipant(participant))
    return {
      field: 'participant',
      problem: `${JSON.stringify(participant)} is no name of a participant: a-z, 0-9 and - only`,
    };
  const barrier: unknown = options.barrier;
  if (barrier !== 'kv' && barrier !== 'none' && (typeof barrier !== 'object' || barrier === null))
    return { field: 'barrier', problem: 'must be kv, none or a barrier of your own' };
  return undefined;
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function actionsProblem(actions: unknown): PlanProblem | undefined {
  const what = 'must be an object of handlers by phase';
  if (!isObject(actions)) return { field: 'actions', problem: 'must be an object of actions by name' };
  if (Object.keys(actions).length === 0)
    return { field: 'actions', problem: `must name at least one action; each ${what}` };
  for (const [name, action] of Object.entries(actions)) {
    const field = `actions.${name}`;
    if (!isId(name)) return { field, problem: `${JSON.stringify(name)} is no name of an action` };
    if (!isObject(action)) return { field, problem: what };
    for (const [phase, handler] of Object.entries(action)) {
      if (!handlerNames.has(phase)) return { field, problem: `has no phase ${JSON.stringify(phase)}` };
      if (handler !== undefined && typeof handler !== 'function')
        return { field: `${field}.${phase}`, problem: 'must be a function' };
    }
  }
  return undefined;
}

function patternsProblem({ actions, barrier, patterns }: WorkerSettings): PlanProblem | undefined {
  const field = 'patterns';
  const passed: unknown = patterns;
  if (!Array.isArray(passed)) return { field, problem: 'must be an array of patterns' };
  if (patterns.length === 0) return { field, problem: 'cannot be told: no action has the handlers of one' };
  for (const pattern of patterns) {
    if (!PATTERNS.includes(pattern))
      return { field, problem: `cannot have ${JSON.stringify(pattern)}: there is no such pattern` };
    if (!serves(actions, pattern)) {
      const needed = NEEDED[pattern].join(', ');
      return { field, problem: `cannot have ${pattern}: no action has all its handlers (${needed})` };
    }
  }
  if (patterns.includes('3pc') && barrier === 'none')
    return {
      field: 'barrier',
      problem: 'cannot be none for 3pc: it keeps no record to end a step from when its coordinator is silent',
    };
  return undefined;
}

function numbersProblem(settings: WorkerSettings): PlanProblem | undefined {
  const { concurrency, handlerTimeoutMs } = settings;
  return (
    numberProblem('concurrency.open', concurrency.open, { min: 1, max: 100_000 }) ??
    numberProblem('concurrency.close', concurrency.close, { min: 1, max: 100_000 }) ??
    numberProblem('ackWaitMs', settings.ackWaitMs, { min: 100, max: 3_600_000 }) ??
    numberProblem('terminationTimeoutMs', settings.terminationTimeoutMs, {
      min: 1_000,
      max: settings.barrierKeepMs / 2,
    }) ??
    numberProblem('barrierKeepMs', settings.barrierKeepMs, { min: 60_000, max: 365 * DAY_MS }) ??
    (handlerTimeoutMs === undefined
      ? undefined
      : numberProblem('handlerTimeoutMs', handlerTimeoutMs, { min: 1, max: DAY_MS }))
  );
}

const numberProblem = (
  field: string,
  value: number,
  { min, max }: { readonly min: number; readonly max: number },
): PlanProblem | undefined =>
  Number.isInteger(value) && value >= min && value <= max
    ? undefined
    : { field, problem: `must be a whole number from ${min} to ${max}` };
