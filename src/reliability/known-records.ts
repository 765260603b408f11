/** Barrier records that this process wrote last: good enough to try a write with, not to answer from. */
import type { GuardedCommand } from './barrier.ts';
import type { BarrierRecord } from './barrier-table.ts';

interface Known {
  readonly record: BarrierRecord;
  readonly revision: number;
}

/** At most `max` of them; the oldest goes first. */
export class KnownRecords {
  readonly #known = new Map<string, Known>();

  constructor(private readonly max: number) {}

  get(key: string): Known | undefined {
    return this.#known.get(key);
  }

  delete(key: string): void {
    this.#known.delete(key);
  }

  set(key: string, known: Known): void {
    this.#known.set(key, known);
    if (this.#known.size <= this.max) return;
    const oldest = this.#known.keys().next();
    if (oldest.done !== true) this.#known.delete(oldest.value);
  }
}

/** Nothing was commanded to its step before, as far as the command itself tells. */
export function beginsItsStep({ phase, pattern, attempt, redelivered }: GuardedCommand): boolean {
  const begins =
    phase === 'prepare' ||
    phase === 'reserve' ||
    phase === 'commit-one-phase' ||
    (phase === 'execute' && (pattern === 'saga' || pattern === 'eventual'));
  return begins && attempt === 1 && !redelivered;
}
