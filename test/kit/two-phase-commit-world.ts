/**
 * The world around one run of 2PC or 3PC: participants behind a barrier, and the messages in flight. Everything is plain data, so
 * that a search can copy it; a move changes the world and may hand the machine a report.
 */
import type { Phase } from '../../src/kernel/vocabulary.ts';
import type { Effect, Report } from '../../src/protocol/machine.ts';

/** How a participant votes; `slow` answers retry to its first attempt and then yes. */
export type Inclination = 'yes' | 'no' | 'read-only' | 'slow';

export interface Participant {
  readonly votes: Inclination;
  /** Its barrier record, the truth of what it did. */
  readonly record: 'none' | 'prepared' | 'precommitted' | 'refused' | 'read-only' | 'committed' | 'aborted';
  /** It ended on its own, its coordinator being silent (3PC). */
  readonly terminated?: true;
  /** Attempts answered `retry`: the barrier answers them so again. */
  readonly retried: readonly number[];
}

export interface InFlight {
  readonly step: number;
  readonly phase: Phase;
  readonly attempt: number;
  /** Delivered before: the worker cannot prove that an earlier execution left nothing. */
  readonly again?: true;
}
export interface ReportInFlight extends InFlight {
  readonly answer: Report['answer'];
  readonly result?: 'committed' | 'aborted';
  readonly mayHaveRun?: true;
}

export interface World {
  readonly participants: readonly Participant[];
  readonly commands: readonly InFlight[];
  readonly reports: readonly ReportInFlight[];
}

export const worldOf = (votes: readonly Inclination[]): World => ({
  participants: votes.map((inclination) => ({ votes: inclination, record: 'none', retried: [] })),
  commands: [],
  reports: [],
});

export const STEP_NAMES = ['a', 'b', 'c', 'd', 'e'];

/** Commands leave the machine. */
export function send(world: World, effects: readonly Effect[]): World {
  const sent = effects.flatMap((effect) =>
    effect.type === 'command'
      ? [{ step: STEP_NAMES.indexOf(effect.step), phase: effect.phase, attempt: effect.attempt }]
      : [],
  );
  return sent.length === 0 ? world : { ...world, commands: [...world.commands, ...sent] };
}

type Fate = 'delivered' | 'duplicated' | 'crashed before' | 'crashed after' | 'reported unknown';
/** `crashed`: no report, the stream delivers again; `unknown`: the worker's next life reports that it crashed. */
export const FAULTS: readonly Fate[] = ['duplicated', 'crashed after', 'reported unknown'];

/** A worker takes the command at `index`. */
export function deliver(world: World, index: number, fate: Fate): World {
  const command = world.commands[index]!;
  const rest = world.commands.filter((_, other) => other !== index);
  const again: InFlight = { ...command, again: true };
  if (fate === 'crashed before') return { ...world, commands: [...rest, again] };
  const { participant, answer } = act(world.participants[command.step]!, command);
  const participants = world.participants.map((other, step) => (step === command.step ? participant : other));
  if (fate === 'crashed after') return { ...world, participants, commands: [...rest, again] };
  const isNo = answer === 'refused' || answer === 'retry';
  const told: ReportInFlight = {
    step: command.step,
    phase: command.phase,
    attempt: command.attempt,
    answer: fate === 'reported unknown' ? 'unknown' : answer,
    ...(command.again === true && isNo && fate !== 'reported unknown' ? { mayHaveRun: true } : {}),
  };
  const commands = fate === 'duplicated' ? [...rest, again] : rest;
  return { participants, commands, reports: [...world.reports, told] };
}

