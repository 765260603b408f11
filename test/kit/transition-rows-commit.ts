/** Recognisers for the tables of 2PC and 3PC. */
import type { Phase } from '../../src/kernel/vocabulary.ts';
import * as is from './transition-inputs.ts';
import type { Recogniser, Recognisers } from './transition-inputs.ts';

const { answered, answers, attempts, attends, decides, due, ends, every, happened, sends } = is;

const PREPARE: readonly Phase[] = ['prepare'];
const ONE: readonly Phase[] = ['commit-one-phase'];
const FINISH: readonly Phase[] = ['precommit', 'commit', 'abort'];
const yes = answered(PREPARE, 'done');

const leftAlone = every(decides('abort'), ends('aborted'));

const voting: Recognisers = {
  'last vote yes or read-only': {
    yes: every(yes, decides('commit')),
    'read-only': every(answered(PREPARE, 'read-only'), decides('commit')),
  },
  'all votes read-only': { 'read-only': every(answered(PREPARE, 'read-only'), decides('commit')) },
  'retry, unknown, attempt overdue': attempts(PREPARE),
  'deadline of a step, of prepare or of the run': {
    step: every(due('step'), decides('abort')),
    prepare: every(due('phase'), decides('abort')),
    run: every(due('run'), decides('abort')),
  },
  'any of these, with nobody left to undo': { ended: leftAlone },
  'cancelled; forced abort naming the begin': {
    cancelled: every(happened('cancelled'), decides('abort')),
    forced: every(happened('forced'), decides('abort')),
  },
};
const exhausted = every(is.runsOut(PREPARE), decides('abort'));

const finishing: Recognisers = {
  'retry, unknown, overdue': attempts(FINISH),
  'attempts exhausted': { exhausted: every(is.runsOut(['abort']), attends('exhausted')) },
  'refused, stale': answers(FINISH, ['refused', 'stale'], attends()),
  'phase or run deadline': { phase: every(due('phase'), attends()), run: every(due('run'), attends()) },
  'late yes, abort in flight': {
    noted: every(yes, is.changes, is.wasInStatus('commanded', 'backing_off'), is.not(sends())),
  },
  'late yes, abort answered or not sent': {
    answered: every(yes, is.wasInStatus('undone'), sends('abort')),
    'not sent': every(yes, is.wasInStatus('failed'), sends('abort')),
  },
  '`lateEffect` of done or unknown': {
    done: every(yes, is.hasLateEffect, sends('abort')),
    unknown: every(answered(PREPARE, 'unknown'), is.hasLateEffect, sends('abort')),
  },
  '`lateEffect` of a step that a person gave up': {
    attends: every(is.hasLateEffect, attends('late-effect')),
  },
  'a read-only voter has prepared after all': { attends: every(yes, attends('late-effect')) },
};

const SKIPPED = { skipped: every(happened('item_skipped'), is.clearsItem) };
const persons: Recognisers = {
  'late done, read-only': answers(
    ['precommit', 'commit', 'abort', 'commit-one-phase'],
    ['done', 'read-only'],
    every(is.wasInStatus('attention'), is.clearsItem),
  ),
  'item retried': { retried: every(happened('item_retried'), is.sendsNext) },
  'item skipped': SKIPPED,
  'item resolved done': { done: every(is.resolved('done'), is.clearsItem) },
  'item resolved refused': { refused: every(is.resolved('refused'), is.clearsItem) },
  'forced to the fate already implied': { forced: every(happened('forced'), sends()) },
  killed: { killed: every(happened('killed'), ends('killed')) },
};

