/** The logs of several patterns, replayed for a command. */
import { ulidTimeMs } from '../kernel/ids.ts';
import { PATTERNS, type Pattern } from '../kernel/vocabulary.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { World } from '../ports/world.ts';
import { replayLog, type AuditProblem, type Story } from '../runtime/audit.ts';

/** How far a client's clock, in the id it made, may be from the server's. */
const CLOCK_SLACK_MS = 300_000;

export interface ReplayChoices {
  /** Default: every pattern this build can replay and the server has. */
  readonly patterns?: readonly Pattern[] | undefined;
  readonly tx?: string | undefined;
  readonly sinceMs?: number | undefined;
  readonly signal: AbortSignal;
  readonly onStory: (story: Story) => void;
  readonly onProblem?: (problem: AuditProblem & { readonly pattern: Pattern }) => void;
}

/** @throws {PhasorError} as `replayLog`; `CONFIG_INVALID` for a pattern without a machine. */
export async function replayAll(world: World, choices: ReplayChoices): Promise<void> {
  const { tx, signal, onStory, onProblem } = choices;
  // A fresh id carries its time: nothing about it is older.
  const born = tx === undefined ? undefined : ulidTimeMs(tx);
  const sinceMs = choices.sinceMs ?? (born === undefined ? undefined : Math.max(0, born - CLOCK_SLACK_MS));
  let missing: PhasorError | undefined;
  let replayed = 0;
  for (const pattern of choices.patterns ?? PATTERNS) {
    try {
      await replayLog(world, {
        pattern,
        ...(tx === undefined ? {} : { txs: [tx] }),
        ...(sinceMs === undefined ? {} : { sinceMs }),
        onStory,
        onProblem: (problem) => onProblem?.({ pattern, ...problem }),
        enough: () => signal.aborted,
      });
      replayed += 1;
    } catch (error) {
      // A deployment need not have every pattern's stream; one that was asked for must be there.
      if (!PhasorError.is(error, 'STREAM_MISSING') || choices.patterns !== undefined) throw error;
      missing = error;
    }
  }
  if (replayed === 0 && missing !== undefined) throw missing;
}
