/**
 * The participant's own end (3PC), from a record whose `standing` is older than it may wait (DESIGN §3):
 *
 * | the record of the step                                   | what happens                                          |
 * |----------------------------------------------------------|-------------------------------------------------------|
 * | stands nowhere, or has not waited long enough            | nothing                                               |
 * | prepare answered done, nothing heard since               | taken over: runs `abort`                              |
 * | precommit answered in any way, nothing heard since       | taken over: runs `commit`; it knows the decision      |
 * | precommit started, claim alive                           | nothing: it may still answer                          |
 * | precommit started, claim dead                            | as answered, once the wait is over                    |
 * | its end started, claim alive                             | nothing: a fellow is at work, or the command came     |
 * | its end started, claim dead, or without an answer        | taken over again, after the wait                      |
 * | its end answered, not yet reported                       | reported again                                        |
 *
 * Its end is an abort or commit like any other: the same command is answered `done` from it, the opposite `conflict`. A
 * command that begins first (prepare again, commit, abort) takes the standing away; precommit gives it its own.
 */
import type { Json } from '../kernel/json.ts';
import type { Reply, Standing } from './barrier.ts';
import {
  claimed,
  holds,
  isAlive,
  isFinish,
  isPositive,
  type BarrierNow,
  type BarrierRecord,
  type PhaseEntry,
} from './barrier-table.ts';

export type OwnEnd =
  | { readonly type: 'none' }
  /** Ended, and perhaps not reported. */
  | { readonly type: 'ended'; readonly standing: Standing; readonly reply: Reply }
  /** Run the handler of `phase` once `record` is stored. */
  | {
      readonly type: 'run';
      readonly standing: Standing;
      readonly phase: 'abort' | 'commit';
      readonly record: BarrierRecord;
      readonly output: Json | undefined;
    };

const NO_END: OwnEnd = { type: 'none' };
export const endOf = ({ phase }: Standing): 'abort' | 'commit' => (phase === 'prepare' ? 'abort' : 'commit');

/** What the participant does on its own about a step that it has heard no more of (3PC). */
export function decideEnd(record: BarrierRecord, now: BarrierNow): OwnEnd {
  const { standing } = record;
  if (standing === undefined) return NO_END;
  const phase = endOf(standing);
  const own = record.phases[phase];
  if (own?.status === 'answered') return { type: 'ended', standing, reply: own.reply };
  const heard = record.phases[standing.phase];
  if (heard?.status === 'started' && isAlive(heard, now)) return NO_END;
  if (own?.status === 'started' ? isAlive(own, now) : now.serverMs - now.writtenMs < standing.waitMs)
    return NO_END;
  if (standing.phase === 'prepare' && holds(record, isFinish)) return NO_END;
  const claim = claimed(record, { phase, attempt: 1 }, now);
  return { type: 'run', standing, phase, record: { ...claim.record, standing }, output: claim.output };
}

/** The record after its own end ran. An end without an effect is tried again after the wait. */
export function finishEnd(
  record: BarrierRecord,
  standing: Standing,
  { reply, by }: { readonly reply: Reply; readonly by: string },
): BarrierRecord {
  const phase = endOf(standing);
  const entry: PhaseEntry = isPositive(reply)
    ? { status: 'answered', attempt: 1, reply: endedReply(standing, reply) }
    : { status: 'idle', dirty: true };
  return { v: 1, by, phases: { ...record.phases, [phase]: entry }, standing };
}

export function endedReply({ phase }: Standing, reply: Reply): Reply {
  if (reply.answer === 'heuristic') return reply;
  const result = phase === 'prepare' ? 'aborted' : 'committed';
  return { answer: 'terminated', result, ...(reply.output === undefined ? {} : { output: reply.output }) };
}

/** The record once its own end was reported. */
export function reported({ phases }: BarrierRecord, by: string): BarrierRecord {
  return { v: 1, by, phases };
}

/** The record keeps the output for a command that still comes; a report has one only with `done` (envelopes.ts). */
export function withoutOutput(reply: Reply): Reply {
  const { output: _, ...rest } = reply;
  return rest;
}
