/**
 * Three-phase commit with presumed abort, machine version 1 (DESIGN §3). As 2PC (`two-phase-commit.ts`), with a phase
 * between votes and commit that tells every participant that all will commit, so that none has to wait for ever: a
 * silent coordinator is answered by the participant's own termination, abort from prepared, commit from precommitted.
 *
 * | state | event | next | effects |
 * |---|---|---|---|
 * | (begin) | one step or more | preparing | command prepare to all, in parallel |
 * | preparing | last vote yes or read-only | precommitting | decide commit; command precommit, not to read-only |
 * | preparing | all votes read-only | ended committed | decide commit |
 * | preparing | retry, unknown, attempt overdue | preparing | back-off, then the next attempt |
 * | preparing | refused, conflict, stale, heuristic, exhausted | aborting | decide and command abort |
 * | preparing | terminated that aborted, also of a yes-voter | aborting | the same, to all but that step |
 * | preparing | terminated that committed | aborting | the same, to all; attend: a contradiction |
 * | preparing | deadline of a step, of prepare or of the run | aborting | decide and command abort; code `deadline` |
 * | preparing | cancelled; forced abort naming the begin | aborting | the same; ends `cancelled`; `aborted` |
 * | preparing | any of these, with nobody left to undo | ended aborted | decide abort |
 * | precommitting | done, read-only, terminated that committed: from all | committing or ended | command commit, not to the terminated |
 * | precommitting | phase or run deadline | committing | command commit to all, acknowledged or not |
 * | precommitting | retry, unknown, overdue | precommitting | back-off, next attempt; never stops |
 * | precommitting | refused, stale | precommitting | attend: no more attempts; the deadline still commits |
 * | precommitting, committing | heuristic, conflict | same | attend: a contradiction, ends `mixed` |
 * | precommitting, committing | terminated that aborted, of any phase | same | attend: a contradiction, ends `mixed` |
 * | precommitting, committing | terminated that committed | same | acknowledged, nothing more commanded |
 * | precommitting | item skipped | same or committing | not waited for: commit is sent to it as to the others |
 * | committing | done, read-only, terminated that committed: from all | ended | committed |
 * | committing | retry, unknown, overdue | committing | back-off, next attempt; never stops |
 * | committing | refused, stale | committing | attend: no more attempts |
 * | committing | phase or run deadline | committing | attend each unanswered step; retries go on |
 * | aborting | done, read-only, terminated that aborted: from all addressed | ended | aborted or cancelled |
 * | aborting | retry, unknown, overdue | aborting | back-off, next attempt |
 * | aborting | attempts exhausted | aborting | attend `exhausted` |
 * | aborting | refused, stale | aborting | attend: no more attempts |
 * | aborting | heuristic, conflict | aborting | attend: a contradiction, ends `mixed` |
 * | aborting | terminated that committed, of any phase | aborting | the same |
 * | aborting | phase or run deadline | aborting | attend each unanswered step; retries go on |
 * | aborting | late yes, abort in flight | aborting | noted: the next attempts carry the output |
 * | aborting | late yes, abort answered or not sent | aborting | command abort (again) |
 * | aborting | `lateEffect` of done or unknown | aborting | command abort again, as often as it is told |
 * | aborting | `lateEffect` of a step that a person gave up | aborting | attend `late-effect` |
 * | precommitting, committing | a read-only voter has prepared after all | same | attend `late-effect` |
 * | any with an item | late done, read-only | same, next or ended | clears the item, unless it is a contradiction |
 * | any with an item | item retried | same | command the next attempt, counting afresh |
 * | any with an item | item skipped, of a later phase or a contradiction | same, next or ended | the run ends `resolved` (`mixed` if it already is) |
 * | any with an item | item resolved done | same, next or ended | counts as acknowledged |
 * | any with an item | item resolved refused | same, next or ended | ends `mixed` |
 * | any with an item | forced to the fate already implied | same | retries every open item |
 * | all but ended | killed | ended killed | nothing is undone |
 * | any | all else, also cancelled from precommitting on | same | none |
 *
 * One participant takes the three phases all the same: `commit-one-phase` would leave it alone with a command whose
 * answer nobody else knows, while a precommitted one may end by itself when its coordinator is gone.
 *
 * A step that terminated by itself and agrees with the decision needs neither commit nor abort: its record is final. Its
 * abort may be in flight already, which that record answers. Contradictions get no commit: they could only repeat it.
 *
 * Invariants:
 *  T1 never both commit and abort: `precommitting` and `aborting` are entered from `preparing` only, once, and
 *     `committing` from `precommitting` only;
 *  T2 `precommitting` only when every vote was yes or read-only; the decision is written down there, not at commit;
 *  T3 commit only after precommit was sent to all and was acknowledged by all, or its deadline is in the log;
 *  T4 a contradiction is never forgotten: the run ends `mixed` (or is killed), and only an operator settles the item;
 *  T5 what was once counted in `ran` or `item` is not counted again (M1), except a late effect: each report of one is news.
 */
import type { Machine } from './machine.ts';
import { atomicCommit } from './two-phase-commit/engine.ts';
import { startPrepare } from './two-phase-commit/prepare.ts';
import type { TwoPhaseCommitState } from './two-phase-commit/state.ts';

export type ThreePhaseCommitState = TwoPhaseCommitState;

export const threePhaseCommit: Machine<ThreePhaseCommitState> = atomicCommit('3pc', startPrepare);
