/**
 * One act: a phase commanded to one step, over all its attempts. Shared by every machine, so that attempts,
 * back-off, late reports and "known not to have run" (DESIGN §3) mean the same in each pattern.
 *
 * Invariants:
 *  A1 `attempt` rises only by an input (a report, a deadline, an operator), so every coordinator counts alike;
 *  A2 an attempt leaves `unclean` only when it was answered refused, retry or read-only without `mayHaveRun`; the act is
 *     known not to have run if and only if `unclean` is empty;
 *  A3 a positive answer of any attempt commanded so far settles the act, a negative one only of the current attempt;
 *  A4 an answer judged before the act was commanded anew is spent: redelivered, it does not settle the act again.
 */
import { fnv1a32 } from '../kernel/hash.ts';
import type { Position } from '../kernel/position.ts';
import { isOpenPhase, type Phase } from '../kernel/vocabulary.ts';
import type { CompiledStep, Policy } from './compiled-plan.ts';
import type { Json } from '../kernel/json.ts';
import { isDue, type CommandEffect, type Mark, type Report, type RunFacts, type Timer } from './machine.ts';

/** All acts have one shape, absent fields included: machines make a new one for every answer. */
export interface Act {
  readonly phase: Phase;
  readonly status: 'commanded' | 'backing_off' | 'settled';
  /** The last attempt commanded; attempts count from 1. */
  readonly attempt: number;
  /** Attempts that count against the policy. */
  readonly counted: number;
  /** Stream time of the phase's first command; in an undo, of its act's. */
  readonly since: number;
  /** The input that implied the current attempt. */
  readonly cause: Mark;
  /** Guards the attempt while commanded, the wait while backing off; undefined when settled. */
  readonly timer?: { readonly armed: Position; readonly dueMs: number } | undefined;
  readonly unclean: readonly number[];
  /** Stays with the act once an attempt was isolated: it must not take its neighbours down again. */
  readonly alone?: boolean | undefined;
  /** First attempt after an operator's restart; anything but positive answers of earlier ones is spent (A4). */
  readonly renewed?: number | undefined;
  /** Undos: the first attempt since its act turned out to have run; every answer of earlier ones is spent (A4). */
  readonly redone?: number | undefined;
  /** Undos: the first attempt that can have seen a late effect: what earlier ones did does not count. */
  readonly redo?: number | undefined;
  /** Acts that are children: the one in hand, unless it is the first (ADR 3). */
  readonly child?: BegunChild | undefined;
}

/** Which child an attempt begins, or began: attempts that are no others' begin the same one again. */
export interface BegunChild {
  /** The first attempt that begins it. */
  readonly from: number;
  /** Stream time of that attempt's command. */
  readonly since: number;
  /** It has ended and left nothing: the next attempt begins another. */
  readonly over?: true;
}

/** What a report or deadline did to an act. */
export type Advance =
  /** Nothing: duplicate, foreign or impossible. */
  | { readonly type: 'ignored' }
  /** The act changed (an old attempt proved clean), nothing else follows. */
  | { readonly type: 'noted'; readonly act: Act }
  | { readonly type: 'backing_off'; readonly act: Act }
  /** The next attempt must be sent now. */
  | { readonly type: 'commanded'; readonly act: Act }
  /** Settled by a report: anything but retry and unknown. */
  | { readonly type: 'answered'; readonly act: Act }
  /** Settled because the policy ended. */
  | { readonly type: 'exhausted'; readonly act: Act };

const IGNORED: Advance = { type: 'ignored' };
const FIRST_ATTEMPT: readonly number[] = [1];

/** No timer when an attempt may take for ever: a state holds finite numbers only (M2). */
const guard = (mark: Mark, waitMs: number): Act['timer'] =>
  Number.isFinite(waitMs) ? { armed: mark.at, dueMs: mark.time + waitMs } : undefined;

export function startAct(options: {
  readonly phase: Phase;
  readonly mark: Mark;
  readonly policy: Policy;
  /** Of the act that is undone; default: now. */
  readonly since?: number;
}): Act {
  const { phase, mark, policy } = options;
  return {
    phase,
    status: 'commanded',
    attempt: 1,
    counted: 0,
    since: options.since ?? mark.time,
    cause: mark,
    timer: guard(mark, policy.attemptMs),
    unclean: FIRST_ATTEMPT,
    alone: undefined,
    renewed: undefined,
    redone: undefined,
    redo: undefined,
    child: undefined,
  };
}

/** Whether every attempt commanded was answered so that it left nothing behind (A2). */
export const knownNotToHaveRun = (act: Act): boolean => act.unclean.length === 0;

