/**
 * What a barrier record means: the pure table that every barrier shares.
 *
 * | command  | the record of the step holds                            | what happens                               |
 * |----------|---------------------------------------------------------|--------------------------------------------|
 * | any      | the phase's answer                                      | answered from it [1]                       |
 * | any      | the phase started, claim alive                          | waits for it; in the end `retry` busy [2]  |
 * | act      | an undo, in any state                                   | late: `refused`, nothing runs              |
 * | act      | a finish (precommit, commit, confirm) but no own answer | late: `refused`, nothing runs              |
 * | act      | nothing that stops it, `since` older than half the keep | `stale`, nothing runs                      |
 * | act      | another act started, claim alive                        | waits for it; in the end `retry` busy      |
 * | act      | nothing, or only executions without an answer           | runs                                       |
 * | finish   | an undo, in any state                                   | `conflict`                                 |
 * | finish   | another phase started, claim alive                      | `retry` busy                               |
 * | finish   | nothing, `since` older than half the keep               | `stale`: it may have run long ago          |
 * | finish   | anything else, also nothing                             | runs: it was commanded because all voted   |
 * | undo     | a finish, a done commit-one-phase, another undo         | `conflict`                                 |
 * | undo     | its answer to an attempt before the `redo` it says [3]  | runs again                                 |
 * | undo     | an act started, claim alive                             | `retry` busy                               |
 * | undo     | an act that may have run, or an own unfinished try      | runs                                       |
 * | undo     | none of these, and the command says `ran` or `redo`     | runs                                       |
 * | undo     | acts that all left nothing behind                       | *empty*: a tombstone, the handler is spared |
 * | undo     | nothing, `since` younger than half the keep             | *empty*                                    |
 * | undo     | nothing, `since` older                                  | `stale`                                    |
 *
 * The participant's own end (3PC) has a table of its own: barrier-end.ts.
 *
 * [1] Not a `refused` or `retry` of an earlier attempt: it left nothing behind, and a new attempt asks anew. Not an undo
 * that a late act reopened: it must run again.
 * [2] A command that came twice (two coordinators, one restarted) must not count as a failed attempt while its twin is
 * at work.
 * [3] Its act took effect after that answer, whether or not a record could be made of it (barrier-late.ts).
 *
 * Invariants:
 *  B1 every execution of a handler is in the record before it begins, and leaves an answer or `dirty`; a clean `retry`
 *     closes its attempt, or a copy of the command could run after the step was judged never to have run (ADR 1);
 *  B2 a phase is dirty from the first execution on whose effect nobody knows;
 *  B3 a commit or undo once commanded stays in the record, whatever it answered: the opposite decision finds it.
 */
import type { Json } from '../kernel/json.ts';
import { isOpenPhase, isUndoPhase, type Answer, type Phase } from '../kernel/vocabulary.ts';
import type { GuardedCommand, Reply, Standing } from './barrier.ts';

export type PhaseEntry =
  /** An execution claimed it. `by` is unique for every execution. */
  | {
      readonly status: 'started';
      readonly attempt: number;
      readonly by: string;
      readonly leaseMs: number;
      readonly dirty?: true;
    }
  /** Executed, and nobody knows with what effect. */
  | { readonly status: 'idle'; readonly dirty: true }
  | {
      readonly status: 'answered';
      readonly attempt: number;
      readonly reply: Reply;
      /** An undo that spared the handler: the tombstone of an act that had not arrived. */
      readonly empty?: true;
      /** An undo after which its act took effect all the same, or may have. */
      readonly reopened?: true;
    };

export interface BarrierRecord {
  readonly v: 1;
  /** The execution that wrote last: no two writers ever write the same bytes, so a read-back knows its own. */
  readonly by: string;
  readonly phases: Readonly<Partial<Record<Phase, PhaseEntry>>>;
  /** 3PC: until another command begins, or its own end is reported. */
  readonly standing?: Standing;
}

