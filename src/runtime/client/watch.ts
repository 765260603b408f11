/** Follows one transaction: its reports (if its begin asked for `reply: ['phases']`) and its outcome. */
import { comparePositions, parseRun } from '../../kernel/position.ts';
import { parseResponseSubject } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { PhasorError } from '../../errors/phasor-error.ts';
import type { BusMessage } from '../../ports/bus.ts';
import { decodeBody } from '../../protocol/codec.ts';
import type { OutcomeEnvelope, PhaseResponse } from '../../protocol/envelopes.ts';
import { parsePhaseResponse } from '../../protocol/guards.ts';
import type { FoundRun } from '../../protocol/query.ts';
import type { Lease, ResponseListener } from '../../reliability/subscription-manager.ts';
import { readOutcomes } from './read-outcomes.ts';
import type { Swept } from './sweeper.ts';

/** Reports are heard at most once; the outcome is found also when nobody heard it. */
export type WatchEvent =
  | { readonly type: 'reported'; readonly participant: string; readonly report: PhaseResponse }
  /** Told although the run stays open: items wait for a person. */
  | { readonly type: 'told'; readonly outcome: OutcomeEnvelope }
  /** The last event. */
  | { readonly type: 'ended'; readonly outcome: OutcomeEnvelope }
  /** The reader was too slow: this many of the oldest events were dropped. */
  | { readonly type: 'missed'; readonly count: number };

export interface WatchHost {
  /** The state must be asked for now. */
  doubtful(watch: Watch): void;
  over(watch: Watch): void;
}

/** Events that wait for a slow reader. */
const MAX_QUEUED = 1_000;

export class Watch implements AsyncIterableIterator<WatchEvent>, ResponseListener, Swept {
  askAtMs = 0;
  shard = 0;
  askEveryMs: number;
  lease: Lease | undefined;
  #queue: WatchEvent[] = [];
  #missed = 0;
  #early: OutcomeEnvelope | undefined;
  #reader:
    | {
        readonly resolve: (result: IteratorResult<WatchEvent>) => void;
        readonly reject: (error: PhasorError) => void;
      }
    | undefined;
  #over = false;
  #error: PhasorError | undefined;

  constructor(
    private readonly run: { readonly pattern: Pattern; readonly tx: string; readonly firstAskMs: number },
    private readonly host: WatchHost,
  ) {
    this.askEveryMs = run.firstAskMs;
  }

  get pattern(): Pattern {
    return this.run.pattern;
  }
  get tx(): string {
    return this.run.tx;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** One reader at a time. */
  next(): Promise<IteratorResult<WatchEvent>> {
    this.lease?.renew();
    const event = this.#shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#over) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => (this.#reader = { resolve, reject }));
  }

  return(): Promise<IteratorResult<WatchEvent>> {
    this.#finish();
    return Promise.resolve({ done: true, value: undefined });
  }

  received(message: BusMessage): void {
    const address = parseResponseSubject(message.subject);
    if (address === undefined) return;
    if (address.phase === 'outcome') {
      if (address.participant !== 'coordinator') return;
      for (const outcome of readOutcomes(message, this.tx)) this.#told(outcome);
      return;
    }
    const body = decodeBody(message.data);
    if (!body.ok) return;
    for (const value of body.envelopes) {
      const parsed = parsePhaseResponse(value);
      if (!parsed.ok || parsed.envelope.tx !== this.tx || parsed.envelope.phase !== address.phase) continue;
      // Patterns share the responses of an id.
      if (parsed.envelope.pattern !== this.pattern) continue;
      this.#push({ type: 'reported', participant: address.participant, report: parsed.envelope });
    }
  }

  /** Nobody read for the subscription's time to live. */
  expired(): void {
    this.#finish();
  }

  turn(): number {
    if (this.#reader !== undefined) this.lease?.renew();
    return Infinity;
  }

  found(runs: readonly FoundRun[]): void {
    const mine = runs.filter(({ pattern }) => pattern === this.pattern);
    const latest = mine.reduce<FoundRun | undefined>(
      (a, b) => (a === undefined || isLater(b, a) ? b : a),
      undefined,
    );
    if (latest?.outcome === undefined) return;
    if (!latest.open) this.#end(latest.outcome);
    else this.#tellEarly(latest.outcome);
  }

  fail(error: PhasorError): void {
    this.#error = error;
    this.#finish();
  }

  #told(outcome: OutcomeEnvelope): void {
    if (outcome.pattern !== this.pattern || outcome.status === 'mismatch') return;
    if (outcome.attention !== true) {
      this.#end(outcome);
      return;
    }
    // Attention is told early, and may also remain at the end: only the coordinator knows which.
    this.#tellEarly(outcome);
    this.host.doubtful(this);
  }

  #tellEarly(outcome: OutcomeEnvelope): void {
    if (this.#early?.at === outcome.at && this.#early.run === outcome.run) return;
    this.#early = outcome;
    this.#push({ type: 'told', outcome });
  }

  #end(outcome: OutcomeEnvelope): void {
    this.#push({ type: 'ended', outcome });
    this.#finish();
  }

  #push(event: WatchEvent): void {
    if (this.#over) return;
    this.#queue.push(event);
    if (this.#queue.length > MAX_QUEUED) {
      this.#queue.shift();
      this.#missed += 1;
    }
    const reader = this.#reader;
    const next = reader === undefined ? undefined : this.#shift();
    if (reader === undefined || next === undefined) return;
    this.#reader = undefined;
    reader.resolve({ done: false, value: next });
  }

  #shift(): WatchEvent | undefined {
    if (this.#missed === 0) return this.#queue.shift();
    const count = this.#missed;
    this.#missed = 0;
    return { type: 'missed', count };
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    const reader = this.#reader;
    this.#reader = undefined;
    if (this.#error === undefined) reader?.resolve({ done: true, value: undefined });
    else reader?.reject(this.#error);
    this.host.over(this);
  }
}

const isLater = (a: FoundRun, b: FoundRun): boolean =>
  comparePositions(parseRun(a.run).at, parseRun(b.run).at) > 0;
