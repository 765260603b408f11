/** What a caller asks for, checked before anything is sent. */
import { isId } from '../../kernel/ids.ts';
import { PATTERNS, type Pattern } from '../../kernel/vocabulary.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { PlanProblem } from '../../protocol/compiled-plan.ts';
import { beginSchema, type BeginEnvelope, type Plan } from '../../protocol/envelopes.ts';
import { parseBegin } from '../../protocol/guards.ts';
import { ENVELOPE_VERSION } from '../../protocol/limits.ts';
import { compilePlan } from '../../protocol/plan.ts';
import { notJson } from '../../protocol/not-json.ts';
import { patternProblem } from '../../protocol/pattern-names.ts';
import { problemText, schemaProblems } from '../../protocol/schema-problems.ts';
import { planDigest } from '../outcome-keys.ts';

export interface BeginRequest {
  readonly pattern: Pattern;
  /** At most 196_608 bytes of JSON; see `saga` and `twoPhaseCommit` for builders. */
  readonly plan: Plan;
  /**
   * The caller's own id, `[A-Za-z0-9_-]{1,64}`: beginning again with an equal plan within the stream's dedup window
   * (default 24 h) tells the first run's outcome, with another plan `mismatch`. Default: a new ULID, for this call alone.
   */
  readonly tx?: string;
  /** At most 16, for search. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Who may send which signal, and who may cancel. Default: the sender of this begin. */
  readonly allow?: BeginEnvelope['allow'];
  /** What is told on `response.{tx}.…`. Default: `['outcome']`; add `'phases'` to watch every report. */
  readonly reply?: readonly ('outcome' | 'phases')[];
  /** Milliseconds since the epoch, server time: the run starts then. Default: at once. */
  readonly startAt?: number;
  /** At most 16 entries, 1 KiB in all: copied to every command and response (trace context). */
  readonly meta?: Readonly<Record<string, string>>;
}

/** A begin but for its id and shards, which are known only when it is sent. */
export class CheckedBegin {
  constructor(
    readonly own: boolean,
    private readonly planText: string,
    /** Further fields, each with a comma before it. */
    private readonly rest: string,
  ) {}

  text(tx: string, shards: number): string {
    const id = this.own ? 'own' : 'fresh';
    return `{"v":${ENVELOPE_VERSION},"tx":"${tx}","id":"${id}","shards":${shards},"plan":${this.planText}${this.rest}}`;
  }

  /** SHA-256 of the plan as it is sent; see `planDigest`. */
  digest(): string {
    return planDigest(JSON.parse(this.planText) as Plan);
  }
}

/** Any valid id: stands in until the real one is made. */
const SAMPLE_TX = '00000000000000000000000000';
/** More than `v`, `tx`, `id` and `shards` ever take. */
const HEAD_BYTES = 256;
const patterns: ReadonlySet<string> = new Set(PATTERNS);

/**
 * Encodes at once: what the caller changes in the plan afterwards changes nothing.
 *
 * @throws {PhasorError} `ID_INVALID`; `PLAN_INVALID` and `ENVELOPE_INVALID` with `details.field` and all `problems`.
 */
export function checkBegin(request: BeginRequest): CheckedBegin {
  checkShape(request);
  const { pattern, plan, tx } = request;
  checkPattern(pattern);
  if (tx !== undefined) checkTx(tx);
  const own = tx !== undefined;
  const options = optionsOf(request);
  const head = { v: ENVELOPE_VERSION, tx: tx ?? SAMPLE_TX, id: own ? 'own' : 'fresh', shards: 1, plan };
  const envelope: unknown = options === undefined ? head : { ...head, ...options };
  const planText = encode(plan);
  const rest = options === undefined ? '' : `,${encode(options).slice(1, -1)}`;
  // No UTF-16 unit takes more than three bytes.
  const parsed = parseBegin(envelope, (planText.length + rest.length) * 3 + HEAD_BYTES);
  if (!parsed.ok) throw schemaError(envelope, parsed.problem);
  const compiled = compilePlan(pattern, parsed.envelope.plan);
  if (!compiled.ok) throw planError([compiled.problem]);
  return new CheckedBegin(own, planText, rest);
}

