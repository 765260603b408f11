/** Small builders for plans; a plan is plain data and may as well be written by hand. */
import type { Json } from '../../kernel/json.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { Deadline, Plan, PlanStep } from '../../protocol/envelopes.ts';
import type { PatternPhase } from '../../protocol/policies.ts';
import { refuseUnbuilt } from './begin-request.ts';

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

/** A child that can be compensated names the transaction that undoes it; a pivot or retriable one does not. */
export type ChildOptions<Earlier extends string> = Pick<StepOptions, 'retry' | 'undoRetry' | 'deadline'> & {
  readonly child: BuiltPlan<Pattern>;
  readonly after?: readonly Earlier[];
} & (
    | { readonly undo: BuiltPlan<Pattern>; readonly kind?: undefined }
    | { readonly undo?: undefined; readonly kind: 'pivot' | 'retriable' }
  );

type PlanDeadlines = {
  readonly [P in Pattern]: Readonly<Partial<Record<PatternPhase<P> | 'run', Deadline>>>;
};

export interface PlanOptions<P extends Pattern = Pattern> extends Pick<Plan, 'retry' | 'undoRetry'> {
  /** Only of phases that the pattern has, and of the whole run. */
  readonly deadlines?: PlanDeadlines[P];
}

export interface BuiltPlan<P extends Pattern> {
  readonly pattern: P;
  readonly plan: Plan;
}

/**
 * Where an input takes a value from the output of an earlier step.
 *
 * @param pointer JSON pointer into that output. Default: the whole output.
 * @throws {PhasorError} `PLAN_INVALID`: a pointer that does not begin with `/`.
 * @example saga('order').step('reserve', …).step('pay', { …, input: { hold: from('reserve', '/holdId') } })
 */
export function from(step: string, pointer: '' | `/${string}` = ''): { readonly $from: string } {
  const given: unknown = pointer;
  if (typeof given === 'string' && (given === '' || given.startsWith('/'))) return { $from: step + given };
  const what = `${JSON.stringify(given)} is no pointer into the output of ${step}: a JSON pointer begins with /`;
  throw new PhasorError('PLAN_INVALID', what, { field: 'pointer' });
}

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
export const twoPhaseCommit = (name: string): StepsBuilder<'2pc'> => new StepsBuilder('2pc', name, []);

/** 3PC: as 2PC, with `precommit` between votes and commit; participants end it themselves when nobody speaks. */
export const threePhaseCommit = (name: string): StepsBuilder<'3pc'> => new StepsBuilder('3pc', name, []);

/**
 * 2PS: every step is prepared in parallel, then every step is executed in parallel; undone when one fails.
 *
 * @example
 * const order = twoPhaseSaga('order')
 *   .step('pay', { participant: 'payment', action: 'charge', input: { amount: 4_200 } })
 *   .step('ship', { participant: 'shipping', action: 'ship' })
 *   .gate({ signal: 'approval' })
 *   .eventually('mail', { participant: 'mailer', action: 'confirm-order' })
 *   .build();
 */
export const twoPhaseSaga = (name: string): TwoPhaseSagaBuilder =>
  new TwoPhaseSagaBuilder({ name, steps: [] });

/** 3PS: each step reserves, then validates at its own pace; nothing executes until all have validated. */
export const threePhaseSaga = (name: string): StepsBuilder<'3ps'> => new StepsBuilder('3ps', name, []);

/** 0.5PS: durable fire and forget; each step is executed until it is taken, whatever becomes of the others. */
export const eventual = (name: string): EventualBuilder => new EventualBuilder({ name, steps: [] });

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

  /** Another transaction as a step: its end is the step's answer. */
  child<N extends string>(step: N, options: ChildOptions<Steps>): SagaBuilder<Steps | N> {
    const { child, undo, kind, after, ...rest } = given(options, `step ${step}`, 'child, and undo or kind');
    return this.#with({
      ...stepOf(step, { ...rest, ...CHILD, ...(after === undefined ? {} : { after }) }),
      child: nested(child),
      ...(undo === undefined ? {} : { undoChild: nested(undo) }),
      ...(kind === undefined ? {} : { kind }),
    });
  }

  build(options: PlanOptions<'saga'> = {}): BuiltPlan<'saga'> {
    return { pattern: 'saga', plan: { name: this.name, steps: [...this.steps], ...options } };
  }

  #with<N extends string>(step: PlanStep): SagaBuilder<Steps | N> {
    return new SagaBuilder(this.name, [...this.steps, step]);
  }
}

