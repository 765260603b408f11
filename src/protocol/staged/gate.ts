/** The gate of 2PS-OV: a delay, a person's approval, or both, once every step is prepared. */
import type { Gate } from '../compiled-plan.ts';
import { isDue, type Mark, type MachineEvent } from '../machine.ts';
import type { Turn } from './shape.ts';
import { goBack, type GateState, type StagedState } from './state.ts';

export const GATE_AHEAD: GateState = { status: 'ahead', approved: false, due: undefined };

const isSatisfied = (plan: Gate, { approved, due }: GateState): boolean =>
  due === undefined && (approved || plan.signal === undefined);

/** Every step is prepared: the delay begins, and whatever is satisfied already opens the gate. */
export function reachGate(plan: Gate, gate: GateState, mark: Mark): GateState {
  const { delayMs = 0 } = plan;
  const due = delayMs === 0 ? undefined : { armed: mark.at, dueMs: mark.time + delayMs };
  return opened(plan, { status: 'waiting', approved: gate.approved, due });
}

const opened = (plan: Gate, gate: GateState): GateState =>
  gate.status === 'waiting' && isSatisfied(plan, gate) ? { ...gate, status: 'open' } : gate;

export function gateDeadline(turn: Turn, event: { readonly armed: string }): StagedState {
  const { state, mark, facts } = turn;
  const plan = facts.plan.gate;
  if (state.phase !== 'forward' || state.gate === undefined || plan === undefined) return state;
  if (!isDue(state.gate.due, { mark, armed: event.armed })) return state;
  return { ...state, gate: opened(plan, { ...state.gate, due: undefined }) };
}

/** Latched from the begin on. A rejection counts at once; what comes after the gate has opened counts no more. */
export function signalled(
  turn: Turn,
  event: Extract<MachineEvent, { readonly type: 'signalled' }>,
): StagedState {
  const { state, facts } = turn;
  const plan = facts.plan.gate;
  if (state.phase !== 'forward' || state.gate === undefined || plan === undefined) return state;
  const { gate } = state;
  if (event.name !== plan.signal || gate.approved || gate.status === 'open') return state;
  if (event.verdict === 'reject')
    return goBack(state.steps, { status: 'compensated', code: 'rejected', message: event.reason });
  if (event.verdict !== 'approve') return state;
  return { ...state, gate: opened(plan, { ...gate, approved: true }) };
}
