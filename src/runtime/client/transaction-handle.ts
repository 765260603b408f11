import type { Position } from '../../kernel/position.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { OutcomeEnvelope } from '../../protocol/envelopes.ts';
import { durationMs } from '../../errors/options.ts';
import type { PendingRun } from './pending-run.ts';

/** Who waits for outcomes on a handle's behalf. */
export interface OutcomeSource {
  outcome(pending: PendingRun, timeoutMs: number): Promise<OutcomeEnvelope>;
}

/** A transaction whose begin is durable. */
export class TransactionHandle {
  readonly #source: OutcomeSource;
  readonly #pending: PendingRun;

  constructor(
    source: OutcomeSource,
    pending: PendingRun,
    /** Position of the begin in the pattern's stream. */
    readonly begunAt: Position,
  ) {
    this.#source = source;
    this.#pending = pending;
  }

  get tx(): string {
    return this.#pending.tx;
  }

  get pattern(): Pattern {
    return this.#pending.pattern;
  }

  /** Whether the outcome is that of an earlier begin of the same own id; false until it is known. */
  get duplicate(): boolean {
    return this.#pending.outcome?.duplicate === true;
  }

  /**
   * How the transaction ended. With `attention` it may still be open: items wait for a person, see `describe`.
   * May be called any number of times, by any number of callers, and after its subscription was collected.
   *
   * @param options.timeoutMs Default: none. Measured to about 50 ms.
   * @throws {PhasorError} `OUTCOME_TIMEOUT`: the transaction goes on; `CLOSED`; `CONNECTION_FAILED`: the connection
   *   ended for good; `TOO_MANY_SUBSCRIPTIONS`: only after its subscription was collected; `CONFIG_INVALID`.
   */
  async outcome(options: { readonly timeoutMs?: number } = {}): Promise<OutcomeEnvelope> {
    const timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', Infinity);
    return this.#pending.outcome ?? this.#source.outcome(this.#pending, timeoutMs);
  }
}
