/** What a caller asks for, checked before anything is sent. */
import { isId } from '../../kernel/ids.ts';
import { utf8Length } from '../../kernel/json.ts';
import { PATTERNS, type Pattern } from '../../kernel/vocabulary.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { PlanProblem } from '../../protocol/compiled-plan.ts';
import { beginSchema, type BeginEnvelope, type Plan } from '../../protocol/envelopes.ts';
import { parseBegin } from '../../protocol/guards.ts';
import { ENVELOPE_VERSION } from '../../protocol/limits.ts';
import { compilePlan } from '../../protocol/plan.ts';
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

/** The text of a begin but its id and shards, which are known only when it is sent. */
export interface CheckedBegin {
  readonly own: boolean;
  text(tx: string, shards: number): string;
  /** SHA-256 of the plan as it is sent; see `planDigest`. */
  digest(): string;
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
  const { pattern, plan, tx, labels, allow, reply, startAt, meta } = request;
  checkPattern(pattern);
  if (tx !== undefined) checkTx(tx);
  const body = {
    plan,
    ...(allow === undefined ? {} : { allow }),
    ...(labels === undefined ? {} : { labels }),
    ...(startAt === undefined ? {} : { startAt }),
    ...(reply === undefined ? {} : { reply }),
    ...(meta === undefined ? {} : { meta }),
  };
  const id = tx === undefined ? 'fresh' : 'own';
  const envelope: unknown = { v: ENVELOPE_VERSION, tx: tx ?? SAMPLE_TX, id, shards: 1, ...body };
  const rest = encode(body);
  const parsed = parseBegin(envelope, utf8Length(rest) + HEAD_BYTES);
  if (!parsed.ok) throw schemaError(envelope, parsed.problem);
  const compiled = compilePlan(pattern, parsed.envelope.plan);
  if (!compiled.ok) throw planError([compiled.problem]);
  const tail = rest.slice(1);
  return {
    own: tx !== undefined,
    text: (name, shards) => `{"v":${ENVELOPE_VERSION},"tx":"${name}","id":"${id}","shards":${shards},${tail}`,
    digest: () => planDigest((JSON.parse(rest) as { readonly plan: Plan }).plan),
  };
}

/** @throws {PhasorError} `PLAN_INVALID` with field `pattern`. */
export function checkPattern(pattern: Pattern): void {
  if (!patterns.has(pattern))
    throw planError([{ field: 'pattern', problem: `must be one of ${PATTERNS.join(', ')}` }]);
}

/** @throws {PhasorError} `ID_INVALID` */
export function checkTx(tx: string): void {
  if (typeof tx !== 'string' || !isId(tx))
    throw new PhasorError('ID_INVALID', `not a transaction id: ${JSON.stringify(tx)}`, { field: 'tx' });
}

/** A plan that is no JSON at all (cyclic, a BigInt) fails here; the schema says where. */
function encode(body: object): string {
  try {
    return JSON.stringify(body);
  } catch (cause) {
    throw new PhasorError('PLAN_INVALID', 'the plan is not JSON', { field: 'plan' }, { cause });
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
