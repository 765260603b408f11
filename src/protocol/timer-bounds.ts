import { isOpenPhase } from '../kernel/vocabulary.ts';
import type { Bounds, CompiledPlan } from './compiled-plan.ts';
import type { Timer } from './machine.ts';

/**
 * The bounds that a plan gives to what this timer guards; undefined where there is nothing to choose (attempts, back-offs,
 * gates, reservations, starts). The machine counts from the lower one, whatever an expiry strategy does (DESIGN §3).
 */
export function boundsOf(plan: CompiledPlan, { kind, step, phase }: Timer): Bounds | undefined {
  switch (kind) {
    case 'run':
      return plan.deadlines.run;
    case 'phase':
      return phase === undefined ? undefined : plan.deadlines[phase];
    case 'step': {
      if (phase === undefined) return undefined;
      // A step's own deadline bounds its acts; what closes them has the plan's alone.
      if (!isOpenPhase(phase)) return plan.deadlines[phase];
      const index = step === undefined ? undefined : plan.indexOf.get(step);
      const own = index === undefined ? undefined : plan.steps[index]?.deadline;
      return own ?? plan.deadlines[phase];
    }
    case 'attempt':
    case 'backoff':
    case 'start':
    case 'gate':
    case 'reservation':
      return undefined;
  }
}
