/** Recognisers for the tables of the saga, 2PS, 3PS and 0.5PS. */
import type { Phase } from '../../src/kernel/vocabulary.ts';
import * as is from './transition-inputs.ts';
import type { Inputs, Recogniser, Recognisers } from './transition-inputs.ts';

const { answered, answers, attempts, attends, changes, decides, due, dueIn, ends, every, happened } = is;
const { nothing, personal, runsOut, sends, sendsNext } = is;

const EXECUTE: readonly Phase[] = ['execute'];
const COMPENSATE: readonly Phase[] = ['compensate'];
const CONFIRM: readonly Phase[] = ['confirm'];
const undoes = decides('undo');
const settles = is.wasInStatus('commanded');
const isRunDue = every(due('run'), changes);

const shared: Recognisers = {
  'item retried, skipped, resolved': {
    ...personal,
    'ends resolved': every(happened('item_skipped'), ends('resolved')),
  },
  killed: { killed: every(happened('killed'), ends('killed')) },
  anything: { nothing },
};

const failures = (phases: readonly Phase[]): Inputs => ({
  ...answers(phases, ['refused', 'conflict', 'stale'], undoes),
  'a no': every(runsOut(phases), undoes),
});
/** A step that may have run is settled: answered, given up or late. */
const settling = (phases: readonly Phase[]): Inputs => ({
  answered: every(
    answered(phases, 'done', 'refused', 'read-only', 'retry', 'unknown'),
    settles,
    is.not(sendsNext),
  ),
  due: every(dueIn(phases, 'attempt', 'phase', 'step'), is.not(sends(...phases))),
});
const undoing = (phases: readonly Phase[]): Inputs => ({
  ...attempts(phases),
  attention: every(runsOut(phases), attends()),
});
const ranAfterAll = (acts: readonly Phase[], undos: readonly Phase[]): Inputs => ({
  noted: every(answered(acts, 'done'), changes, is.isInPhase(undos), is.not(sends())),
  again: every(answered(acts, 'done'), is.wasInStatus('undone'), sends(...undos)),
});

const lateEffects = (acts: readonly Phase[], undos: readonly Phase[]): Inputs => ({
  done: every(answered(acts, 'done'), is.hasLateEffect, sends(...undos)),
  unknown: every(answered(acts, 'unknown'), is.hasLateEffect, sends(...undos)),
  skipped: every(is.hasLateEffect, attends('late-effect')),
});

export const sagaRows: Recognisers = {
  ...shared,
  'forward: begun': { begun: sends('execute') },
  'committed: begun': { begun: every(happened('begun'), decides('commit'), sends('execute')) },
  'forward: done, read-only': {
    ...answers(EXECUTE, ['done', 'read-only'], sends('execute')),
    committed: every(answered(EXECUTE, 'done'), decides('commit')),
  },
  'forward: retry, unknown, attempt due': attempts(EXECUTE),
  'refused, conflict, stale, a `no`, step due': {
    ...failures(EXECUTE),
    'cannot be commanded': every(answered(EXECUTE, 'done'), undoes),
    'step due': every(due('step'), undoes),
    'the pivot, unknown': every(answered(EXECUTE, 'conflict', 'stale', 'refused'), attends()),
    'the pivot, told late': every(answered(EXECUTE, 'done', 'refused'), is.wasInStatus('attention'), changes),
  },
  'forward: cancel, run due': {
    cancel: every(happened('cancelled'), undoes),
    'run due': every(isRunDue, undoes),
    latched: every(happened('cancelled'), changes, is.not(undoes)),
  },
  'forced to undo': { forced: every(happened('forced'), undoes) },
  'forced to complete': { forced: every(happened('forced'), changes) },
  'committed: done, read-only': answers(EXECUTE, ['done', 'read-only']),
  'committed: retry, unknown, attempt due': {
    ...attempts(EXECUTE),
    attention: every(runsOut(EXECUTE), attends()),
  },
  'refused, conflict, stale, due': {
    ...answers(EXECUTE, ['refused', 'conflict', 'stale'], attends()),
    due: every(due('step', 'phase', 'run'), attends()),
  },
  'committed: cancel': { cancel: every(happened('cancelled'), nothing) },
  'execute answered or due': settling(EXECUTE),
  'compensate done, read-only': answers(COMPENSATE, ['done', 'read-only']),
  'compensate retry, unknown, due': undoing(COMPENSATE),
  'compensate refused, conflict…': answers(COMPENSATE, ['refused', 'conflict', 'stale'], attends()),
  'execute done, after its undo': ranAfterAll(EXECUTE, COMPENSATE),
  'late effect of an execute': lateEffects(EXECUTE, COMPENSATE),
  'pivot done, given up before': { done: every(answered(EXECUTE, 'done'), attends()) },
};

const forward = (acts: readonly Phase[], undo: Phase): Recognisers => ({
  'execute done by all': { done: every(answered(EXECUTE, 'done', 'read-only'), decides('commit')) },
  'forward: retry, unknown, attempt due': attempts(acts),
  'refused, conflict, stale, a `no`, phase or step due': {
    ...failures(acts),
    ...Object.fromEntries(
      acts.map((act) => [
        `in ${act}`,
        every(is.either(answered([act], 'refused'), dueIn([act], 'phase', 'step')), undoes),
      ]),
    ),
    'phase due': every(due('phase'), undoes),
    'step due': every(due('step'), undoes),
  },
  'forward: cancel, run due': {
    cancel: every(happened('cancelled'), undoes),
    'run due': every(isRunDue, undoes),
  },
  'act answered or due': settling(acts),
  'turn of a step': { compensate: sends('compensate'), [undo]: sends(undo) },
});

