import type { OutcomeEnvelope } from '../protocol/envelopes.ts';

/**
 * The last outcomes in memory, as the bodies that told them: they answer most late questions without reading the log. Two generations
 * instead of single evictions: nothing is ever deleted from a map, and at least `capacity` outcomes are kept.
 */
export class RecentOutcomes {
  #young = new Map<string, Buffer>();
  #old = new Map<string, Buffer>();

  constructor(private readonly capacity = 10_000) {}

  /** @param body one outcome in an array, as JSON. */
  add(tx: string, body: Buffer): void {
    if (this.#young.size >= this.capacity) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(tx, body);
  }

  /** The latest outcome told of this transaction. */
  find(tx: string): OutcomeEnvelope | undefined {
    const body = this.#young.get(tx) ?? this.#old.get(tx);
    return body === undefined ? undefined : (JSON.parse(body.toString()) as [OutcomeEnvelope])[0];
  }
}