export interface BarrierNow {
  /** Server time, never ahead of it. */
  readonly serverMs: number;
  /** Server time of the record's last write; ignored without a record. */
  readonly writtenMs: number;
  /** Life of a record after its last write. */
  readonly keepMs: number;
  /** The execution that asks. */
  readonly by: string;
  /** How long its claim lives without renewal. */
  readonly leaseMs: number;
}

export type Decision =
  | { readonly type: 'answer'; readonly reply: Reply }
  /** Look again soon; answer `reply` when it has waited for long. */
  | { readonly type: 'wait'; readonly reply: Reply }
  /** Answer it once `record` is stored. */
  | { readonly type: 'bury'; readonly record: BarrierRecord; readonly reply: Reply }
  /** Run the handler once `record` is stored. */
  | {
      readonly type: 'run';
      readonly record: BarrierRecord;
      /** An earlier execution may have left something that this one's `refused` or `retry` cannot speak for. */
      readonly mayHaveRun: boolean;
      readonly output?: Json;
    };

const POSITIVE: ReadonlySet<Answer> = new Set(['done', 'read-only', 'heuristic', 'terminated']);
export const isPositive = (reply: Reply): boolean => POSITIVE.has(reply.answer);
export const isFinish = (phase: Phase): boolean => !isOpenPhase(phase) && !isUndoPhase(phase);

/** Says of one execution that it left nothing behind. */
const SPEAKS_FOR_ITSELF: ReadonlySet<Answer> = new Set(['refused', 'retry', 'read-only']);

/** Half of a record's life: beyond it a missing record proves nothing. */
export const isTooOld = (command: GuardedCommand, now: Pick<BarrierNow, 'serverMs' | 'keepMs'>): boolean =>
  now.serverMs - command.since > now.keepMs / 2;

export const staleReply: Reply = {
  answer: 'stale',
  code: 'stale',
  message: 'commanded longer ago than half of what the barrier keeps',
};

/** Adds what this execution cannot rule out (DESIGN §3). */
export function qualify(reply: Reply, mayHaveRun: boolean): Reply {
  return mayHaveRun && SPEAKS_FOR_ITSELF.has(reply.answer) ? { ...reply, mayHaveRun: true } : reply;
}

export function decide(
  record: BarrierRecord | undefined,
  command: GuardedCommand,
  now: BarrierNow,
): Decision {
  const own = record?.phases[command.phase];
  if (isUndoPhase(command.phase)) return decideUndo(record, command, now);
  if (isOpenPhase(command.phase)) {
    if (holds(record, isUndoPhase)) return late(own, command, 'its undo was commanded before');
    const known = fromRecord(own, command, now);
    if (known !== undefined) return known;
    if (holds(record, isFinish)) return late(own, command, 'its step was finished before');
    if (isTooOld(command, now)) return answer(staleReply);
    // An earlier attempt's late effect let the run go on while the next attempt is still at work.
    if (entries(record).some(([, entry]) => isAlive(entry, now))) return { type: 'wait', reply: busyReply };
    return run(record, command, now);
  }
  if (holds(record, isUndoPhase)) return conflict('the step holds an undo');
  const known = fromRecord(own, command, now);
  if (known !== undefined) return known;
  // No trace of its act either: the record is gone, and with it the proof that this has not run (a consumer that was
  // made again delivers commands of years).
  if (record === undefined && isTooOld(command, now)) return answer(staleReply);
  return entries(record).some(([, entry]) => isAlive(entry, now)) ? busy : run(record, command, now);
}

