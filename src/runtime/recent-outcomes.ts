import type { OutcomeEnvelope } from '../protocol/envelopes.ts';

/**
 * The last outcomes in memory, as JSON text: they answer most late questions without reading the log. Two generations
 * instead of single evictions: nothing is ever deleted from a map, and at least `capacity` outcomes are kept.
 */
export class RecentOutcomes {
  #young = new Map<string, string>();
  #old = new Map<string, string>();

  constructor(private readonly capacity = 10_000) {}

  add(tx: string, outcome: string): void {
    if (this.#young.size >= this.capacity) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(tx, outcome);
  }

  /** The latest outcome told of this transaction. */
  find(tx: string): OutcomeEnvelope | undefined {
    const text = this.#young.get(tx) ?? this.#old.get(tx);
    return text === undefined ? undefined : (JSON.parse(text) as OutcomeEnvelope);
  }
}
