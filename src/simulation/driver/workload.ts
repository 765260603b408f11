/** Transactions of a seed: random plans whose amounts sum up to nothing, and what their callers do meanwhile. */
import type { Pattern, Phase } from '../../kernel/vocabulary.ts';
import type { Plan, PlanStep } from '../../protocol/envelopes.ts';
import type { SeededRandom } from '../random.ts';
import type { Kind } from './kinds.ts';
import { inputOf, scriptOf, type Script } from './script.ts';

/** One transaction and what its caller does. Times in virtual ms. */
export interface Item {
  readonly index: number;
  readonly client: number;
  readonly atMs: number;
  readonly pattern: Pattern;
  readonly plan: Plan;
  /** The caller's own id; undefined: a fresh one. */
  readonly own: string | undefined;
  /** Begun a second time so much later. */
  readonly againMs: number | undefined;
  /** The second begin has another plan. */
  readonly mismatch: boolean;
  readonly cancelMs: number | undefined;
  /** An operator cancels, or kills, instead of the caller. */
  readonly operator: 'cancel' | 'kill' | undefined;
  readonly signal: { readonly afterMs: number; readonly verdict: 'approve' | 'reject' } | undefined;
}

export interface WorkloadOptions {
  readonly random: SeededRandom;
  readonly kind: Kind;
  readonly participants: readonly string[];
  readonly clients: number;
  readonly transactions: number;
  /** Begins are spread over it. */
  readonly spreadMs: number;
  /** Participants that are slow, answer wrongly; callers that begin twice. */
  readonly faults: ReadonlySet<string>;
}

/** The first participant has little to give, the others plenty. */
export const SCARCE = 25;
export const PLENTY = 1_000_000;

/** Every transaction draws from a random of its own, so that leaving one out changes no other. */
export function workload(options: WorkloadOptions): Item[] {
  return Array.from({ length: options.transactions }, (_, index) =>
    item(index, { ...options, random: options.random.fork(`tx-${index}`) }),
  );
}

function item(index: number, options: WorkloadOptions): Item {
  const { random, kind, clients, spreadMs, faults } = options;
  const { pattern, plan } = planFor(kind, options);
  const doubles = random.chance(0.35);
  const own = random.chance(0.5) ? `own-${index}` : undefined;
  const cancelMs = random.chance(0.15) ? random.between(0, 4_000) : undefined;
  const signal = plan.gate?.signal === undefined ? undefined : signalOf(random);
  const operator = random.chance(0.5) ? (random.chance(0.15) ? 'kill' : 'cancel') : undefined;
  const again = own !== undefined && doubles && faults.has('duplicate');
  return {
    index,
    client: random.below(clients),
    atMs: random.between(0, spreadMs),
    ...{ pattern, plan, own, cancelMs, signal },
    againMs: again ? random.between(0, 8_000) : undefined,
    mismatch: again && random.chance(0.2),
    operator: cancelMs === undefined ? undefined : operator,
  };
}

/** Some approvals never come: the run waits until its own deadline. */
function signalOf(random: SeededRandom): Item['signal'] {
  const afterMs = random.between(0, 6_000);
  return random.chance(0.1) ? undefined : { afterMs, verdict: random.chance(0.8) ? 'approve' : 'reject' };
}

function planFor(kind: Kind, options: WorkloadOptions): { readonly pattern: Pattern; readonly plan: Plan } {
  const { random } = options;
  const plan = (pattern: Pattern, name: string): Plan => ({
    name,
    steps: steps(pattern, options),
    ...policies(pattern, random),
  });
  switch (kind) {
    case '1.5ps':
      return { pattern: '2ps', plan: { ...plan('2ps', 'one-and-half'), eventual: mails(options) } };
    case 'child':
      return { pattern: 'saga', plan: withChild(plan('saga', 'parent'), options) };
    case 'saga':
      return { pattern: 'saga', plan: sagaShape(plan('saga', 'order'), random) };
    case '2ps':
      return { pattern: '2ps', plan: gated(plan('2ps', 'order'), random) };
    default:
      return { pattern: kind, plan: plan(kind, kind) };
  }
}