function decideUndo(record: BarrierRecord | undefined, command: GuardedCommand, now: BarrierNow): Decision {
  if (holds(record, isFinish)) return conflict('the step holds a commit');
  if (holds(record, (phase) => isUndoPhase(phase) && phase !== command.phase))
    return conflict('the step holds another undo');
  const onePhase = record?.phases['commit-one-phase'];
  if (onePhase?.status === 'answered' && isPositive(onePhase.reply))
    return conflict('the step holds a commit');
  const own = record?.phases[command.phase];
  const known = fromRecord(own, command, now);
  if (known !== undefined) return known;
  const acts = entries(record).filter(([phase]) => isOpenPhase(phase));
  if (acts.some(([, entry]) => isAlive(entry, now))) return busy;
  if (
    own !== undefined ||
    command.ran ||
    command.redo !== undefined ||
    acts.some(([, entry]) => mayHaveRun(entry))
  )
    return run(record, command, now);
  if (acts.length === 0 && isTooOld(command, now)) return answer(staleReply);
  return bury(record, command, now);
}

/** The record after an execution of ours ended with `reply`. */
export function finish(
  record: BarrierRecord,
  command: GuardedCommand,
  { reply, by }: { readonly reply: Reply; readonly by: string },
): BarrierRecord {
  const before = record.phases[command.phase];
  const dirty = before !== undefined && before.status !== 'answered' && before.dirty === true;
  const clean = reply.answer === 'retry' && !dirty;
  const entry: PhaseEntry =
    isPositive(reply) || reply.answer === 'refused' || clean
      ? { status: 'answered', attempt: command.attempt, reply }
      : { status: 'idle', dirty: true };
  const phases = { ...record.phases, [command.phase]: entry };
  const standing = standingAfter(record, command, reply);
  return standing === undefined ? { v: 1, by, phases } : { v: 1, by, phases, standing };
}

/** A vote other than yes holds nothing. Whoever heard of precommit knows the decision, whatever its handler said. */
function standingAfter(record: BarrierRecord, command: GuardedCommand, reply: Reply): Standing | undefined {
  const { phase, standing } = command;
  if (standing === undefined || phase !== 'prepare') return precommitted(record, command);
  return reply.answer === 'done' ? { phase, ...standing } : undefined;
}

/** Its worker may die before it answers: the step stands from the claim on, until its commit begins. */
function precommitted(
  record: BarrierRecord | undefined,
  { phase, standing }: Pick<GuardedCommand, 'phase' | 'standing'>,
): Standing | undefined {
  if (standing === undefined || phase !== 'precommit') return undefined;
  return record?.phases.commit === undefined ? { phase, ...standing } : undefined;
}

/** Whether the record can never stand again, whatever still comes. */
export const isOver = ({ standing, phases }: BarrierRecord): boolean =>
  standing === undefined && (phases.commit !== undefined || phases.abort !== undefined);

/** The step's last output that it holds. */
export function outputOf(record: BarrierRecord): Json | undefined {
  let output: Json | undefined;
  for (const [, entry] of entries(record))
    if (entry.status === 'answered') output = entry.reply.output ?? output;
  return output;
}

/** Our claim with its life begun anew, or undefined when it is not ours any more. */
export function isOurs(record: BarrierRecord | undefined, command: GuardedCommand, by: string): boolean {
  const own = record?.phases[command.phase];
  return own?.status === 'started' && own.by === by;
}

function fromRecord(
  own: PhaseEntry | undefined,
  command: GuardedCommand,
  now: BarrierNow,
): Decision | undefined {
  if (own === undefined || own.status === 'idle') return undefined;
  if (own.status === 'started') return isAlive(own, now) ? { type: 'wait', reply: busyReply } : undefined;
  if (own.reopened === true || isOutdated(own, command)) return undefined;
  if (leftNothing(own.reply) && own.attempt < command.attempt) return undefined;
  return answer(own.reply.answer === 'terminated' ? asCommanded(own.reply) : own.reply);
}

/** An own end (3PC) has no attempt of the coordinator's. */
const isOutdated = (
  { attempt, reply }: Extract<PhaseEntry, { readonly status: 'answered' }>,
  { redo }: GuardedCommand,
): boolean => redo !== undefined && (attempt < redo || reply.answer === 'terminated');

/** It has done on its own what is commanded now. */
const asCommanded = ({ output }: Reply): Reply => ({
  answer: 'done',
  code: 'terminated',
  ...(output === undefined ? {} : { output }),
});