/** A step that answered read-only has run after all: an attempt says so that nothing was known of, or a late one. */
export const outweighsReadOnly = (act: Act, report: Report): boolean =>
  report.phase === act.phase &&
  report.answer === 'done' &&
  (act.unclean.includes(report.attempt) || (isLateEffect(report) && report.attempt <= act.attempt));

/** Its effect came when its undo was under way or answered, and an `unknown` one may have. Each such report is news (M1). */
export const isLateEffect = ({ answer, lateEffect }: Report): boolean =>
  lateEffect === true && (answer === 'done' || answer === 'unknown');

/** An effect came after the last attempt of this undo: only the next one can find it (A4). */
export const outdated = (undo: Act): Act => ({
  ...undo,
  redone: undo.attempt + 1,
  redo: undo.attempt + 1,
});

/**
 * Sends the next attempt now: after back-off or isolation, on an operator's `restart`, or to `redo` an undo after its
 * act turned out to have run, perhaps `late`, after it. The last two count attempts afresh.
 */
export function nextAttempt(
  act: Act,
  mark: Mark,
  options: { policy: Policy; alone?: boolean; restart?: boolean; redo?: 'seen' | 'late' },
): Act {
  const attempt = act.attempt + 1;
  const redone = options.redo === undefined ? act.redone : attempt;
  const redo = options.redo === 'late' ? attempt : act.redo;
  const anew = options.redo !== undefined || options.restart === true;
  const renewed = anew ? attempt : act.renewed;
  return {
    phase: act.phase,
    status: 'commanded',
    attempt,
    counted: anew ? 0 : act.counted,
    since: act.since,
    cause: mark,
    timer: guard(mark, options.policy.attemptMs),
    // Only an act before the point of no return is ever asked whether it ran; a commit may retry for ever.
    unclean: isOpenPhase(act.phase) ? [...act.unclean, attempt] : act.unclean,
    alone: options.alone === true || act.alone === true ? true : undefined,
    renewed,
    redone,
    redo,
    child: act.child?.over === true ? { from: attempt, since: mark.time } : act.child,
  };
}

export interface ActContext {
  readonly mark: Mark;
  readonly policy: Policy;
  /** Seeds the jitter: `tx/step`. */
  readonly seed: string;
  /** Its attempts begin a transaction. */
  readonly child?: boolean;
}

export function reportAct(act: Act, report: Report, context: ActContext): Advance {
  if (act.status === 'settled' || report.phase !== act.phase || report.attempt > act.attempt) return IGNORED;
  switch (report.answer) {
    case 'done':
    case 'read-only':
    case 'heuristic':
    case 'terminated':
    case 'conflict':
    case 'stale':
      return isSpent(act, report) ? IGNORED : { type: 'answered', act: settle(cleanedAct(act, report)) };
    case 'refused':
    case 'retry':
    case 'unknown': {
      const cleaned = childOver(cleanedAct(act, report), report, context);
      if (report.attempt === act.attempt) {
        if (report.answer === 'refused') return { type: 'answered', act: settle(cleaned) };
        if (act.status === 'commanded') return failed(cleaned, report, context);
      }
      return cleaned === act ? IGNORED : { type: 'noted', act: cleaned };
    }
  }
}

const LEAVES_NOTHING: ReadonlySet<Report['answer']> = new Set(['refused', 'retry', 'read-only']);

/**
 * Every attempt of the child in hand is answered by its end: once the current one says that nothing was left, no begin
 * of it can still commit, and the next attempt may begin another.
 */
function childOver(act: Act, { answer, attempt, mayHaveRun }: Report, { child }: ActContext): Act {
  const isClean = (answer === 'refused' || answer === 'retry') && mayHaveRun !== true;
  if (child !== true || !isClean || attempt !== act.attempt || act.child?.over === true) return act;
  const { from, since } = act.child ?? { from: 1, since: act.since };
  return changed(act, { child: { from, since, over: true } });
}

/** One order of fields, whatever is there: a state read back from a snapshot steps alike (M2). */
function changed(act: Act, change: Partial<Act>): Act {
  const next = { ...act, ...change };
  return { ...settle(next), status: next.status, timer: next.timer };
}

/** A2, also of a settled act: what an answer proves about its attempt. The same object if it proves nothing new. */
export function cleanedAct(act: Act, report: Report): Act {
  if (report.phase !== act.phase || !act.unclean.includes(report.attempt)) return act;
  const clean = LEAVES_NOTHING.has(report.answer) && report.mayHaveRun !== true;
  if (!clean) return act;
  return { ...act, unclean: act.unclean.filter((attempt) => attempt !== report.attempt) };
}

/** A4, for answers that settle an act whatever its current attempt (A3). */
export function isSpent(act: Act, report: Pick<Report, 'answer' | 'attempt'>): boolean {
  const positive = report.answer === 'done' || report.answer === 'read-only';
  const first = positive ? act.redone : act.renewed;
  return first !== undefined && report.attempt < first;
}

