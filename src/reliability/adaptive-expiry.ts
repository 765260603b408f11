/**
 * When, between its lower and its upper bound, a deadline is let pass (DESIGN §3): what usually takes long may take long.
 * It only chooses when the deadline input is appended; whether that input counts is the machine's, by the lower bound.
 */
import type { Bounds, CompiledPlan } from '../protocol/compiled-plan.ts';
import type { ReportEnvelope } from '../protocol/envelopes.ts';
import type { FoldInput } from '../protocol/fold-sink.ts';
import type { Timer } from '../protocol/machine.ts';
import type { RunRecord } from '../protocol/run.ts';
import { boundsOf } from '../protocol/timer-bounds.ts';

export type ExpiryStrategy =
  /** At the lower bound. */
  | 'fixed'
  /** As late as the observed p99 and the load ask for, at most at the upper bound. */
  | 'adaptive';

/** Durations kept of each kind of work; p99 of fewer than `MIN_SAMPLES` says nothing. */
const WINDOW = 512;
const MIN_SAMPLES = 50;
/** The quantile is worked out anew after so many samples. */
const EVERY = 32;
/** Kinds kept: their names come from plans. */
const MAX_KINDS = 4_096;
/** What took longer than twice its p99 is taken for lost. */
const MARGIN = 2;
/** Weight of the present in the usual number of open runs: about the last thousand observations. */
const USUAL_WEIGHT = 1 / 1_024;

interface Durations {
  readonly samples: Float64Array;
  count: number;
  p99: number;
}

export class AdaptiveExpiry {
  readonly #durations = new Map<string, Durations>();
  #usualOpen = 0;

  /** Something of this kind (a phase of a participant, say) took so long while so many runs were open. */
  observe(kind: string, durationMs: number, openRuns: number): void {
    this.#usualOpen += (openRuns - this.#usualOpen) * (this.#usualOpen === 0 ? 1 : USUAL_WEIGHT);
    const durations = this.#durations.get(kind) ?? this.#newKind(kind);
    if (durations === undefined) return;
    durations.samples[durations.count % WINDOW] = durationMs;
    durations.count += 1;
    if (durations.count >= MIN_SAMPLES && durations.count % EVERY === 0) durations.p99 = p99Of(durations);
  }

  /**
   * How long after the lower bound to wait: 0 to `upperMs - lowerMs`.
   *
   * The allowance is `2 · p99 · max(1, open / usually open)`: queues grow with what is open (Little's law), so a burst
   * stretches deadlines before the slower answers themselves can be observed.
   */
  extraMs(kind: string, { lowerMs, upperMs }: Bounds, openRuns: number): number {
    const p99 = this.#durations.get(kind)?.p99 ?? 0;
    const load = Math.max(1, this.#usualOpen === 0 ? 1 : openRuns / this.#usualOpen);
    return Math.min(Math.max(MARGIN * p99 * load - lowerMs, 0), upperMs - lowerMs);
  }

  #newKind(kind: string): Durations | undefined {
    if (this.#durations.size >= MAX_KINDS) return undefined;
    const durations = { samples: new Float64Array(WINDOW), count: 0, p99: 0 };
    this.#durations.set(kind, durations);
    return durations;
  }
}

function p99Of({ samples, count }: Durations): number {
  const known = samples.slice(0, Math.min(count, WINDOW)).sort();
  return known[Math.ceil(known.length * 0.99) - 1] ?? 0;
}

/** What an adaptive strategy learns from the runs of one pattern, and says about their timers. */
export class RunExpiry {
  readonly #expiry = new AdaptiveExpiry();

  constructor(private readonly openRuns: () => number) {}

  /** An accepted report: how long its attempt took, from the input that commanded it. */
  reported({ address, envelope, timeMs }: FoldInput): void {
    const { phase, cause } = envelope as ReportEnvelope;
    const durationMs = Math.max(0, timeMs - cause.time);
    this.#expiry.observe(`${address.sender}/${phase}`, durationMs, this.openRuns());
    this.#expiry.observe(phase, durationMs, this.openRuns());
  }

  ended({ begun, outcome }: RunRecord): void {
    if (outcome !== undefined) this.#expiry.observe('run', outcome.time - begun.time, this.openRuns());
  }

  extraMs({ facts }: RunRecord, timer: Timer): number {
    const bounds = boundsOf(facts.plan, timer);
    if (bounds === undefined || bounds.upperMs <= bounds.lowerMs) return 0;
    return this.#expiry.extraMs(kindOf(facts.plan, timer), bounds, this.openRuns());
  }
}

function kindOf({ indexOf, steps }: CompiledPlan, { kind, step, phase }: Timer): string {
  if (kind === 'run' || phase === undefined) return 'run';
  const index = step === undefined ? undefined : indexOf.get(step);
  const participant = index === undefined ? undefined : steps[index]?.participant;
  return participant === undefined ? phase : `${participant}/${phase}`;
}
