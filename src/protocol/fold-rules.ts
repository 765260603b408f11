/** What a fold asks about one run and one input before it folds it: no effects, no memory. */
import { canonicalJson } from '../kernel/json.ts';
import { comparePositions, position, runId, type Position } from '../kernel/position.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import type { BeginEnvelope, DeadlineEnvelope, ReportEnvelope, SignalEnvelope } from './envelopes.ts';
import type { FoldInput } from './fold-sink.ts';
import type { Burial, Machine, Mark, OutcomeBody } from './machine.ts';
import {
  emptyPlan,
  isOpen,
  newRun,
  type Beside,
  type Buried,
  type LatchedSignal,
  type RunRecord,
} from './run.ts';

/** An input's time is the later of its own timestamp and the run's clock (Rule 2). */
export const markOf = (run: RunRecord, input: FoldInput): Mark => ({
  at: position(input.seq, input.index),
  time: Math.max(input.timeMs, run.clockMs),
});

/** The run that a begin begins; `plan` is missing when it was refused, `named` is what its id named before. */
export function recordOf(
  input: FoldInput,
  begin: BeginEnvelope,
  kind: {
    pattern: Pattern;
    machine: Machine<unknown>;
    plan: CompiledPlan | undefined;
    named: RunRecord | undefined;
  },
): RunRecord {
  const { pattern, machine } = kind;
  const begun: Mark = { at: position(input.seq, input.index), time: input.timeMs };
  const plan = kind.plan ?? emptyPlan(pattern, begin.plan.name);
  const facts = { pattern, tx: begin.tx, run: runId(begun.at, begun.time), plan };
  const run = newRun({ facts, machine, begin, begun, sender: input.address.sender, input });
  if (begin.id === 'own') run.beside = besideOf(kind.named, run);
  return run;
}

/**
 * Rule 7: an own begin whose id names an open fresh run begins none. That run has no key to judge by, so the verdict is
 * formed where the begin stands in the log. As ever the first one that is written down counts.
 */
function besideOf(named: RunRecord | undefined, run: RunRecord): Beside | undefined {
  if (named?.begin.id !== 'fresh' || !isOpen(named)) return undefined;
  const same = canonicalJson(named.begin.plan) === canonicalJson(run.begin.plan);
  return { value: same ? 'duplicate' : 'mismatch', of: named.facts.run };
}

/** What follows a 1.5PS is one act more, of no step: its child's coordinator reports it under this name. */
const EVENTUAL_STEP = 'eventual';

/** Who may report a step (Rule 8); undefined: nobody. */
export function ownerOf(plan: CompiledPlan, step: string): string | undefined {
  const index = plan.indexOf.get(step);
  if (index !== undefined) return plan.steps[index]?.participant;
  return step === EVENTUAL_STEP && plan.eventual !== undefined ? 'coordinator' : undefined;
}

/** Why a signal is refused. A gate could never open if a signal without a verdict were the first of its name. */
export function signalProblem(
  run: RunRecord,
  sender: string,
  { name, verdict }: Pick<SignalEnvelope, 'name' | 'verdict'>,
): string | undefined {
  const named = run.begin.allow?.signal ?? {};
  // Names are the client's: `constructor` must not find what every object inherits.
  const allowed = (Object.hasOwn(named, name) ? named[name] : undefined) ?? [run.sender];
  if (sender !== 'operator' && !allowed.includes(sender)) return `${sender} may not signal ${name}`;
  if (run.facts.plan.gate?.signal !== name) return `no gate of this run waits for ${name}`;
  return verdict === undefined ? `${name} needs a verdict: a gate waits for it` : undefined;
}

/** Latches a signal that a gate waits for, and no other: what a run keeps is bounded by its plan. */
export function latched(run: RunRecord, signal: SignalEnvelope): LatchedSignal | undefined {
  const { name, verdict, reason } = signal;
  if (!isOpen(run) || signalProblem(run, 'operator', signal) !== undefined) return undefined;
  if (run.signals.some((known) => known.name === name)) return undefined;
  const found: LatchedSignal = { name, verdict, reason };
  run.signals = [...run.signals, found];
  return found;
}

export function mayCancel(run: RunRecord, sender: string): boolean {
  const allowed = run.begin.allow?.cancel ?? [run.sender];
  return sender === 'operator' || sender === 'coordinator' || allowed.includes(sender);
}

/** The delayed start that this run waits for, due by now. */
export const isStart = (run: RunRecord, { kind, armed }: DeadlineEnvelope, mark: Mark): boolean =>
  kind === 'start' &&
  run.phase === 'scheduled' &&
  run.frozen === undefined &&
  armed === run.begun.at &&
  mark.time >= (run.begin.startAt ?? 0);

/** How a run is over; undefined while it is open. */
export const endOf = ({ refusal, outcomeBody }: RunRecord): OutcomeBody | undefined =>
  refusal === undefined ? outcomeBody : { status: 'refused', ...refusal };

/** `run` was found to be a duplicate of `original`, which answers for both. */
export function follow(original: RunRecord, run: RunRecord): void {
  original.duplicates += 1;
  const { parent } = run.begin;
  if (parent !== undefined) original.parents = [...original.parents, parent];
}

/** Notes what died at this input. */
export function buriedAt(run: RunRecord, { at }: Mark, burials: readonly Burial[]): Buried {
  const dead = { at, burials };
  run.buried = [...run.buried, dead];
  return dead;
}

/** Up to where a restored log is the one that was written (Rule 5). */
export interface Survived {
  readonly at: Position;
  readonly timeMs: number;
}

/** A recovery that is told again is the first one: what the log holds since then was not lost. */
export const recovered = (known: readonly Survived[], next: Survived): readonly Survived[] =>
  known.some(({ at }) => at === next.at) ? known : [...known, next];

/** Its cause was in a part of the log that a recovery gave up (Rule 5). */
export const isLostLog = ({ cause }: ReportEnvelope, survived: readonly Survived[]): boolean =>
  survived.some(({ at, timeMs }) => cause.time < timeMs && comparePositions(cause.at, at) > 0);

/**
 * Attention that a report raises although no run waits for it. After the end only one that itself says `lateEffect`
 * counts, from its content alone (DESIGN §3).
 */
export const strayCodes = ({ lateEffect }: ReportEnvelope, isLost: boolean): readonly string[] => [
  ...(lateEffect === true ? ['late-effect'] : []),
  ...(isLost ? ['lost-log'] : []),
];

/** Of the letter that shows such a report: nobody is left whose view could. */
export const LOST_LOG =
  'lost-log: it answers a part of the log that is gone, about a run that is not open here';
