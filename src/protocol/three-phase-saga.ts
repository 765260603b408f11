/**
 * 3PS: each participant reserves and validates at its own pace; when all have validated, all execute (DESIGN §3).
 *
 * | phase    | input                          | what follows                                                       |
 * |----------|--------------------------------|--------------------------------------------------------------------|
 * | forward  | begun                          | reserve to all                                                     |
 * |          | reserve done                   | validate to that step, whatever the others do; `expiresAt` of the  |
 * |          |                                | report is the end of its reservation                               |
 * |          | reserve read-only              | that step has no further part; if all say so -> ended `completed`  |
 * |          | validate done by all           | execute to all: no reservation expires any more                    |
 * |          | execute done by all            | -> ended `completed`                                               |
 * |          | retry, unknown, attempt due    | next attempt after back-off; when the policy ends: a `no`          |
 * |          | refused, conflict, stale, a    | -> backward, in whatever phase                                     |
 * |          | `no`, phase or step due        |                                                                    |
 * |          | reservation due                | -> backward, `expired`                                             |
 * |          | cancel, run due                | -> backward, in whatever phase                                     |
 * | backward | act answered or due            | no further attempt, no further phase; undone when its turn comes   |
 * |          | turn of a step                 | `compensate` if its execute may have run, else `release` if it may |
 * |          |                                | be reserved (expired or not), else nothing                         |
 * |          | undo done, read-only           | the step before it in the plan has its turn; all -> ended          |
 * |          | undo retry, unknown, due       | next attempt by `undoRetry`; when the policy ends: attention       |
 * |          | undo refused, conflict, stale  | attention for that step, and the one before has its turn           |
 * |          | act done, after its undo       | noted while the undo is in flight; after its answer: undo again    |
 * |          | late effect of an act          | undone again, as often as it is told; if a person has skipped that |
 * |          |                                | undo: attention `late-effect`                                      |
 * |          | a late no, before its undo     | there is less to undo, or nothing                                  |
 * |          | execute done, after `release`  | attention `contradiction`: release leaves it, never both           |
 * | any      | item retried, skipped, resolved| the item goes on as the person says; a skip ends `resolved`        |
 * |          | killed                         | -> ended `killed`, nothing is undone                               |
 * | ended    | anything                       | nothing                                                            |
 *
 * The deadline of a phase bounds the act of each step from its own first command, so that of validate begins when the
 * step has reserved, and that of execute when all have validated; a step's own deadline takes its place.
 *
 * Invariants:
 *  R1 execute is commanded only when every step has validated or was read-only, and no end of a reservation was read;
 *  R2 an undo is commanded only for a settled act, and never both `release` and `compensate` for one step;
 *  R3 a step is undone only when every later one is settled, and undone or in attention;
 *  R4 once `undo` has been decided nothing starts and no act gets another attempt.
 */
import type { Phase } from '../kernel/vocabulary.ts';
import type { Machine } from './machine.ts';
import { startAll } from './staged/advance.ts';
import { stagedMachine } from './staged/machine.ts';
import { startStage } from './staged/stage.ts';
import type { Turn } from './staged/shape.ts';
import { at, reversed, succeeded, type Forward, type StagedState, type StepState } from './staged/state.ts';

export const threePhaseSaga: Machine<StagedState> = stagedMachine({
  pattern: '3ps',
  drop: 'release',
  actDeadline: 'phase',
  passesStuck: true,
  gateOf: () => undefined,
  undoneBefore: reversed,
  forward,
});

function forward(turn: Turn, initial: Forward): StagedState {
  const { steps } = initial;
  if (steps.every(succeeded)) return { phase: 'committed', steps, deadline: undefined };
  const validated: number[] = [];
  let state: StagedState = initial;
  let open = 0;
  for (let index = 0; index < steps.length; index += 1) {
    const entry = at(steps, index);
    if (succeeded(entry)) continue;
    open += 1;
    if (entry.status === 'done' && entry.act?.phase === 'validate') validated.push(index);
    const phase = ownPhaseAfter(entry);
    if (phase !== undefined) state = startStage({ ...turn, state }, index, phase);
  }
  return validated.length === open ? startAll(turn, validated, 'execute') : state;
}

/** The phase that a step begins without waiting for others. */
function ownPhaseAfter(entry: StepState): Phase | undefined {
  if (entry.status === 'waiting') return 'reserve';
  return entry.status === 'done' && entry.act?.phase === 'reserve' ? 'validate' : undefined;
}
