/** One execution of a handler, as the handler sees it. */
import type { Json } from '../kernel/json.ts';
import type { Pattern, Phase } from '../kernel/vocabulary.ts';
import type { Logger } from '../ports/telemetry.ts';
import type { CommandEnvelope } from '../protocol/envelopes.ts';
import type { Permit } from '../reliability/barrier.ts';
import type { Answer } from './worker-answers.ts';

export interface Call {
  readonly pattern: Pattern;
  readonly tx: string;
  /** Names this run among all runs of `tx`. */
  readonly run: string;
  readonly step: string;
  readonly phase: Phase;
  /** From 1; rises when an earlier attempt was not answered in time, or answered `retry`. */
  readonly attempt: number;
  readonly action: string;
  /** Of the plan, resolved; present in phases that begin or undo work. */
  readonly input: Json | undefined;
  /** The step's last output, in phases after the first. */
  readonly output: Json | undefined;
  /** Undos: whether the act is known to have run. An undo must cope with an act that has not. */
  readonly ran: boolean;
  readonly meta: Readonly<Record<string, string>>;
  /** Server time in ms after which the answer counts as missing; undefined: whenever it comes. */
  readonly dueMs: number | undefined;
  /** Estimated server time in ms since the epoch, never ahead of it. */
  readonly serverTimeMs: number;
  /** Aborted when the time is up or the worker must stop. */
  readonly signal: AbortSignal;
  /**
   * `{pattern}.{tx}.{run}.{step}`: the same over phases, attempts and redeliveries. Store it with the effect, in one
   * transaction, and the effect is exactly-once whatever the barrier.
   */
  readonly operationId: string;
  /** Names transaction, run, step, phase and attempt. */
  readonly logger: Logger;
  /** What the barrier provides: a database transaction, say. */
  readonly context: unknown;
}

/**
 * Carries out one phase of one action. It may be called again for the same `operationId` and phase (at least once),
 * also after it answered; barriers narrow that down.
 *
 * @returns an answer; nothing means `done()`. What it throws is reported as `unknown`: it may or may not have run.
 */
// eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- handlers without a result are the common case
export type Handler = (call: Call) => Promise<Answer | undefined | void> | Answer | undefined | void;

/** Handlers of one action by phase. */
export interface Action {
  readonly prepare?: Handler;
  readonly precommit?: Handler;
  readonly commit?: Handler;
  readonly commitOnePhase?: Handler;
  readonly abort?: Handler;
  readonly reserve?: Handler;
  readonly validate?: Handler;
  readonly verify?: Handler;
  readonly execute?: Handler;
  readonly compensate?: Handler;
  readonly cancel?: Handler;
  readonly release?: Handler;
  readonly confirm?: Handler;
}

export const handlerName = (phase: Phase): keyof Action =>
  phase === 'commit-one-phase' ? 'commitOnePhase' : phase;

export interface CallSource {
  readonly pattern: Pattern;
  readonly command: CommandEnvelope;
  readonly permit: Permit;
  readonly logger: Logger;
  readonly server: { nowMs(): number };
  readonly aborter: Aborter;
}

/** An abort controller made on demand: few handlers ask for the signal, and one per call is not free. */
export class Aborter {
  #controller: AbortController | undefined;
  #reason: Error | undefined;

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  get aborted(): boolean {
    return this.#reason !== undefined;
  }

  abort(reason: Error): void {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
  }
}

const NO_META: Readonly<Record<string, string>> = Object.freeze({});

/** What a handler costs nothing unless it looks: logger, signal and operation id are made when first read. */
export class HandlerCall implements Call {
  readonly #source: CallSource;
  #logger: Logger | undefined;

  constructor(source: CallSource) {
    this.#source = source;
  }

  get pattern(): Pattern {
    return this.#source.pattern;
  }
  get tx(): string {
    return this.#source.command.tx;
  }
  get run(): string {
    return this.#source.command.run;
  }
  get step(): string {
    return this.#source.command.step;
  }
  get phase(): Phase {
    return this.#source.command.phase;
  }
  get attempt(): number {
    return this.#source.command.attempt;
  }
  get action(): string {
    return this.#source.command.action;
  }
  get input(): Json | undefined {
    return this.#source.command.input;
  }
  get output(): Json | undefined {
    return this.#source.command.output ?? this.#source.permit.output;
  }
  get ran(): boolean {
    return this.#source.command.ran === true;
  }
  get meta(): Readonly<Record<string, string>> {
    return this.#source.command.meta ?? NO_META;
  }
  get dueMs(): number | undefined {
    return this.#source.command.due;
  }
  get serverTimeMs(): number {
    return this.#source.server.nowMs();
  }
  get signal(): AbortSignal {
    return this.#source.aborter.signal;
  }
  get operationId(): string {
    return `${this.pattern}.${this.tx}.${this.run}.${this.step}`;
  }
  get logger(): Logger {
    const { tx, run, step, phase, attempt } = this;
    return (this.#logger ??= this.#source.logger.child({ tx, run, step, phase, attempt }));
  }
  get context(): unknown {
    return this.#source.permit.context;
  }
}