/** An `attempt` or `backoff` deadline; counts only if its arming is current and due (M4). */
export function deadlineAct(
  act: Act,
  deadline: { readonly kind: 'attempt' | 'backoff'; readonly attempt?: number; readonly armed: Position },
  context: ActContext,
): Advance {
  const expected = act.status === 'commanded' ? 'attempt' : 'backoff';
  if (act.status === 'settled' || deadline.kind !== expected || deadline.attempt !== act.attempt)
    return IGNORED;
  if (!isDue(act.timer, { mark: context.mark, armed: deadline.armed })) return IGNORED;
  if (deadline.kind === 'backoff') {
    return { type: 'commanded', act: nextAttempt(act, context.mark, { policy: context.policy }) };
  }
  return failed(act, { answer: 'unknown' }, context);
}

export const settle = (act: Act): Act => ({
  phase: act.phase,
  status: 'settled',
  attempt: act.attempt,
  counted: act.counted,
  since: act.since,
  cause: act.cause,
  timer: undefined,
  unclean: act.unclean,
  alone: act.alone,
  renewed: act.renewed,
  redone: act.redone,
  redo: act.redo,
  child: act.child,
});

function failed(
  act: Act,
  report: Pick<Report, 'answer' | 'code' | 'retryAfter'>,
  context: ActContext,
): Advance {
  // An act that is alone already cannot be isolated further: then it is a retry like any other.
  if (report.answer === 'retry' && report.code === 'isolate' && act.alone !== true) {
    return {
      type: 'commanded',
      act: nextAttempt(act, context.mark, { policy: context.policy, alone: true }),
    };
  }
  const counted = act.counted + 1;
  if (counted >= context.policy.maxAttempts) return { type: 'exhausted', act: settle({ ...act, counted }) };
  const waitMs = backoffMs(context.policy, counted, {
    seed: `${context.seed}/${act.phase}/${act.attempt}`,
    retryAfterMs: report.retryAfter ?? 0,
  });
  const timer = { armed: context.mark.at, dueMs: context.mark.time + waitMs };
  return { type: 'backing_off', act: changed(act, { status: 'backing_off', counted, timer }) };
}

/**
 * Wait before the next attempt after `failures` of them: exponential, capped, with "equal jitter" (half fixed, half
 * spread; Brooker, "Exponential Backoff and Jitter") derived from ids, so that every fold waits alike (Rule 1).
 */
export function backoffMs(
  policy: Policy,
  failures: number,
  hint: { seed: string; retryAfterMs: number },
): number {
  // The power is infinite after a thousand failures, and zero times that is no number.
  const uncapped = policy.initialMs === 0 ? 0 : policy.initialMs * policy.factor ** (failures - 1);
  const exponential = Math.min(policy.maxMs, uncapped);
  const spread = fnv1a32(hint.seed) / 0x100000000;
  const jittered = Math.ceil(exponential / 2 + (exponential / 2) * spread);
  return Math.max(jittered, Math.min(hint.retryAfterMs, policy.maxMs));
}

/** The timer of an act that still waits for something. */
export function actTimer(step: string, act: Act): Timer | undefined {
  if (act.timer === undefined) return undefined;
  const kind = act.status === 'commanded' ? 'attempt' : 'backoff';
  return { kind, step, phase: act.phase, attempt: act.attempt, ...act.timer };
}

/** The command of an act's current attempt. */
export function commandOf(
  step: CompiledStep,
  act: Act,
  data: {
    readonly input?: Json | undefined;
    readonly output?: Json | undefined;
    readonly ran?: boolean | undefined;
  } = {},
): CommandEffect {
  const command: { -readonly [K in keyof CommandEffect]: CommandEffect[K] } = {
    type: 'command',
    step: step.step,
    participant: step.participant,
    phase: act.phase,
    attempt: act.attempt,
    action: step.action,
    cause: act.cause,
    since: act.since,
  };
  // Assigned one by one: this runs twice a step in every run.
  if (act.timer !== undefined) command.due = act.timer.dueMs;
  if (data.input !== undefined) command.input = data.input;
  if (data.output !== undefined) command.output = data.output;
  if (data.ran !== undefined) command.ran = data.ran;
  if (act.redo !== undefined) command.redo = act.redo;
  if (act.alone === true) command.alone = true;
  const child =
    act.phase === 'compensate' ? step.undoChild : act.phase === 'execute' ? step.child : undefined;
  if (child !== undefined) command.child = child;
  if (act.child !== undefined) command.begun = act.child;
  return command;
}

export const seedOf = (facts: RunFacts, step: CompiledStep): string => `${facts.tx}/${step.step}`;
