/**
 * Children (DESIGN §3): a command that is the begin of another transaction, and the report that its end is.
 *
 * Invariants:
 *  H1 every begin of one act of one parent names the same transaction, as an own id: it runs once (Rule 7). Only after
 *     the log holds the report that it ended and left nothing does the next attempt name another (ADR 3);
 *  H2 a child leaves memory only after every begin of it known by then has its report in its parent's log: its outcome
 *     note follows them. A begin judged later is answered from the outcome key, which is older than that note;
 *  H3 both ways are inputs without `Nats-*` headers, and idempotent.
 *
 *  H4 `undoChild` begins only when the child is known to have run, or nobody can tell. An undo of an act that is not
 *     known to have run asks the child's outcome key, the barrier of children, by compare-and-set: a child that has not
 *     begun never will, one that is open is cancelled and waited for, and one that left nothing behind needs no undo.
 *
 * A cancel of the parent reaches a child only so, through the undo of its act. A kill leaves children alone.
 */
import { createHash } from 'node:crypto';
import { invariant } from '../kernel/assert.ts';
import { shardOf } from '../kernel/hash.ts';
import type { Json } from '../kernel/json.ts';
import type { RunId } from '../kernel/position.ts';
import { streamOf, subjects } from '../kernel/subjects.ts';
import type { Pattern, Status } from '../kernel/vocabulary.ts';
import type { World } from '../ports/world.ts';
import { boundedCode, cutText } from '../protocol/bounded.ts';
import type { BeginEnvelope, CancelEnvelope, Plan, ReportEnvelope } from '../protocol/envelopes.ts';
import { gateNames } from '../protocol/plan-children.ts';
import { isJsonWithin } from '../protocol/json-guards.ts';
import { MAX_MESSAGE_CHARS, MAX_OUTPUT_BYTES } from '../protocol/limits.ts';
import type { CommandEffect, OutcomeBody } from '../protocol/machine.ts';
import type { ParentRef, RunRecord } from '../protocol/run.ts';
import type { Batcher } from './batcher.ts';
import type { Fate, OutcomeKeys } from './outcome-keys.ts';

const LOOK_AGAIN_MS = 1_000;
const ID_DIGITS = 32;

/**
 * The id of the child that stands for an act, whichever attempt begins it again: 128 bits of a SHA-256, as hex digits.
 *
 * @param from the first attempt that begins this one. Left out: it is the act's first child.
 */
export function childTx(act: Omit<ParentRef, 'attempt' | 'cause' | 'since'>, from?: number): string {
  const { pattern, tx, run, step, phase } = act;
  const text = JSON.stringify([pattern, tx, run, step, phase, ...(from === undefined ? [] : [from])]);
  return createHash('sha256').update(text).digest('hex').slice(0, ID_DIGITS);
}

/** A child that has ended, or a begin that never became one. */
export interface EndedChild {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: RunId;
  readonly outcome: Pick<OutcomeBody, 'status' | 'code' | 'message' | 'outputs'>;
}

type Answer = Pick<ReportEnvelope, 'answer' | 'output' | 'mayHaveRun'>;

/**
 * What the end of a child answers for the act it stands for. An end that only persons or accidents reach leaves open
 * what has happened: the act failed and may have run, so that it is undone, or waits for a person.
 */
const ANSWERS: Readonly<Record<Status, Answer>> = {
  committed: { answer: 'done' },
  completed: { answer: 'done' },
  aborted: { answer: 'refused' },
  compensated: { answer: 'refused' },
  cancelled: { answer: 'refused' },
  refused: { answer: 'refused' },
  mismatch: { answer: 'refused' },
  mixed: { answer: 'refused', mayHaveRun: true },
  killed: { answer: 'refused', mayHaveRun: true },
  resolved: { answer: 'refused', mayHaveRun: true },
  dead: { answer: 'refused', mayHaveRun: true },
};

/** `stale` is the one refusal that proves nothing of earlier begins. */
const answerOf = ({ status, code }: Pick<OutcomeBody, 'status' | 'code'>): Answer =>
  status === 'refused' && code === 'stale' ? { answer: 'stale' } : ANSWERS[status];

/** An undo must get done: a child that turned back is tried again, by another, as often as `undoRetry` says. */
const RETRIED: ReadonlySet<Status> = new Set(['aborted', 'compensated']);
const answerFor = ({ phase }: ParentRef, outcome: Pick<OutcomeBody, 'status' | 'code'>): Answer =>
  phase === 'compensate' && RETRIED.has(outcome.status) ? { answer: 'retry' } : answerOf(outcome);

