/** What a fold asks about one run and one input before it folds it: no effects, no memory. */
import { comparePositions, position, runId, type Position } from '../kernel/position.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import type { BeginEnvelope, DeadlineEnvelope, ReportEnvelope } from './envelopes.ts';
import type { FoldInput } from './fold-sink.ts';
import type { Machine, Mark } from './machine.ts';
import { emptyPlan, newRun, type RunRecord } from './run.ts';

/** An input's time is the later of its own timestamp and the run's clock (Rule 2). */
export const markOf = (run: RunRecord, input: FoldInput): Mark => ({
  at: position(input.seq, input.index),
  time: Math.max(input.timeMs, run.clockMs),
});

/** The run that a begin begins; `plan` is missing when it was refused. */
export function recordOf(
  input: FoldInput,
  begin: BeginEnvelope,
  kind: { pattern: Pattern; machine: Machine<unknown>; plan: CompiledPlan | undefined },
): RunRecord {
  const { pattern, machine } = kind;
  const begun: Mark = { at: position(input.seq, input.index), time: input.timeMs };
  const plan = kind.plan ?? emptyPlan(pattern, begin.plan.name);
  const facts = { pattern, tx: begin.tx, run: runId(begun.at, begun.time), plan };
  return newRun({ facts, machine, begin, begun, sender: input.address.sender, input });
}

export function maySignal(run: RunRecord, sender: string, name: string): boolean {
  const named = run.begin.allow?.signal ?? {};
  // Names are the client's: `constructor` must not find what every object inherits.
  const allowed = (Object.hasOwn(named, name) ? named[name] : undefined) ?? [run.sender];
  return sender === 'operator' || allowed.includes(sender);
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

/** Up to where a restored log is the one that was written (Rule 5). */
export interface Survived {
  readonly at: Position;
  readonly timeMs: number;
}

/** Its cause was in a part of the log that a recovery gave up (Rule 5). */
export const isLostLog = (report: ReportEnvelope, survived: Survived | undefined): boolean =>
  survived !== undefined &&
  report.cause.time < survived.timeMs &&
  comparePositions(report.cause.at, survived.at) > 0;
