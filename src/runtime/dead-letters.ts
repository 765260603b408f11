/** Whatever could not be processed goes to `dead.{pattern}.{participant}`, keyed by its position. */
import type { Position } from '../kernel/position.ts';
import { streamOf, subjects } from '../kernel/subjects.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { World } from '../ports/world.ts';
import { MAX_MESSAGE_CHARS } from '../protocol/limits.ts';

export interface DeadLetter {
  readonly pattern: Pattern;
  /** Who could not process it: a participant, or `coordinator`. */
  readonly participant: string;
  readonly position: Position;
  /** Where it was published. */
  readonly subject: string;
  readonly problem: string;
  /** The envelope, or the whole body where no envelope could be told apart. */
  readonly data: Uint8Array;
}

/** Bytes of the original that a dead letter keeps. */
export const DEAD_LETTER_DATA_BYTES = 131_072;

/**
 * Stores one dead letter; resolves false when it could not be stored (logged). The same position is stored once
 * within the duplicate window; readers tell repeated ones by `position`.
 */
export async function storeDeadLetter(world: World, letter: DeadLetter): Promise<boolean> {
  const { pattern, participant, position, subject, problem, data } = letter;
  const body = {
    v: 1,
    position,
    subject,
    problem: problem.slice(0, MAX_MESSAGE_CHARS),
    data: Buffer.from(data.subarray(0, DEAD_LETTER_DATA_BYTES)).toString('base64'),
    ...(data.byteLength > DEAD_LETTER_DATA_BYTES ? { truncated: true } : {}),
  };
  const msgId = `${streamOf(pattern)}.${position}`;
  world.logger.warn({ pattern, participant, position, subject, problem }, 'dead letter');
  try {
    await world.log.append(subjects.dead(pattern, participant), Buffer.from(JSON.stringify(body)), { msgId });
    return true;
  } catch (err) {
    world.logger.error({ err, position, subject, problem }, 'a dead letter could not be stored');
    return false;
  }
}
