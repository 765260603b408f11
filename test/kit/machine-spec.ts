/**
 * Given/when/then on a pure machine: `given(plan).after(...events).when(event).thenEmits(...effects)`.
 *
 * Every state is deep-frozen and every step checks what holds for all machines (see `machine-invariants.ts`);
 * effects are compared whole and in order. The run begins at position `1.0`; the n-th event is `{n+1}.0`, one
 * millisecond after the one before unless `at(ms, event)` says when.
 */
import { expect, TestRunner } from 'vitest';
import type { Json } from '../../src/kernel/json.ts';
import { runId } from '../../src/kernel/position.ts';
import { isOpenPhase, isUndoPhase, type DeadlineKind, type Phase } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type {
  AttentionItem,
  CommandEffect,
  Effect,
  Machine,
  Mark,
  OutcomeBody,
  Report,
  RunFacts,
  RunView,
  StepView,
  Timer,
} from '../../src/protocol/machine.ts';
import { CheckedRun, type Body } from './machine-invariants.ts';
import type { Transition } from './transition-inputs.ts';
import { partsOf } from './transitions.ts';

declare module 'vitest' {
  interface TaskMeta {
    /** Parts of the rows of the machines' tables that the spec asserted (see `transitions.ts`). */
    transitions?: readonly string[];
  }
}

export type { Body };

/** What an event or an expected effect may depend on. */
export interface Moment {
  readonly facts: RunFacts;
  readonly begun: Mark;
  /** Of the last event, or of the event under test. */
  readonly mark: Mark;
  readonly timers: readonly Timer[];
  readonly view: RunView;
}
export type Happening = Body | ((moment: Moment) => { readonly body: Body; readonly timeMs?: number });
export type Expected = Effect | ((moment: Moment) => Effect);

/** Position and time of every run's begin in a spec. */
export const BEGUN: Mark = { at: '1.0', time: 1_000_000 };
export const TX = 'tx-1';

export const factsOf = (plan: CompiledPlan, tx = TX): RunFacts => ({
  pattern: plan.pattern,
  tx,
  run: runId(BEGUN.at, BEGUN.time),
  plan,
});

export interface Scenario {
  after(...happenings: readonly Happening[]): Scenario;
  when(happening: Happening): Then;
  /** What the begin itself emits. */
  whenBegun(): Then;
}

export interface Then {
  thenEmits(...effects: readonly Expected[]): Then;
  /** M1: the same state object and no effects. */
  thenNothingHappens(): void;
  thenViews(view: PartialView): Then;
  /** Commands without a report, as `step phase attempt`. */
  thenOutstanding(...commands: readonly string[]): Then;
  /** Armed timers, as `kind step|phase due`, the due time in milliseconds after the begin. */
  thenTimers(...timers: readonly string[]): Then;
}

export interface PartialView extends Partial<Omit<RunView, 'steps'>> {
  readonly steps?: readonly Partial<StepView>[];
}

/** `const given = specOf(machine)`. */
export const specOf =
  <S>(machine: Machine<S>) =>
  (plan: CompiledPlan): Scenario =>
    scenario(machine, factsOf(plan), []);

function scenario<S>(machine: Machine<S>, facts: RunFacts, past: readonly Happening[]): Scenario {
  return {
    after: (...happenings) => scenario(machine, facts, [...past, ...happenings]),
    when: (happening) => then(machine, facts, [...past, happening]),
    whenBegun: () => then(machine, facts, []),
  };
}

function then<S>(machine: Machine<S>, facts: RunFacts, happenings: readonly Happening[]): Then {
  const run = new CheckedRun(machine, facts, BEGUN);
  let before = run.state;
  let event: Transition['event'] = { type: 'begun' };
  for (const happening of happenings) {
    before = run.state;
    const moment = momentOf(run, facts);
    const resolved = typeof happening === 'function' ? happening(moment) : { body: happening };
    run.feed(resolved.body, resolved.timeMs);
    event = resolved.body;
  }
  const moment = momentOf(run, facts);
  const note = (): void => {
    const { view: after } = moment;
    const { effects } = run;
    const isBegin = event.type === 'begun';
    const earlier = isBegin ? { ...after, phase: 'begin' } : machine.view(facts, before);
    const isUnchanged = run.state === before && !isBegin;
    noteTransition({ pattern: machine.pattern, event, before: earlier, after, effects, isUnchanged });
  };
  const verdict: Then = {
    thenEmits(...effects) {
      const expected = effects.map((effect) => (typeof effect === 'function' ? effect(moment) : effect));
      expect(run.effects).toStrictEqual(expected);
      note();
      return verdict;
    },
    thenNothingHappens() {
      expect(run.effects).toStrictEqual([]);
      expect(run.state, 'the same state object').toBe(before);
      note();
    },
    thenViews(view) {
      expect(moment.view).toMatchObject(view);
      return verdict;
    },
    thenOutstanding(...commands) {
      const actual = machine.outstanding(facts, run.state);
      expect(actual.map((c) => `${c.step} ${c.phase} ${c.attempt}`)).toStrictEqual(commands);
      return verdict;
    },
    thenTimers(...timers) {
      expect(moment.timers.map(describeTimer).sort()).toStrictEqual([...timers].sort());
      return verdict;
    },
  };
  return verdict;
}