/** A signal may never come: then the run ends by its deadline. */
function gated(plan: Plan, random: SeededRandom): Plan {
  const delay = Math.floor(random.between(1, 3_000));
  const deadlines = { ...plan.deadlines, run: { lower: Math.floor(random.between(8_000, 30_000)) } };
  const shapes: readonly Partial<Plan>[] = [
    {},
    {},
    { gate: { delay } },
    { gate: { signal: 'go' }, deadlines },
    { gate: { signal: 'go', delay }, deadlines },
  ];
  return { ...plan, ...random.pick(shapes) };
}

/** Debits and credits that sum up to nothing; the scarce participant only gives. */
function amounts(random: SeededRandom, participants: readonly string[]): number[] {
  const drawn = participants.map((_, index) => (index === 0 ? -1 - random.below(4) : random.below(19) - 9));
  const rest = -drawn.reduce((sum, amount) => sum + amount, 0);
  const last = drawn.length - 1;
  return drawn.map((amount, index) => (index === last ? amount + rest : amount));
}

function steps(pattern: Pattern, options: WorkloadOptions): PlanStep[] {
  const { random, participants } = options;
  if (pattern === 'eventual') return mails(options);
  const alone = participants.length > 2 && random.chance(0.1);
  const involved = alone
    ? participants.slice(1, 2)
    : participants.slice(0, 2 + random.below(participants.length - 1));
  const sums = alone ? [0] : amounts(random, involved);
  return involved.map((participant, index) => ({
    step: `s${index}`,
    participant,
    action: 'move',
    input: inputOf(script(pattern, sums[index] ?? 0, options)),
  }));
}

const mails = (options: WorkloadOptions): PlanStep[] =>
  options.participants.slice(1, 2 + options.random.below(2)).map((participant, index) => ({
    step: `mail-${index}`,
    participant,
    action: 'move',
    input: inputOf(script('eventual', 1, options)),
  }));

const FIRST: Readonly<Record<Pattern, readonly Phase[]>> = {
  '2pc': ['prepare'],
  '3pc': ['prepare'],
  saga: ['execute'],
  '2ps': ['prepare', 'verify', 'execute'],
  '3ps': ['reserve', 'validate', 'execute'],
  eventual: ['execute'],
};
const ANY: Readonly<Record<Pattern, readonly Phase[]>> = {
  '2pc': ['prepare', 'commit', 'abort', 'commit-one-phase'],
  '3pc': ['prepare', 'precommit', 'commit', 'abort'],
  saga: ['execute', 'compensate'],
  '2ps': ['prepare', 'verify', 'execute', 'cancel', 'compensate'],
  '3ps': ['reserve', 'validate', 'execute', 'release', 'compensate'],
  eventual: ['execute', 'confirm'],
};
const WAYS = ['retry', 'throw', 'late', 'nonsense'] as const;

function script(pattern: Pattern, amount: number, { random, faults }: WorkloadOptions): Script {
  const refuse = random.chance(0.08) ? random.pick(FIRST[pattern]) : undefined;
  const slowPhase = random.pick(ANY[pattern]) ?? 'execute';
  const slow = { phase: slowPhase, ms: random.between(10, 9_000), after: random.chance(0.5) };
  const wrongPhase = random.pick(ANY[pattern]) ?? 'execute';
  const wrong = { phase: wrongPhase, times: 1 + random.below(4), how: random.pick(WAYS) ?? 'throw' };
  const livesMs = random.chance(0.5) ? Math.floor(random.between(500, 12_000)) : undefined;
  const [isSlow, isWrong, takesNoPart] = [random.chance(0.2), random.chance(0.25), random.chance(0.3)];
  return {
    amount,
    ...(refuse === undefined ? {} : { refuse }),
    ...(amount === 0 && takesNoPart ? { readOnly: true as const } : {}),
    ...(isSlow && faults.has('slow') ? { slow } : {}),
    ...(isWrong && faults.has('wrong') ? { wrong } : {}),
    ...(pattern === '3ps' && livesMs !== undefined ? { livesMs } : {}),
  };
}

