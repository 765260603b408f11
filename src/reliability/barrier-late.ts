/**
 * What an execution says that could not record its answer: its claim was taken over, or the write failed for good.
 *
 * | reply      | what stands in the record instead                   | what is reported                                |
 * |------------|-----------------------------------------------------|-------------------------------------------------|
 * | `done`     | an undo                                             | `lateEffect`; an undo that was answered reopens |
 * | `unknown`  | an undo                                             | the same: nobody knows what came after it       |
 * | `done`     | no undo; another execution, which answered the same | what that one answered                          |
 * | `done`     | no undo; another execution, at work                 | `done`: every undo is still to come             |
 * | `done`     | no undo; anything else, or nothing                  | `lateEffect`: nobody knows what was in between  |
 * | any other  | anything                                            | as it is, with `mayHaveRun` where that belongs  |
 */
import { isOpenPhase, isUndoPhase } from '../kernel/vocabulary.ts';
import type { GuardedCommand, Reply } from './barrier.ts';
import { entries, holds, isPositive, qualify, type BarrierRecord } from './barrier-table.ts';

export interface Lost {
  readonly reply: Reply;
  /** To be stored: the undo that was answered before the effect must run again. */
  readonly record?: BarrierRecord;
}

/** An execution of ours ended, but its claim had been taken over: `current` is what stands there instead. */
export function lost(
  current: BarrierRecord | undefined,
  command: GuardedCommand,
  { reply, by }: { readonly reply: Reply; readonly by: string },
): Lost {
  const undone = isOpenPhase(command.phase) && holds(current, isUndoPhase);
  if (!undone || current === undefined) return { reply: takenOver(current, command, reply) };
  if (!mayHaveEffect(reply)) return { reply: qualify(reply, true) };
  const phases = Object.fromEntries(
    entries(current).map(([phase, entry]) => [
      phase,
      isUndoPhase(phase) && entry.status === 'answered' ? { ...entry, reopened: true as const } : entry,
    ]),
  );
  return { reply: { ...reply, lateEffect: true }, record: { ...current, by, phases } };
}

/** Whoever undoes it after this finds the effect: its claim finds the executions in the record. */
function takenOver(current: BarrierRecord | undefined, { phase }: GuardedCommand, reply: Reply): Reply {
  if (!isPositive(reply)) return qualify(reply, true);
  const own = current?.phases[phase];
  if (own?.status === 'answered' && own.reply.answer === reply.answer) return own.reply;
  if (own?.status === 'started' || !mayHaveEffect(reply)) return reply;
  return { ...reply, lateEffect: true };
}

/** The handler ran, and the record does not say so: an undo may come before it is read, and say that nothing was there. */
export const unrecorded = (reply: Reply): Reply =>
  mayHaveEffect(reply) ? { ...reply, lateEffect: true } : qualify(reply, true);

const mayHaveEffect = ({ answer }: Reply): boolean =>
  answer === 'done' || answer === 'heuristic' || answer === 'unknown';