const backward = (acts: readonly Phase[], undo: Phase): Recognisers => {
  const undos = [undo, ...COMPENSATE];
  return {
    'undo done, read-only': {
      ...answers(undos, ['done', 'read-only']),
      'the step before': every(answered(undos, 'done'), sends(...undos)),
    },
    'undo retry, unknown, due': undoing(undos),
    'undo refused, conflict, stale': {
      ...answers(undos, ['refused', 'conflict', 'stale'], attends()),
      'the step before': every(answered(undos, 'refused', 'conflict', 'stale'), sends(...undos)),
    },
    'act done, after its undo': ranAfterAll(acts, undos),
    'late effect of an act': lateEffects(acts, undos),
    'a late no, before its undo': {
      refused: every(answered(acts, 'refused'), is.wasInStatus('failed'), changes, is.not(sends())),
    },
    [`execute done, after \`${undo}\``]: {
      contradiction: every(answered(EXECUTE, 'done'), is.isInPhase([undo]), attends('contradiction')),
    },
  };
};

const prepareRows: Recognisers = {
  'forward: begun': { begun: sends('prepare') },
  'prepare done by all': {
    execute: every(answered(['prepare'], 'done'), sends('execute')),
    'with a gate': every(answered(['prepare'], 'done'), is.not(sends()), ({ after }) =>
      /gate|signal/.test(after.waitsFor),
    ),
  },
  'prepare read-only': { 'read-only': every(answered(['prepare'], 'read-only'), changes) },
  'approved, gate due': {
    latched: every(is.signalled('approve'), changes, is.not(sends())),
    approved: every(is.signalled('approve'), sends('verify')),
    'gate due': every(due('gate'), sends('verify')),
  },
  rejected: { rejected: every(is.signalled('reject'), undoes) },
  'verify done by all': { done: every(answered(['verify'], 'done', 'read-only'), sends('execute')) },
  'begun by `eventual`': {
    begun: every(decides('commit'), sends('execute'), ({ effects }) =>
      effects.some(({ type }) => type === 'tell'),
    ),
  },
  'child done, read-only': answers(EXECUTE, ['done', 'read-only'], ends('completed')),
  'child retry, unknown': { ...is.unhurried(EXECUTE), attention: every(runsOut(EXECUTE), attends()) },
  'child refused, conflict, stale': answers(EXECUTE, ['refused', 'conflict', 'stale'], attends()),
  'committed: cancel, run due': {
    cancel: every(happened('cancelled'), nothing),
    'run due': every(due('run'), nothing),
  },
  'forced to complete': { forced: every(happened('forced'), changes) },
};

const reserveRows: Recognisers = {
  'forward: begun': { begun: sends('reserve') },
  'reserve done': { done: every(answered(['reserve'], 'done'), sends('validate')) },
  'reserve read-only': { 'read-only': every(answered(['reserve'], 'read-only'), changes) },
  'validate done by all': { done: every(answered(['validate'], 'done', 'read-only'), sends('execute')) },
  'reservation due': { due: every(due('reservation'), undoes) },
};

/** 2PS leaves a preparation by `cancel`, 3PS a reservation by `release`. */
export function stagedRows(undo: 'cancel' | 'release'): Recognisers {
  const acts: readonly Phase[] =
    undo === 'cancel' ? ['prepare', 'verify', 'execute'] : ['reserve', 'validate', 'execute'];
  const own = undo === 'cancel' ? prepareRows : reserveRows;
  return { ...shared, ...forward(acts, undo), ...backward(acts, undo), ...own };
}

const dies: Recogniser = is.buries;

export const eventualRows: Recognisers = {
  ...shared,
  begun: { begun: sends('execute') },
  'execute done': {
    done: every(answered(EXECUTE, 'done'), settles, changes, is.not(sends())),
    confirm: every(answered(EXECUTE, 'done'), sends('confirm')),
  },
  'execute read-only': { 'read-only': every(answered(EXECUTE, 'read-only'), settles, is.not(sends())) },
  'execute retry, unknown, due': { ...attempts(EXECUTE), dead: every(runsOut(EXECUTE), dies) },
  'execute refused, conflict, stale, step due': {
    ...answers(EXECUTE, ['refused', 'conflict', 'stale'], dies),
    'step due': every(due('step', 'phase'), dies),
  },
  'execute done, read-only, dead': answers(EXECUTE, ['done', 'read-only'], is.wasInStatus('failed')),
  'confirm done, read-only': answers(CONFIRM, ['done', 'read-only']),
  'confirm retry, unknown, due': undoing(CONFIRM),
  'confirm refused, conflict, stale, step due': {
    ...answers(CONFIRM, ['refused', 'conflict', 'stale'], attends()),
    'step due': every(due('step', 'phase'), attends()),
    'a late yes': every(answered(CONFIRM, 'done', 'read-only'), is.wasInStatus('attention'), changes),
  },
  'forced to complete': { forced: every(happened('forced'), changes) },
  'run due': { dead: every(due('run'), dies), attention: every(due('run'), attends()) },
  cancel: { cancel: every(happened('cancelled'), nothing) },
  'every step taken, dead, skipped': {
    taken: ends('completed'),
    dead: ends('dead'),
    skipped: ends('resolved'),
  },
};
