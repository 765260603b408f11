import type { RunId } from '../kernel/position.ts';
import type { OutcomeEnvelope } from '../protocol/envelopes.ts';

/** The last outcomes in memory: answers most late questions without reading the log. */
export class RecentOutcomes {
  readonly #byTx = new Map<string, OutcomeEnvelope>();

  constructor(private readonly capacity = 20_000) {}

  add(outcome: OutcomeEnvelope): void {
    // Re-inserted, so that the map's order is the order of ends.
    this.#byTx.delete(outcome.tx);
    this.#byTx.set(outcome.tx, outcome);
    if (this.#byTx.size <= this.capacity) return;
    const [oldest] = this.#byTx.keys();
    if (oldest !== undefined) this.#byTx.delete(oldest);
  }

  find(tx: string, run?: RunId): OutcomeEnvelope | undefined {
    const outcome = this.#byTx.get(tx);
    return run === undefined || outcome?.run === run ? outcome : undefined;
  }
}