const FIELDS: ReadonlySet<string> = new Set([
  ...['pattern', 'plan', 'tx', 'labels', 'allow', 'reply', 'startAt', 'meta'],
]);

/** What the types say and JavaScript does not: this runs for every transaction. */
function checkShape(request: unknown): void {
  if (typeof request !== 'object' || request === null)
    throw planError([
      { field: 'plan', problem: 'is required: pass what a builder built, or pattern and plan' },
    ]);
  for (const field in request) if (!FIELDS.has(field)) throw unknownField(request, field);
  if (!('pattern' in request)) refuseUnbuilt(request);
}

function unknownField(request: object, field: string): PhasorError {
  refuseUnbuilt(request);
  const problem = problemText({ field, problem: 'is not a known field' });
  return new PhasorError('ENVELOPE_INVALID', problem, { field, problems: [problem] });
}

/** @throws {PhasorError} `PLAN_INVALID`: a builder whose `build` was not called. */
export function refuseUnbuilt(value: object): void {
  if ('build' in value && typeof value.build === 'function')
    throw planError([{ field: 'plan', problem: 'is not built yet: call .build()' }]);
}

/** The optional fields that are there; undefined when none is, as in most begins. */
function optionsOf({ allow, labels, startAt, reply, meta }: BeginRequest): object | undefined {
  if ((allow ?? labels ?? startAt ?? reply ?? meta) === undefined) return undefined;
  const options = Object.entries({ allow, labels, startAt, reply, meta });
  return Object.fromEntries(options.filter(([, value]) => value !== undefined));
}

/** @throws {PhasorError} `PLAN_INVALID` with field `pattern`. */
export function checkPattern(pattern: Pattern): void {
  if (!patterns.has(pattern)) throw planError([{ field: 'pattern', problem: patternProblem(pattern) }]);
}

/** @throws {PhasorError} `ID_INVALID` */
export function checkTx(tx: string): void {
  if (typeof tx !== 'string' || !isId(tx))
    throw new PhasorError('ID_INVALID', `not a transaction id: ${JSON.stringify(tx)}`, { field: 'tx' });
}

/** A plan that is no JSON at all (cyclic, a BigInt) fails here; the schema says where. */
function encode(value: unknown): string {
  // Has no JSON, or is no plan: the schema refuses it.
  if (typeof value !== 'object') return '';
  try {
    return JSON.stringify(value);
  } catch (cause) {
    const problem = notJson(value) ?? { field: 'plan', problem: 'is not JSON' };
    throw new PhasorError('PLAN_INVALID', problemText(problem), { field: problem.field }, { cause });
  }
}

const PLAN_PREFIX = 'plan.';

function schemaError(envelope: unknown, fallback: string): PhasorError {
  const parsed = beginSchema.safeParse(envelope);
  const problems = parsed.success ? [] : schemaProblems(parsed.error, envelope);
  const ofPlan = problems.filter(({ field }) => field === 'plan' || field.startsWith(PLAN_PREFIX));
  if (ofPlan.length > 0)
    return planError(
      ofPlan.map(({ field, problem }) => ({ field: field.slice(PLAN_PREFIX.length) || 'plan', problem })),
    );
  const [first] = problems;
  const what = first === undefined ? fallback : problemText(first);
  return new PhasorError('ENVELOPE_INVALID', what, {
    field: first?.field,
    problems: problems.map(problemText),
  });
}

function planError(problems: readonly PlanProblem[]): PhasorError {
  const [first] = problems;
  return new PhasorError('PLAN_INVALID', first === undefined ? 'the plan' : problemText(first), {
    field: first?.field,
    problems: problems.map(problemText),
  });
}