function run(record: BarrierRecord | undefined, command: GuardedCommand, now: BarrierNow): Decision {
  const { dirty, output, ...claim } = claimed(record, command, now);
  return {
    type: 'run',
    ...claim,
    mayHaveRun: dirty || command.redelivered,
    ...(output === undefined ? {} : { output }),
  };
}

export function claimed(
  record: BarrierRecord | undefined,
  command: Pick<GuardedCommand, 'phase' | 'attempt' | 'standing'>,
  now: BarrierNow,
): { readonly record: BarrierRecord; readonly dirty: boolean; readonly output: Json | undefined } {
  const phases: Partial<Record<Phase, PhaseEntry>> = {};
  for (const [phase, entry] of entries(record)) {
    // Whoever held a dead claim may still be at work: its effect is unknown for good (B2), and its final write
    // loses against ours.
    phases[phase] = entry.status === 'started' ? { status: 'idle', dirty: true } : entry;
  }
  const own = phases[command.phase];
  const dirty = own !== undefined && mayHaveRun(own);
  phases[command.phase] = {
    status: 'started',
    attempt: command.attempt,
    by: now.by,
    leaseMs: now.leaseMs,
    ...(dirty ? { dirty: true } : {}),
  };
  const standing = precommitted(record, command);
  const claim: BarrierRecord = { v: 1, by: now.by, phases, ...(standing === undefined ? {} : { standing }) };
  return { record: claim, dirty, output: record === undefined ? undefined : outputOf(record) };
}

function bury(record: BarrierRecord | undefined, command: GuardedCommand, now: BarrierNow): Decision {
  const reply: Reply = { answer: 'done', code: 'empty' };
  const tombstone: PhaseEntry = { status: 'answered', attempt: command.attempt, reply, empty: true };
  const phases = { ...record?.phases, [command.phase]: tombstone };
  return { type: 'bury', record: { v: 1, by: now.by, phases }, reply };
}

/** Whether an execution of this phase may have left something behind. */
function mayHaveRun(entry: PhaseEntry): boolean {
  switch (entry.status) {
    case 'started':
      return true;
    case 'idle':
      return true;
    case 'answered':
      if (entry.empty === true) return false;
      return !SPEAKS_FOR_ITSELF.has(entry.reply.answer) || entry.reply.mayHaveRun === true;
  }
}

const leftNothing = ({ answer }: Reply): boolean => answer === 'refused' || answer === 'retry';

/** Never true too long: `serverMs` is behind the server at most, so a claim is only ever held for longer. */
export const isAlive = (entry: PhaseEntry, now: BarrierNow): boolean =>
  entry.status === 'started' && entry.by !== now.by && now.serverMs - now.writtenMs <= entry.leaseMs;

/** Whether a decision by `now` would take over from an execution whose claim it takes for dead. */
export const holdsDeadClaim = (record: BarrierRecord | undefined, now: BarrierNow): boolean =>
  entries(record).some(
    ([, entry]) => entry.status === 'started' && entry.by !== now.by && !isAlive(entry, now),
  );

export const entries = (record: BarrierRecord | undefined): [Phase, PhaseEntry][] =>
  Object.entries(record?.phases ?? {}) as [Phase, PhaseEntry][];
export const holds = (record: BarrierRecord | undefined, is: (phase: Phase) => boolean): boolean =>
  entries(record).some(([phase]) => is(phase));

const answer = (reply: Reply): Decision => ({ type: 'answer', reply });
const busyReply: Reply = {
  answer: 'retry',
  code: 'busy',
  message: 'another execution of this step is at work',
  mayHaveRun: true,
};
const busy = answer(busyReply);
const conflict = (message: string): Decision => answer({ answer: 'conflict', code: 'conflict', message });

function late(own: PhaseEntry | undefined, command: GuardedCommand, message: string): Decision {
  const earlier = command.redelivered || (own !== undefined && mayHaveRun(own));
  return answer(qualify({ answer: 'refused', code: 'late', message }, earlier));
}
