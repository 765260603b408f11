/** The machine that all staged patterns share: apply the event, then what the state implies, then the difference. */
import { isUndoPhase } from '../../kernel/vocabulary.ts';
import { settle } from '../act.ts';
import type { Machine, MachineEvent, RunFacts } from '../machine.ts';
import { isDue, stay } from '../machine.ts';
import { advance } from './advance.ts';
import { OVERDUE } from './answers.ts';
import { effectsOf, expiryOf, outstanding, timers } from './effects.ts';
import { gateDeadline, signalled } from './gate.ts';
import { cancelled, forced, itemResolved, itemRetried, itemSkipped, turnBack } from './operate.ts';
import { failStep, stageDeadline, stageReported } from './stage.ts';
import type { Shape, Turn } from './shape.ts';
import { at, goBack, type StagedState, type StepState } from './state.ts';
import { undoDeadline, undoReported } from './undo.ts';
import { view } from './view.ts';

const WAITING: StepState = { status: 'waiting' };

export const stagedMachine = (shape: Shape): Machine<StagedState> => ({
  pattern: shape.pattern,
  version: 1,
  start(facts, mark) {
    const { plan } = facts;
    const bounds = plan.deadlines.run;
    const state: StagedState = {
      phase: 'forward',
      steps: plan.steps.map(() => WAITING),
      deadline: bounds === undefined ? undefined : { armed: mark.at, dueMs: mark.time + bounds.lowerMs },
      latched: undefined,
      gate: shape.gateOf(plan),
    };
    const after = advance({ shape, facts, state, mark });
    return { state: after, effects: effectsOf(facts, { before: undefined, after, mark }) };
  },
  step(facts: RunFacts, state: StagedState, event: MachineEvent) {
    const { mark } = event;
    const applied = apply({ shape, facts, state, mark }, event);
    if (applied === state) return stay(state);
    const after = advance({ shape, facts, state: applied, mark });
    return { state: after, effects: effectsOf(facts, { before: state, after, mark }) };
  },
  outstanding,
  timers: (facts, state) => timers(shape, facts, state),
  view,
});

function apply(turn: Turn, event: MachineEvent): StagedState {
  if (turn.state.phase === 'ended') return turn.state;
  switch (event.type) {
    case 'reported': {
      const index = turn.facts.plan.indexOf.get(event.step);
      if (index === undefined) return turn.state;
      return isUndoPhase(event.phase) ? undoReported(turn, index, event) : stageReported(turn, index, event);
    }
    case 'deadline_passed':
      return deadlinePassed(turn, event);
    case 'cancelled':
      return cancelled(turn, event);
    case 'item_retried':
      return itemRetried(turn, event);
    case 'item_skipped':
      return itemSkipped(turn, event);
    case 'item_resolved':
      return itemResolved(turn, event);
    case 'forced':
      return forced(turn, event);
    case 'killed': {
      const outcome = { status: 'killed', code: 'killed', message: event.reason } as const;
      return { phase: 'ended', steps: turn.state.steps, outcome };
    }
    case 'signalled':
      return signalled(turn, event);
  }
}

type DeadlinePassed = Extract<MachineEvent, { readonly type: 'deadline_passed' }>;

function deadlinePassed(turn: Turn, event: DeadlinePassed): StagedState {
  const { state, facts } = turn;
  if (event.kind === 'run') return runDeadline(turn, event);
  if (event.kind === 'gate') return gateDeadline(turn, event);
  const index = event.step === undefined ? undefined : facts.plan.indexOf.get(event.step);
  if (index === undefined) return state;
  if (event.kind === 'reservation') return expired(turn, index, event);
  if (event.phase === undefined) return state;
  return isUndoPhase(event.phase) ? undoDeadline(turn, index, event) : stageDeadline(turn, index, event);
}

function runDeadline(turn: Turn, event: DeadlinePassed): StagedState {
  const { state, mark } = turn;
  if (state.phase !== 'forward' && state.phase !== 'committed') return state;
  if (!isDue(state.deadline, { mark, armed: event.armed })) return state;
  if (state.phase === 'forward')
    return turnBack(turn, { ...state, deadline: undefined }, { status: 'compensated', ...OVERDUE });
  let stopped: StagedState = { ...state, deadline: undefined };
  for (const [index, entry] of stopped.steps.entries()) {
    if (entry.status !== 'running') continue;
    const act = settle(entry.act);
    stopped = failStep({ ...turn, state: stopped }, { index, act, failure: OVERDUE });
  }
  return stopped;
}

/** A reservation has ended before its execute was commanded. What is under way settles; then all is released. */
function expired(turn: Turn, index: number, event: DeadlinePassed): StagedState {
  const { state, mark, facts } = turn;
  if (state.phase !== 'forward') return state;
  if (!isDue(expiryOf(at(state.steps, index)), { mark, armed: event.armed })) return state;
  const { step } = at(facts.plan.steps, index);
  return goBack(state.steps, { status: 'compensated', code: 'expired', step });
}
