/** The seam between a fold and whoever carries out what it implies. */
import type { Digest } from '../kernel/hash.ts';
import type { RunId } from '../kernel/position.ts';
import type { InputAddress } from '../kernel/subjects.ts';
import type { DeadlineEnvelope, DecidedEnvelope } from './envelopes.ts';
import type { AttentionItem, CommandEffect, Mark, OutcomeBody } from './machine.ts';
import type { Buried, RunRecord } from './run.ts';

/** One schema-checked envelope of the log. */
export interface FoldInput {
  readonly seq: number;
  readonly index: number;
  readonly timeMs: number;
  readonly address: InputAddress;
  readonly envelope: unknown;
  /** First 64 bits of the SHA-256 of the raw message. */
  readonly sha: Digest;
  /** Whether the message carried any `Nats-*` header, and `Nats-Msg-Id` in particular. */
  readonly natsHeaders: boolean;
  readonly identified: boolean;
}

/** What a fold implies. During replay the owner of the sink decides what to carry out, and when. */
export interface FoldSink {
  command(run: RunRecord, command: CommandEffect): void;
  /** The log implied a decision, an outcome or a refusal that must be written down, or (own ids) a verdict is due. */
  decided(run: RunRecord, what: 'decision' | 'outcome' | 'refusal' | 'verdict'): void;
  /** A written decision contradicts this fold: `conflict` must be appended. */
  contradicted(run: RunRecord, note: DecidedEnvelope): void;
  /** `ended` is false when the caller is told early because items wait for a person. */
  told(run: RunRecord, outcome: OutcomeBody, ended: boolean): void;
  /** A later begin of an own id was judged: the caller that sent it must be told. */
  judged(run: RunRecord, verdict: 'duplicate' | 'mismatch', of: RunId | undefined): void;
  /** Steps died: they go to the dead letters of their participants before the run's outcome is written down. */
  buried(run: RunRecord, dead: Buried): void;
  armed(run: RunRecord, dueMs: number): void;
  attend(
    run: RunRecord | undefined,
    item: AttentionItem & { readonly tx: string; readonly run: RunId },
  ): void;
  /** The input changed this run. */
  accepted(run: RunRecord, input: FoldInput): void;
  /** A deadline was read back; whether or not it counted, the timer may be looked at again. */
  deadlineRead(run: RunRecord, deadline: DeadlineEnvelope, mark: Mark): void;
  /** The run left memory. */
  left(run: RunRecord): void;
  /** Belongs to nobody, or forbidden. */
  dead(input: FoldInput, problem: string): void;
  /** This build does not know a machine version that was enabled: folding must stop (Rule 3). */
  halt(why: string): void;
}
