/**
 * Two-phase commit with presumed abort, machine version 1 (DESIGN §3).
 *
 * | state | event | next | effects |
 * |---|---|---|---|
 * | (begin) | two steps or more | preparing | command prepare to all, in parallel |
 * | (begin) | one step | committing_one_phase | command commit-one-phase |
 * | preparing | last vote yes or read-only | committing | decide and command commit, not to read-only |
 * | preparing | all votes read-only | ended committed | decide commit |
 * | preparing | retry, unknown, attempt overdue | preparing | back-off, then the next attempt |
 * | preparing | refused, conflict, stale, heuristic, terminated, exhausted | aborting | decide and command abort |
 * | preparing | deadline of a step, of prepare or of the run | aborting | the same; code `deadline` |
 * | preparing | cancelled; forced abort naming the begin | aborting | the same; ends `cancelled`; `aborted` |
 * | preparing | any of these, with nobody left to undo | ended aborted | decide abort |
 * | committing, aborting | done, read-only from all addressed | ended | committed; aborted or cancelled |
 * | committing, aborting | retry, unknown, overdue | same | back-off, next attempt; commit never stops |
 * | aborting | attempts exhausted | same | attend `exhausted` |
 * | committing, aborting | refused, stale | same | attend: no more attempts |
 * | committing, aborting | heuristic, terminated, conflict | same | attend: a contradiction, ends `mixed` |
 * | committing, aborting | phase or run deadline | same | attend each unanswered step; retries go on |
 * | aborting | late yes, abort in flight | aborting | noted: the next attempts carry the output |
 * | aborting | late yes, abort answered or not sent | aborting | command abort (again) |
 * | aborting | `lateEffect` of done or unknown | aborting | command abort again, as often as it is told |
 * | aborting | `lateEffect` of a step that a person gave up | aborting | attend `late-effect` |
 * | committing | a read-only voter has prepared after all | same | attend `late-effect` |
 * | aborting | late heuristic or terminated that committed | aborting | attend: a contradiction |
 * | committing_one_phase | done, read-only | ended committed | decide commit |
 * | committing_one_phase | refused or exhausted, known not to have run | ended aborted | decide abort |
 * | committing_one_phase | other end of its attempts, deadline, conflict, stale | same | attend: in doubt, no abort |
 * | committing_one_phase | heuristic, terminated | same | attend: a contradiction, ends `mixed` |
 * | any with an item | late done, read-only | same or ended | clears the item, unless it is a contradiction |
 * | any with an item | item retried | same | command the next attempt, counting afresh |
 * | any with an item | item skipped | same or ended | the run ends `resolved` (`mixed` if it already is) |
 * | any with an item | item resolved done | same or ended | counts as acknowledged |
 * | any with an item | item resolved refused | same or ended | ends `mixed`; one-phase: ends aborted |
 * | any with an item | forced to the fate already implied | same | retries every open item |
 * | all but ended | killed | ended killed | nothing is undone |
 * | any | all else | same | none: in the state already, impossible, or against what was commanded |
 *
 * Abort is commanded to every step but those known not to have run (read-only is one attempt's); a prepare still in flight gets
 * its abort at once. Once every step was answered while items are open, the caller is told (`attention`).
 *
 * Invariants:
 *  T1 never both commit and abort: `committing` and `aborting` are entered from `preparing` only, once;
 *  T2 `committing` only when every vote was yes or read-only;
 *  T3 a contradiction is never forgotten: the run ends `mixed` (or is killed), and only an operator settles the item;
 *  T4 what was once counted in `ran` or `item` is not counted again (M1), except a late effect: each report of one is news.
 */
import { startAct } from './act.ts';
import type { Effect, Machine, Mark, RunFacts } from './machine.ts';
import { atomicCommit } from './two-phase-commit/engine.ts';
import { startPrepare } from './two-phase-commit/prepare.ts';
import {
  NO_ATTEMPTS,
  alarmOf,
  arm,
  at,
  commandFor,
  dueOf,
  stepAlarm,
  type Finishing,
  type TwoPhaseCommitState,
  type TwoPhaseCommitStep,
  type Vote,
} from './two-phase-commit/state.ts';

export type { TwoPhaseCommitState } from './two-phase-commit/state.ts';

export const twoPhaseCommit: Machine<TwoPhaseCommitState> = atomicCommit('2pc', (facts, mark) =>
  facts.plan.steps.length === 1 ? startOnePhase(facts, mark) : startPrepare(facts, mark),
);

function startOnePhase(facts: RunFacts, mark: Mark): TwoPhaseCommitStep {
  const { deadlines, steps } = facts.plan;
  const step = at(steps, 0);
  const act = startAct({ phase: 'commit-one-phase', mark, policy: step.retry });
  const vote: Vote = { status: 'waiting', act, ran: NO_ATTEMPTS };
  const phaseDue = alarmOf(deadlines['commit-one-phase'], mark);
  const stepDue = stepAlarm(mark, step);
  const phaseAlarm = dueOf(stepDue) < dueOf(phaseDue) ? stepDue : phaseDue;
  const runAlarm = alarmOf(deadlines.run, mark);
  const effects: Effect[] = [commandFor(step, act, vote)];
  arm(effects, Math.min(dueOf(act.timer), dueOf(phaseAlarm), dueOf(runAlarm)));
  const state: Finishing = {
    phase: 'committing_one_phase',
    begun: mark,
    legs: [{ status: 'acting', vote, act, item: null, policy: null }],
    missing: 1,
    phaseAlarm,
    runAlarm,
    cause: null,
    mixed: false,
    skipped: false,
  };
  return { state, effects };
}