/** For the report over the tables: what this spec asserted. */
function noteTransition(transition: Transition): void {
  const test = TestRunner.getCurrentTest();
  if (test === undefined) return;
  test.meta.transitions = [...new Set([...(test.meta.transitions ?? []), ...partsOf(transition)])];
}

const momentOf = <S>(run: CheckedRun<S>, facts: RunFacts): Moment => ({
  facts,
  begun: BEGUN,
  mark: run.mark,
  timers: run.machine.timers(facts, run.state),
  view: run.machine.view(facts, run.state),
});

const describeTimer = (timer: Timer): string =>
  [timer.kind, timer.step ?? timer.phase, timer.dueMs - BEGUN.time].filter((x) => x !== undefined).join(' ');

// Events

/** The same event `ms` after the begin. */
export const at =
  (ms: number, happening: Happening): Happening =>
  (moment) => ({
    body: typeof happening === 'function' ? happening(moment).body : happening,
    timeMs: BEGUN.time + ms,
  });

export const report = (
  step: string,
  phase: Phase,
  answer: Report['answer'],
  more: Partial<Report> = {},
): Body => ({ type: 'reported', step, phase, attempt: 1, answer, ...more });

/** The deadline that guards this now, at its due time or now if that is later. */
export const passed =
  (kind: DeadlineKind, which: { readonly step?: string; readonly phase?: Phase } = {}): Happening =>
  ({ timers, mark }) => {
    const timer = timers.find(
      (candidate) =>
        candidate.kind === kind &&
        (which.step === undefined || candidate.step === which.step) &&
        (which.phase === undefined || candidate.phase === which.phase),
    );
    if (timer === undefined)
      throw new Error(`no ${kind} timer is armed: ${timers.map(describeTimer).join(', ')}`);
    const { dueMs, ...rest } = timer;
    return { body: { type: 'deadline_passed', ...rest }, timeMs: Math.max(mark.time, dueMs) };
  };

export const cancelled = (reason = 'changed my mind'): Body => ({ type: 'cancelled', reason });
export const killed = (reason = 'beyond repair'): Body => ({ type: 'killed', reason });

type ItemEvent = 'item_retried' | 'item_skipped' | 'item_resolved';
/** An operator's answer to the item of attention that `step` has open now. */
export const operator =
  (type: ItemEvent, step: string, more: Readonly<Record<string, Json>> = {}): Happening =>
  ({ view }) => {
    const item = view.attention.find((candidate) => candidate.step === step);
    if (item === undefined) throw new Error(`${step} has no open item`);
    const { raised, phase } = item;
    return { body: { type, raised, step, phase, ...more } as unknown as Body };
  };

// Expected effects

/** A command's whole payload: attempt 1, caused by the event under test, due after the step's attempt time. */
export const command =
  (step: string, phase: Phase, more: Partial<CommandEffect> = {}): Expected =>
  ({ facts, begun, mark }) => {
    const planned = facts.plan.steps[facts.plan.indexOf.get(step) ?? -1];
    if (planned === undefined) throw new Error(`no step ${step}`);
    const finishes = phase === 'commit' || phase === 'precommit';
    const policy = finishes ? planned.commitRetry : planned.undoRetry;
    const { attemptMs } = isOpenPhase(phase) ? planned.retry : policy;
    const carriesInput = (isOpenPhase(phase) || isUndoPhase(phase)) && planned.input !== undefined;
    return {
      type: 'command',
      step,
      participant: planned.participant,
      phase,
      attempt: 1,
      action: planned.action,
      cause: mark,
      since: isUndoPhase(phase) ? begun.time : mark.time,
      ...(Number.isFinite(attemptMs) ? { due: mark.time + attemptMs } : {}),
      ...(carriesInput ? { input: planned.input } : {}),
      ...more,
    };
  };

/** The earliest newly armed timer, in milliseconds after the event under test. */
export const armIn =
  (ms: number): Expected =>
  ({ mark }) => ({ type: 'arm', dueMs: mark.time + ms });

export const decide = (value: 'commit' | 'abort' | 'undo', code?: string): Effect => ({
  type: 'decide',
  value,
  ...(code === undefined ? {} : { code }),
});
export const end = (outcome: OutcomeBody): Effect => ({ type: 'end', outcome });
export const tell = (outcome: OutcomeBody): Effect => ({ type: 'tell', outcome });
/** An item raised by the event under test. */
export const attend =
  (step: string, phase: Phase, more: Pick<AttentionItem, 'code' | 'message'>): Expected =>
  ({ mark }) => ({ type: 'attend', item: { raised: mark.at, step, phase, ...more } });