const twoPhase: Recognisers = {
  'two steps or more': { begun: sends('prepare') },
  'one step': { begun: sends('commit-one-phase') },
  'refused, conflict, stale, heuristic, terminated, exhausted': {
    ...answers(PREPARE, ['refused', 'conflict', 'stale', 'heuristic', 'terminated'], decides('abort')),
    exhausted,
  },
  'done, read-only from all addressed': answers(['commit', 'abort'], ['done', 'read-only'], ends()),
  'committing, aborting: heuristic, terminated, conflict': answers(
    FINISH,
    ['heuristic', 'terminated', 'conflict'],
    attends(),
  ),
  'late heuristic or terminated that committed': {
    heuristic: every(is.endedItself('committed', 'heuristic'), answered(PREPARE, 'heuristic'), attends()),
    terminated: every(is.endedItself('committed', 'terminated'), answered(PREPARE, 'terminated'), attends()),
  },
  'done, read-only': answers(ONE, ['done', 'read-only'], decides('commit')),
  'refused or exhausted, known not to have run': {
    refused: every(answered(ONE, 'refused'), decides('abort')),
    exhausted: every(is.runsOut(ONE), decides('abort')),
  },
  'other end of its attempts, deadline, conflict, stale': {
    exhausted: every(is.runsOut(ONE), attends('in-doubt')),
    deadline: every(due('phase', 'step', 'run'), attends()),
    ...answers(ONE, ['conflict', 'stale'], attends()),
  },
  'heuristic, terminated': answers(ONE, ['heuristic', 'terminated'], attends()),
  'item resolved refused': {
    refused: every(is.resolved('refused'), is.clearsItem),
    'one-phase': every(is.resolved('refused'), ends('aborted')),
  },
  'all else': { nothing: is.nothing },
};

const done = answers(FINISH, ['done', 'read-only']);
const own = (result: 'committed' | 'aborted'): Recogniser => is.endedItself(result, 'terminated');
const ofAnyPhase = (result: 'committed' | 'aborted', phases: readonly Phase[]): Recognisers[string] =>
  Object.fromEntries(
    phases.map((phase) => [phase, every(own(result), answered([phase], 'terminated'), attends())]),
  );

const threePhase: Recognisers = {
  'one step or more': { begun: sends('prepare') },
  'refused, conflict, stale, heuristic, exhausted': {
    ...answers(PREPARE, ['refused', 'conflict', 'stale', 'heuristic'], decides('abort')),
    exhausted,
  },
  'terminated that aborted, also of a yes-voter': {
    aborted: every(own('aborted'), decides('abort'), is.wasInStatus('commanded', 'backing_off')),
    'of a yes-voter': every(own('aborted'), decides('abort'), is.wasInStatus('done')),
  },
  'preparing: terminated that committed': { committed: every(own('committed'), decides('abort'), attends()) },
  'precommitting: done, read-only, terminated that committed: from all': {
    ...answers(['precommit'], ['done', 'read-only'], sends('commit')),
    terminated: every(own('committed'), is.either(sends('commit'), ends('committed'))),
  },
  'precommitting: item skipped': SKIPPED,
  'item skipped, of a later phase or a contradiction': SKIPPED,
  'precommitting: phase or run deadline': {
    phase: every(due('phase'), sends('commit')),
    run: every(due('run'), sends('commit')),
  },
  'heuristic, conflict': answers(FINISH, ['heuristic', 'conflict'], attends()),
  'precommitting, committing: terminated that aborted, of any phase': ofAnyPhase('aborted', [
    'prepare',
    'precommit',
  ]),
  'precommitting, committing: terminated that committed': {
    committed: every(own('committed'), is.changes, is.not(attends())),
  },
  'committing: done, read-only, terminated that committed: from all': {
    ...Object.fromEntries(Object.entries(done).map(([name, isSeen]) => [name, every(isSeen, ends())])),
    terminated: every(own('committed'), ends()),
  },
  'done, read-only, terminated that aborted: from all addressed': {
    ...Object.fromEntries(Object.entries(done).map(([name, isSeen]) => [name, every(isSeen, ends())])),
    terminated: every(own('aborted'), ends()),
  },
  'aborting: terminated that committed, of any phase': ofAnyPhase('committed', ['prepare', 'abort']),
  'all else, also cancelled from precommitting on': {
    nothing: is.nothing,
    cancelled: every(happened('cancelled'), is.nothing, ({ before }) => before.phase === 'precommitting'),
  },
};

/** The inputs of both tables are worded alike where they mean the same. */
export const commitRows = (pattern: '2pc' | '3pc'): Recognisers => ({
  ...voting,
  ...finishing,
  ...persons,
  ...(pattern === '2pc' ? twoPhase : threePhase),
});