/** Immutable: every method returns another builder. */
export class StepsBuilder<P extends Pattern> {
  constructor(
    private readonly pattern: P,
    private readonly name: string,
    private readonly steps: readonly PlanStep[],
  ) {}

  step(step: string, options: StepOptions): StepsBuilder<P> {
    return new StepsBuilder(this.pattern, this.name, [...this.steps, stepOf(step, options)]);
  }

  build(options: PlanOptions<P> = {}): BuiltPlan<P> {
    const more = options as Pick<Plan, 'deadlines' | 'retry' | 'undoRetry'>;
    return { pattern: this.pattern, plan: { name: this.name, steps: [...this.steps], ...more } };
  }
}

/** What opens the gate of a 2PS: a signal, a delay, or both; with both, both are needed. */
export type GateOptions = SignalGate | DelayGate;

export interface SignalGate {
  /** The signal whose `approve` opens it; its `reject` turns the run back at once. */
  readonly signal: string;
  /** Milliseconds from when every step is prepared, at most 30 days. */
  readonly delayMs?: number;
}

export interface DelayGate extends Pick<SignalGate, 'delayMs'>, Partial<Pick<SignalGate, 'signal'>> {
  readonly delayMs: number;
}

/** Immutable: every method returns another builder. */
export class TwoPhaseSagaBuilder {
  constructor(private readonly plan: Plan) {}

  step(step: string, options: StepOptions): TwoPhaseSagaBuilder {
    return this.#with({ steps: [...this.plan.steps, stepOf(step, options)] });
  }

  /** 2PS-OV: once all are prepared the run waits here, then every step is verified, then executed. */
  gate(options: GateOptions): TwoPhaseSagaBuilder {
    const { signal, delayMs } = given(options, 'gate', 'signal, delayMs or both');
    return this.#with({
      gate: {
        ...(signal === undefined ? {} : { signal }),
        ...(delayMs === undefined ? {} : { delay: delayMs }),
      },
    });
  }

  /** 1.5PS: follows as a 0.5PS once every critical step is done. The caller does not wait for it. */
  eventually(step: string, options: StepOptions): TwoPhaseSagaBuilder {
    return this.#with({ eventual: [...(this.plan.eventual ?? []), stepOf(step, options)] });
  }

  build(options: PlanOptions<'2ps'> = {}): BuiltPlan<'2ps'> {
    return { pattern: '2ps', plan: { ...this.plan, ...options } };
  }

  #with(more: Partial<Plan>): TwoPhaseSagaBuilder {
    return new TwoPhaseSagaBuilder({ ...this.plan, ...more });
  }
}

/** Immutable: every method returns another builder. */
export class EventualBuilder {
  constructor(private readonly plan: Plan) {}

  step(step: string, options: StepOptions): EventualBuilder {
    return new EventualBuilder({ ...this.plan, steps: [...this.plan.steps, stepOf(step, options)] });
  }

  /**
   * Each step that was taken is sent a `confirm`, too.
   *
   * @param withinMs when a confirm without an answer waits for a person.
   */
  confirm(withinMs: number): EventualBuilder {
    const deadlines = { ...this.plan.deadlines, confirm: { lower: withinMs } };
    return new EventualBuilder({ ...this.plan, deadlines });
  }

  build(options: PlanOptions<'eventual'> = {}): BuiltPlan<'eventual'> {
    const deadlines = { ...this.plan.deadlines, ...options.deadlines };
    const plan = { ...this.plan, ...options };
    return {
      pattern: 'eventual',
      plan: Object.keys(deadlines).length === 0 ? plan : { ...plan, deadlines },
    };
  }
}

function stepOf(step: string, options: SagaStepOptions<string>): PlanStep {
  const { after, ...rest } = given(options, `step ${step}`, 'participant and action');
  return { step, ...rest, ...(after === undefined ? {} : { after: [...after] }) };
}

/** No command goes to a child's participant: the names only have to be there. */
const CHILD = { participant: 'child', action: 'begin' } as const;
function nested(built: BuiltPlan<Pattern>): Json {
  refuseUnbuilt(given(built, 'child', 'a built plan'));
  return { pattern: built.pattern, plan: built.plan };
}

/** What JavaScript may leave out. @throws {PhasorError} `PLAN_INVALID` */
function given<T extends object>(options: T, field: string, what: string): T {
  const passed: unknown = options;
  if (typeof passed === 'object' && passed !== null) return options;
  throw new PhasorError('PLAN_INVALID', `${field} needs ${what}`, { field });
}
