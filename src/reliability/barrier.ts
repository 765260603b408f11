/**
 * The seam between a worker and the barriers (DESIGN §4). A barrier catches duplicates, *empty* undos (before their
 * act arrived) and *late* acts (after their undo). `kv` is built in (barrier-kv.ts), database barriers are adapters.
 */
import { invariant } from '../kernel/assert.ts';
import { isParticipant } from '../kernel/ids.ts';
import type { Json } from '../kernel/json.ts';
import type { Position } from '../kernel/position.ts';
import type { Pattern, Phase } from '../kernel/vocabulary.ts';
import type { Report } from '../protocol/machine.ts';

/** A report without the identity that the worker adds. */
export type Reply = Omit<Report, 'step' | 'phase' | 'attempt'>;

/** What of a command concerns a barrier. */
export interface GuardedCommand {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: string;
  readonly step: string;
  readonly phase: Phase;
  readonly attempt: number;
  /** Stream time in ms: first command of the phase; in an undo, of its act's. */
  readonly since: number;
  /** Undos: the act is known to have run. */
  readonly ran: boolean;
  /** Undos: what attempts before this one answered does not count. */
  readonly redo?: number | undefined;
  /** Delivered before: an earlier execution of this command may have left something. */
  readonly redelivered: boolean;
  /** 3PC, prepare and precommit: what the participant needs to end the step on its own later. */
  readonly standing?: Pick<Standing, 'at' | 'waitMs'> | undefined;
}

/** A step between prepare and its end (3PC): it answered, and must hear more. */
export interface Standing {
  /** `prepare`: it ends by abort. `precommit`: it ends by commit. */
  readonly phase: 'prepare' | 'precommit';
  /** Position in the stream of the command that it answered. */
  readonly at: Position;
  /** From the record's last write; then, with nothing more heard, the participant ends it on its own. */
  readonly waitMs: number;
}

export interface Permit {
  /** The step's last recorded output, for commands that carry none. */
  readonly output?: Json;
  /** Whatever a barrier hands to the handler as `call.context`: a database transaction, say. */
  readonly context?: unknown;
}

/** What a barrier learns about the execution it guards. */
export interface Execution {
  /** Runs the handler. Never rejects; what was thrown is an `unknown`. */
  run(permit: Permit): Reply | Promise<Reply>;
  /** Nobody waits for it any more: it ran out of time. Its claim need not be kept alive. */
  readonly abandoned: boolean;
}

/**
 * Never rejects: a barrier that cannot be reached answers `retry` and runs nothing.
 */
export interface Barrier {
  readonly name: string;
  /**
   * Answers from the record or runs the handler under the record's guard. The reply says `mayHaveRun` where the
   * barrier cannot prove that earlier executions left nothing behind, and `lateEffect` where the effect came too late.
   */
  guard(command: GuardedCommand, execution: Execution): Reply | Promise<Reply>;
  /**
   * What `guard` would answer because the record holds the phase's answer; undefined: it holds none that counts. Runs
   * and writes nothing.
   *
   * @throws {PhasorError} what a read may meet.
   */
  recall(command: GuardedCommand): Promise<Reply | undefined>;
}

/** One record per run and step. */
export const barrierKey = ({
  pattern,
  tx,
  run,
  step,
}: Pick<GuardedCommand, 'pattern' | 'tx' | 'run' | 'step'>): string => `${pattern}.${tx}.${run}.${step}`;

/** The barrier bucket of one participant (Rule 8: one each, so that a participant can harm only its own). */
export function barrierBucket(participant: string): string {
  invariant(isParticipant(participant), `not a participant: ${JSON.stringify(participant)}`);
  return `DTX_BARRIER_${participant}`;
}
