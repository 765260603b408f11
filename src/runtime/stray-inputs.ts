/**
 * Inputs that no shard reads: published for a shard that does not exist, or on a subject that means nothing. The stream
 * takes them, so somebody has to say that they belong to nobody.
 */
import { parseInputSubject, streamOf, subjects, type Subject } from '../kernel/subjects.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { Timeout } from '../ports/clock.ts';
import type { LogSubscription } from '../ports/log.ts';
import type { World } from '../ports/world.ts';
import type { DeadLetter } from './dead-letters.ts';

export interface StrayInputsOptions {
  readonly world: World;
  readonly pattern: Pattern;
  readonly shards: number;
  readonly deadLetter: (letter: DeadLetter) => void;
}

/** Subjects are few and stray ones rare: a look at the list now and then costs less than reading everything twice. */
const LOOK_EVERY_MS = 15_000;
/** Somebody who invents subjects must not cost a reader each. */
const MAX_STRAYS = 32;

export class StrayInputs {
  readonly #options: StrayInputsOptions;
  readonly #readers = new Map<string, LogSubscription | undefined>();
  #next: Timeout | undefined;
  #closed = false;

  constructor(options: StrayInputsOptions) {
    this.#options = options;
    this.#look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#next?.cancel();
    for (const reader of this.#readers.values()) await reader?.close();
  }

  #look(): void {
    const { world, pattern } = this.#options;
    world.log
      .subjects(streamOf(pattern), subjects.allInputs(pattern))
      .then((found) => this.#read(found.filter((subject) => this.#isStray(subject))))
      .catch((err: unknown) => {
        world.logger.debug({ err }, 'looking for stray inputs');
      })
      .finally(() => {
        if (!this.#closed) this.#next = world.clock.after(LOOK_EVERY_MS, () => this.#look());
      });
  }

  #isClosed(): boolean {
    return this.#closed;
  }

  #isStray(subject: string): boolean {
    const address = parseInputSubject(subject);
    return address === undefined || address.shard >= this.#options.shards;
  }

  async #read(strays: readonly string[]): Promise<void> {
    const { world, pattern } = this.#options;
    for (const subject of strays) {
      if (this.#isClosed() || this.#readers.has(subject) || this.#readers.size >= MAX_STRAYS) continue;
      this.#readers.set(subject, undefined);
      const reader = await world.log.read({
        stream: streamOf(pattern),
        // Found in the stream, not built: it is what it is.
        filters: [subject as Subject],
        after: 0,
        onMessage: ({ seq, data }) => {
          this.#bury({ position: `${seq}.0`, subject, data });
        },
        onLost: () => this.#readers.delete(subject),
      });
      // Closed or lost meanwhile: nobody else would close it.
      if (this.#readers.has(subject) && !this.#isClosed()) this.#readers.set(subject, reader);
      else await reader.close();
    }
  }

  #bury(letter: Pick<DeadLetter, 'position' | 'subject' | 'data'>): void {
    const { pattern, shards, deadLetter } = this.#options;
    const known = parseInputSubject(letter.subject) !== undefined;
    const problem = known ? `no such shard: the stream has ${shards}` : 'nobody reads this subject';
    deadLetter({ ...letter, pattern, participant: 'coordinator', problem });
  }
}
