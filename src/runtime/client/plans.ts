/** Small builders for plans; a plan is plain data and may as well be written by hand. */
import type { Json } from '../../kernel/json.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { Plan, PlanStep } from '../../protocol/envelopes.ts';

/** Everything about a step but its id. Times in ms. */
export interface StepOptions {
  /** The service role that carries it out. */
  readonly participant: string;
  /** Selects the participant's handler. */
  readonly action: string;
  readonly input?: Json;
  readonly retry?: NonNullable<PlanStep['retry']>;
  /** For the phases that must finish: commit, abort, compensate. */
  readonly undoRetry?: NonNullable<PlanStep['undoRetry']>;
  readonly deadline?: NonNullable<PlanStep['deadline']>;
}

export interface SagaStepOptions<Earlier extends string> extends StepOptions {
  /** Steps that must be done before. Default: the previous step; `[]`: none, it starts at once. */
  readonly after?: readonly Earlier[];
}

export type PlanOptions = Pick<Plan, 'deadlines' | 'retry' | 'undoRetry'>;

export interface BuiltPlan<P extends Pattern> {
  readonly pattern: P;
  readonly plan: Plan;
}

/**
 * Where an input takes a value from the output of an earlier step.
 *
 * @param pointer JSON pointer into that output. Default: the whole output.
 * @example saga('order').step('reserve', …).step('pay', { …, input: { hold: from('reserve', '/holdId') } })
 */
export const from = (step: string, pointer = ''): { readonly $from: string } => ({ $from: step + pointer });

/**
 * A saga: steps one after the other unless `after` says otherwise; compensated in reverse when one fails.
 *
 * @example
 * const order = saga('order')
 *   .step('reserve', { participant: 'stock', action: 'reserve', input: { sku: 'A1' } })
 *   .pivot('pay', { participant: 'payment', action: 'charge', input: { hold: from('reserve', '/holdId') } })
 *   .retriable('ship', { participant: 'shipping', action: 'ship' })
 *   .build();
 * await client.run(order);
 */
export const saga = (name: string): SagaBuilder => new SagaBuilder(name, []);

/** 2PC: every step is prepared in parallel, then all commit or all abort. */
export const twoPhaseCommit = (name: string): TwoPhaseCommitBuilder => new TwoPhaseCommitBuilder(name, []);

/** Immutable: every method returns another builder. */
export class SagaBuilder<Steps extends string = never> {
  constructor(
    private readonly name: string,
    private readonly steps: readonly PlanStep[],
  ) {}

  /** Compensated if a later step fails. */
  step<N extends string>(step: N, options: SagaStepOptions<Steps>): SagaBuilder<Steps | N> {
    return this.#with(stepOf(step, options));
  }

  /** At most one: once it is done, the saga only goes forward. */
  pivot<N extends string>(step: N, options: SagaStepOptions<Steps>): SagaBuilder<Steps | N> {
    return this.#with({ ...stepOf(step, options), kind: 'pivot' });
  }

  /** After the pivot: tried until it is done. */
  retriable<N extends string>(step: N, options: SagaStepOptions<Steps>): SagaBuilder<Steps | N> {
    return this.#with({ ...stepOf(step, options), kind: 'retriable' });
  }

  build(options: PlanOptions = {}): BuiltPlan<'saga'> {
    return { pattern: 'saga', plan: { name: this.name, steps: [...this.steps], ...options } };
  }

  #with<N extends string>(step: PlanStep): SagaBuilder<Steps | N> {
    return new SagaBuilder(this.name, [...this.steps, step]);
  }
}

/** Immutable: every method returns another builder. */
export class TwoPhaseCommitBuilder {
  constructor(
    private readonly name: string,
    private readonly steps: readonly PlanStep[],
  ) {}

  step(step: string, options: StepOptions): TwoPhaseCommitBuilder {
    return new TwoPhaseCommitBuilder(this.name, [...this.steps, stepOf(step, options)]);
  }

  build(options: PlanOptions = {}): BuiltPlan<'2pc'> {
    return { pattern: '2pc', plan: { name: this.name, steps: [...this.steps], ...options } };
  }
}

function stepOf(step: string, options: SagaStepOptions<string>): PlanStep {
  const { after, ...rest } = options;
  return { step, ...rest, ...(after === undefined ? {} : { after: [...after] }) };
}