function policies(pattern: Pattern, random: SeededRandom): Partial<Plan> {
  const attempt = Math.floor(random.between(2_000, 8_000));
  const retry = { maxAttempts: 2 + random.below(4), attempt, initial: 50, max: 2_000 };
  const undoRetry = { attempt: 4_000, initial: 100, max: 4_000, maxAttempts: 12 };
  const within = (...phases: readonly Phase[]): Plan['deadlines'] =>
    Object.fromEntries(phases.map((phase) => [phase, { lower: Math.floor(random.between(4_000, 20_000)) }]));
  const run = random.chance(0.15) ? { run: { lower: Math.floor(random.between(2_000, 25_000)) } } : {};
  const forward: Readonly<Record<Pattern, Plan['deadlines']>> = {
    '2pc': within('prepare'),
    // Well below what participants wait before they end a step themselves.
    '3pc': { prepare: { lower: 15_000 }, precommit: { lower: 4_000 } },
    saga: {},
    '2ps': within('prepare', 'verify', 'execute'),
    '3ps': within('reserve', 'validate', 'execute'),
    eventual: random.chance(0.5) ? { confirm: { lower: 60_000 } } : {},
  };
  return { retry, undoRetry, deadlines: { ...forward[pattern], ...run } };
}

/** One after the other, or side by side; at times with a pivot and what follows it. */
function sagaShape(plan: Plan, random: SeededRandom): Plan {
  const pivot = random.chance(0.4) ? 1 + random.below(plan.steps.length) : undefined;
  const parallel = random.chance(0.4);
  const shaped = plan.steps.map((step, index): PlanStep => {
    if (pivot === undefined) return parallel && index === 1 ? { ...step, after: [] } : step;
    if (index === pivot) return { ...step, kind: 'pivot' };
    return index > pivot ? { ...retriable(step), kind: 'retriable' } : step;
  });
  return { ...plan, steps: shaped };
}

/** Past the pivot nothing may be refused for good. */
function retriable(step: PlanStep): PlanStep {
  const told = scriptOf(step.input);
  if (told?.refuse === undefined) return step;
  const { refuse: _, ...rest } = told;
  return { ...step, input: inputOf(rest) };
}

/** A nested transaction between the saga's own steps, and the transaction that undoes it. */
function withChild(plan: Plan, options: WorkloadOptions): Plan {
  const { random } = options;
  const pattern = random.pick(['2pc', '2ps'] as const) ?? '2pc';
  const rich = options.participants.slice(1);
  const amount = 1 + random.below(9);
  const part = (sign: number): PlanStep[] =>
    [rich[0], rich.at(-1)].flatMap((participant, index) =>
      participant === undefined
        ? []
        : [
            {
              step: `c${index}`,
              participant,
              action: 'move',
              input: inputOf(
                sign > 0
                  ? script(pattern, index === 0 ? amount : -amount, options)
                  : { amount: index === 0 ? -amount : amount },
              ),
            },
          ],
    );
  const nested = (name: string, sign: number) => ({
    pattern,
    plan: { name, steps: part(sign), ...policies(pattern, options.random) },
  });
  const child: PlanStep = {
    ...{ step: 'nested', participant: 'child', action: 'begin' },
    child: nested('nested', 1),
    undoChild: nested('un-nested', -1),
    retry: { attempt: 30_000 },
    undoRetry: { attempt: 30_000 },
  };
  const at = random.below(plan.steps.length + 1);
  return { ...plan, steps: [...plan.steps.slice(0, at), child, ...plan.steps.slice(at)] };
}

/** How many transactions have slow or wrong participants, or are begun twice. */
export function workFaults(items: readonly Item[]): (readonly ['slow' | 'wrong' | 'duplicate', number])[] {
  const having = (field: string): number =>
    items.filter(({ plan }) => JSON.stringify(plan).includes(`"${field}":{"phase"`)).length;
  return [
    ['slow', having('slow')],
    ['wrong', having('wrong')],
    ['duplicate', items.filter(({ againMs }) => againMs !== undefined).length],
  ];
}