/** The report of a child, as its parent's log gets it. */
export function childReport(parent: ParentRef, child: EndedChild): ReportEnvelope {
  const { tx, run, step, phase, attempt, cause } = parent;
  const { status, code, message } = child.outcome;
  const named = { v: 1 as const, tx, run, step, phase, attempt, cause };
  const answer = answerFor(parent, child.outcome);
  if (answer.answer === 'done') return { ...named, ...answer, output: outputOf(child) };
  const why = `${child.pattern} ${child.tx} ended ${status}${message === undefined ? '' : `: ${message}`}`;
  return {
    ...named,
    ...answer,
    code: boundedCode(code ?? status),
    message: cutText(why, MAX_MESSAGE_CHARS),
  };
}

/** Names the child; with its outputs if they fit an output of one step. */
function outputOf({ pattern, tx, run, outcome }: EndedChild): Json {
  const { status, outputs } = outcome;
  const summary = { pattern, tx, run, status };
  if (outputs === undefined) return summary;
  const whole = { ...summary, outputs };
  return isJsonWithin(whole, { maxBytes: MAX_OUTPUT_BYTES, bodyBytes: Infinity }) ? whole : summary;
}

const FORGOTTEN = {
  answer: 'stale',
  code: 'stale',
  message: 'nobody knows any more whether the child has run',
} as const;

/** The child has ended without an effect. */
const leftNothing = (outcome: Pick<OutcomeBody, 'status' | 'code'>): boolean => {
  const { answer, mayHaveRun } = answerOf(outcome);
  return answer === 'refused' && mayHaveRun !== true;
};

/** The child that stands for the act of a step: its first, for an act that is undone has no second (ADR 3). */
function undoneChild({ facts }: RunRecord, step: string): { readonly pattern: Pattern; readonly tx: string } {
  const { pattern, tx, run, plan } = facts;
  const child = plan.steps[plan.indexOf.get(step) ?? -1]?.child;
  invariant(child !== undefined, 'only a child is undone by a child');
  return { pattern: child.pattern, tx: childTx({ pattern, tx, run, step, phase: 'execute' }) };
}

/** No later attempt has taken over, and nothing has answered it. */
const isWanted = (run: RunRecord, { step, phase, attempt }: CommandEffect): boolean =>
  run.phase === 'active' &&
  run.machine
    .outstanding(run.facts, run.state)
    .some((command) => command.step === step && command.phase === phase && command.attempt === attempt);

/** Gates of the child, and of its children, open to whoever may signal the parent by that name (default: who began it). */
function allowOf(run: RunRecord, plan: Plan): BeginEnvelope['allow'] {
  const names = gateNames(plan);
  if (names.length === 0) return undefined;
  const named = run.begin.allow?.signal ?? {};
  const senders = (name: string) => (Object.hasOwn(named, name) ? named[name] : undefined) ?? [run.sender];
  // fromEntries makes own properties only, also of a gate named __proto__.
  return { signal: Object.fromEntries(names.map((name) => [name, senders(name)])) };
}

export interface ChildrenOptions {
  readonly world: World;
  readonly pattern: Pattern;
  /** Of the pattern whose log implied it: nothing goes out before that log is verified (Rule 5). */
  readonly inputs: Batcher;
  readonly keys: OutcomeKeys;
}

/** Both ends of the hand-over, for the runs of one pattern: begins their children, reports to their parents. */
export class Children {
  readonly #options: ChildrenOptions;
  readonly #shards = new Map<Pattern, number>();
  readonly #looking = new Map<Pattern, Promise<number>>();
  #closed = false;

  constructor(options: ChildrenOptions) {
    this.#options = options;
  }

  close(): void {
    this.#closed = true;
  }

  /** Carries out a command that is a begin. A stream or key that cannot be reached is logged and tried again. */
  begin(run: RunRecord, command: CommandEffect): void {
    const { child } = command;
    invariant(child !== undefined, 'only a command with a child begins one');
    const known = this.#shards.get(child.pattern);
    if (known !== undefined && command.ran !== false) this.#begin(run, command, known);
    else this.#inBackground(run, command);
  }

  #inBackground(run: RunRecord, command: CommandEffect, isFirst = true): void {
    this.#carryOut(run, command, isFirst)
      .catch((err: unknown) => {
        if (!this.#closed)
          this.#options.world.logger.error({ err, tx: run.facts.tx }, 'a child could not be begun');
        return false;
      })
      .then((settled) => {
        if (settled || this.#closed) return;
        this.#options.world.clock.after(LOOK_AGAIN_MS, () => {
          if (!this.#closed && isWanted(run, command)) this.#inBackground(run, command, false);
        });
      })
      .catch(() => undefined);
  }