/** What the barrier lets through, and what is answered. */
function act(
  participant: Participant,
  command: InFlight,
): { participant: Participant; answer: Report['answer'] } {
  const { record, votes, retried } = participant;
  const become = (next: Participant['record'], answer: Report['answer']) => ({
    participant: { ...participant, record: next },
    answer,
  });
  switch (command.phase) {
    case 'prepare':
    case 'commit-one-phase': {
      const done = command.phase === 'prepare' ? 'prepared' : 'committed';
      if (record === done || record === 'precommitted' || record === 'committed')
        return { participant, answer: 'done' };
      if (record === 'read-only') return { participant, answer: 'read-only' };
      if (record !== 'none') return { participant, answer: 'refused' };
      if (votes === 'no') return become('refused', 'refused');
      if (votes === 'read-only') return become('read-only', 'read-only');
      if (votes === 'slow' && (retried.length === 0 || retried.includes(command.attempt))) {
        return { participant: { ...participant, retried: [command.attempt] }, answer: 'retry' };
      }
      return become(done, 'done');
    }
    case 'precommit':
      if (record === 'precommitted' || record === 'committed') return { participant, answer: 'done' };
      return record === 'prepared' ? become('precommitted', 'done') : { participant, answer: 'conflict' };
    case 'commit':
      if (record === 'committed') return { participant, answer: 'done' };
      return record === 'prepared' || record === 'precommitted'
        ? become('committed', 'done')
        : { participant, answer: 'conflict' };
    case 'abort':
      // A tombstone also where nothing was prepared yet: it stops the act that comes late.
      return record === 'committed' || record === 'precommitted'
        ? { participant, answer: 'conflict' }
        : become('aborted', 'done');
    default:
      throw new Error(`2PC has no ${command.phase}`);
  }
}

/** Whether the participant may end on its own: it stands in between, and has taken in all that was sent to it. */
export const mayTerminate = (world: World, step: number): boolean =>
  ['prepared', 'precommitted'].includes(world.participants[step]!.record) &&
  world.commands.every((command) => command.step !== step);

/** 3PC: abort from prepared, commit from precommitted, in the name of its first command there. */
export function terminate(world: World, step: number): World {
  const { record } = world.participants[step]!;
  const result = record === 'precommitted' ? 'committed' : 'aborted';
  const phase = record === 'precommitted' ? 'precommit' : 'prepare';
  const participants = world.participants.map((other, index): Participant =>
    index === step ? { ...other, record: result, terminated: true as const } : other,
  );
  const report: ReportInFlight = { step, phase, attempt: 1, answer: 'terminated', result };
  return { ...world, participants, reports: [...world.reports, report] };
}

/** The report at `index`, as the log brings it to the machine. */
export function reportAt(world: World, index: number): Report & { readonly type: 'reported' } {
  const { step, again: _, ...report } = world.reports[index]!;
  return { type: 'reported', step: STEP_NAMES[step]!, ...report };
}

export const withoutReport = (world: World, index: number): World => ({
  ...world,
  reports: world.reports.filter((_, other) => other !== index),
});

export function isSplit(world: World): boolean {
  const records = world.participants.map(({ record }) => record);
  return records.includes('committed') && records.includes('aborted');
}

/** What the participants' own records say is wrong now, whatever the machine believes. */
export function violationOf(world: World): string | undefined {
  const records = world.participants.map(({ record }) => record);
  if (!records.includes('committed')) return undefined;
  if (isSplit(world)) return 'one participant committed and another aborted';
  const unwilling = world.participants.some(({ votes }) => votes === 'no');
  return unwilling ? 'committed although a participant voted no' : undefined;
}

/** What is wrong when nothing is in flight any more and the run has ended as `status`. */
export function leftoverOf(world: World, status: string): string | undefined {
  const records = world.participants.map(({ record }) => record);
  if (records.includes('prepared') || records.includes('precommitted'))
    return 'a participant is still prepared and holds its locks';
  const committed = records.includes('committed');
  const all = records.every((record) => record === 'committed' || record === 'read-only');
  if (status === 'committed') return all ? undefined : 'committed, but not everywhere';
  if (status === 'aborted' || status === 'cancelled')
    return committed ? 'aborted, but committed somewhere' : undefined;
  return `ended ${status} without anybody having contradicted`;
}