  /** Resolves with whether nothing is left to do for this attempt. */
  async #carryOut(run: RunRecord, command: CommandEffect, isFirst: boolean): Promise<boolean> {
    const { child } = command;
    if (child === undefined) return true;
    if (command.ran === false) {
      const fate = await this.#fateOf(run, command);
      if (fate.type === 'open') {
        // Once an attempt is enough: whether it still counts is decided where it stands in the child's log.
        if (isFirst) await this.#cancel(run, command, fate.run);
        return false;
      }
      if (fate.type === 'never' || fate.type === 'forgotten' || leftNothing(fate.outcome)) {
        await this.#answerUndo(run, command, fate.type === 'forgotten' ? FORGOTTEN : { answer: 'done' });
        return true;
      }
    }
    const shards = await this.#shardsOf(child.pattern);
    if (!this.#closed) this.#begin(run, command, shards);
    return true;
  }

  /** H4: what became of the child that stands for the act of an undo. */
  async #fateOf(run: RunRecord, { step, since }: CommandEffect): Promise<Fate> {
    const { world, keys } = this.#options;
    const { pattern, tx } = undoneChild(run, step);
    const { nowMs, dedupWindowMs } = await world.log.state(streamOf(pattern));
    // Older begins are refused `stale`, and their keys may be gone: then a missing key proves nothing.
    const isYoung = nowMs - since <= dedupWindowMs / 2;
    return keys.foreclose({ pattern, tx, buryForMs: isYoung ? dedupWindowMs : undefined });
  }

  async #cancel(run: RunRecord, { step }: CommandEffect, of: RunId): Promise<void> {
    const { pattern, tx } = undoneChild(run, step);
    const cancel: CancelEnvelope = { v: 1, tx, run: of, reason: 'its parent goes back' };
    const shard = shardOf(tx, this.#shards.get(pattern) ?? (await this.#shardsOf(pattern)));
    this.#options.inputs.add(subjects.input(pattern, 'coordinator', 'cancel', shard), JSON.stringify(cancel));
  }

  /** An undo without a child is answered at once, in the log of the run itself. */
  async #answerUndo(
    run: RunRecord,
    { step, phase, attempt, cause }: CommandEffect,
    answer: Pick<ReportEnvelope, 'answer' | 'code' | 'message'>,
  ): Promise<void> {
    const { pattern, tx, run: id } = run.facts;
    const named = { v: 1 as const, tx, run: id, step, phase, attempt };
    const report: ReportEnvelope = { ...named, cause: { at: cause.at, time: cause.time }, ...answer };
    await this.#append(pattern, report);
  }

  #begin(run: RunRecord, command: CommandEffect, shards: number): void {
    const { child, step, phase, attempt, cause, begun } = command;
    invariant(child !== undefined, 'only a command with a child begins one');
    const { pattern, tx, run: id } = run.facts;
    const act = { step, phase, attempt, cause: { at: cause.at, time: cause.time } };
    const since = begun?.since ?? command.since;
    const parent: ParentRef = { pattern, tx, run: id, ...act, since };
    const { meta } = run.begin;
    const allow = allowOf(run, child.plan);
    const begin: BeginEnvelope = {
      v: 1,
      tx: childTx(parent, begun?.from),
      id: 'own',
      shards,
      plan: child.plan,
      ...(allow === undefined ? {} : { allow }),
      reply: [],
      parent,
      ...(meta === undefined ? {} : { meta }),
    };
    const subject = subjects.input(child.pattern, 'coordinator', 'begin', shardOf(begin.tx, shards));
    this.#options.inputs.add(subject, JSON.stringify(begin));
  }

  /** Resolves once the parent's log holds the report. */
  async report(parent: ParentRef, child: EndedChild): Promise<void> {
    await this.#append(parent.pattern, childReport(parent, child));
  }

  async #append(pattern: Pattern, report: ReportEnvelope): Promise<void> {
    const shards = this.#shards.get(pattern) ?? (await this.#shardsOf(pattern));
    const subject = subjects.input(pattern, 'coordinator', 'report', shardOf(report.tx, shards));
    await new Promise<void>((resolve, reject) => {
      this.#options.inputs.add(subject, JSON.stringify(report), (result) => {
        if ('at' in result) resolve();
        else reject(result.error);
      });
    });
  }

  /** Fixed when the stream was made; asked for once, until it is known. */
  #shardsOf(pattern: Pattern): Promise<number> {
    let looking = this.#looking.get(pattern);
    if (looking === undefined) {
      looking = this.#look(pattern).finally(() => this.#looking.delete(pattern));
      this.#looking.set(pattern, looking);
    }
    return looking;
  }

  async #look(pattern: Pattern): Promise<number> {
    const { world } = this.#options;
    for (;;) {
      try {
        const { shards } = await world.log.state(streamOf(pattern));
        this.#shards.set(pattern, shards);
        return shards;
      } catch (err) {
        if (this.#closed) throw err;
        world.logger.error(
          { err, stream: streamOf(pattern) },
          'the stream of a child or parent is not there',
        );
        await new Promise<void>((resolve) => world.clock.after(LOOK_AGAIN_MS, resolve));
      }
    }
  }
}
