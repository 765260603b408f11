/** Envelope schemas, version 1 (docs/wire.md). Frozen: a change of meaning needs `"v":2`. */
import { z } from 'zod';
import { ID_PATTERN, PARTICIPANT_PATTERN, RESERVED_SENDERS } from '../kernel/ids.ts';
import { jsonProblem, MAX_JSON_DEPTH, utf8Length, type Json } from '../kernel/json.ts';
import { POSITION_PATTERN, RUN_PATTERN } from '../kernel/position.ts';
import {
  ANSWERS,
  DECISIONS,
  DEADLINE_KINDS,
  isUndoPhase,
  PATTERNS,
  PHASES,
  STATUSES,
  STEP_KINDS,
  VERDICTS,
  type DeadlineKind,
} from '../kernel/vocabulary.ts';
import * as limits from './limits.ts';

const optional = <T extends z.ZodType>(schema: T): z.ZodExactOptional<T> => z.exactOptional(schema);
const id = z.string().regex(ID_PATTERN);
const participant = z
  .string()
  .regex(PARTICIPANT_PATTERN)
  .refine((name) => !RESERVED_SENDERS.has(name), 'is reserved')
  .describe('Neither coordinator nor operator.');
const sender = z.string().regex(PARTICIPANT_PATTERN);
const pos = z.string().regex(POSITION_PATTERN);
const run = z.string().regex(RUN_PATTERN);
const ms = z.int().min(0);
const durationMs = z.int().min(0).max(limits.MAX_DURATION_MS);
const pattern = z.enum(PATTERNS);
const phase = z.enum(PHASES);
const attempt = z.int().min(1);
const code = z.string().min(1).max(limits.MAX_CODE_CHARS);
const message = z.string().max(limits.MAX_MESSAGE_CHARS);
const person = z.string().min(1).max(limits.MAX_NAME_CHARS);
const reason = z.string().min(1).max(limits.MAX_MESSAGE_CHARS);
const digest = z.string().regex(/^[0-9a-f]{16}$/);

function json(maxBytes: number): z.ZodType<Json> {
  const schema = z.unknown().superRefine((value, context) => {
    const problem = jsonProblem(value);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
    else if (utf8Length(JSON.stringify(value)) > maxBytes)
      context.addIssue({ code: 'custom', message: `is larger than ${maxBytes} bytes` });
  });
  const described = schema.describe(
    `Any JSON of at most ${maxBytes} bytes as compact UTF-8 text and ${MAX_JSON_DEPTH} levels; no integer beyond ` +
      '2^53 (send it as a string), no key "__proto__".',
  );
  return described as unknown as z.ZodType<Json>;
}

/** zod's records skip an own `__proto__` key silently; here it is refused before they see it. */
const ownKeys = z
  .unknown()
  .refine(
    (value) => typeof value !== 'object' || value === null || !Object.hasOwn(value, '__proto__'),
    'has the forbidden key "__proto__"',
  );

function strings(maxEntries: number, maxBytes: number): z.ZodType<Readonly<Record<string, string>>> {
  const record = z
    .record(z.string().min(1), z.string())
    .refine((value) => Object.keys(value).length <= maxEntries, `has more than ${maxEntries} entries`)
    .refine(
      (value) =>
        Object.entries(value).reduce((sum, [k, v]) => sum + utf8Length(k) + utf8Length(v), 0) <= maxBytes,
      `is larger than ${maxBytes} bytes`,
    )
    .meta({
      maxProperties: maxEntries,
      description: `At most ${maxBytes} bytes of UTF-8 in all, keys and values together.`,
    });
  return ownKeys.pipe(record);
}

const input = json(limits.MAX_INPUT_BYTES);
const output = json(limits.MAX_OUTPUT_BYTES);
const meta = strings(limits.MAX_META_ENTRIES, limits.MAX_META_BYTES);
const labels = strings(limits.MAX_LABELS, limits.MAX_LABELS * limits.MAX_LABEL_BYTES);
const v = z.literal(limits.ENVELOPE_VERSION);

/** `lower` is the machine's due time after arming; an adaptive strategy may wait up to `upper` (default: `lower`). */
export const deadlineSchema = z
  .strictObject({ lower: durationMs.min(1), upper: optional(durationMs.min(1)) })
  .refine((value) => value.upper === undefined || value.upper >= value.lower, 'upper is below lower')
  .describe('`upper` is at least `lower`.');

/** Attempts of one phase: all times in ms; what is left out comes from the pattern's default policy. */
export const retrySchema = z.strictObject({
  maxAttempts: optional(z.int().min(1).max(10_000)),
  /** Wait before the second attempt. */
  initial: optional(durationMs),
  factor: optional(z.number().min(1).max(10)),
  /** Cap of the wait. */
  max: optional(durationMs),
  /** How long one attempt may stay without a report before it counts as `unknown`. */
  attempt: optional(durationMs.min(1)),
});

export const stepSchema = z.strictObject({
  step: optional(id),
  participant,
  action: id,
  input: optional(input),
  kind: optional(z.enum(STEP_KINDS)),
  after: optional(z.array(id).max(limits.MAX_STEPS)),
  retry: optional(retrySchema),
  undoRetry: optional(retrySchema),
  deadline: optional(deadlineSchema),
  child: optional(json(limits.MAX_INPUT_BYTES)),
  undoChild: optional(json(limits.MAX_INPUT_BYTES)),
});

const phaseDeadlines = ownKeys.pipe(z.partialRecord(z.enum([...PHASES, 'run']), deadlineSchema));

export const planSchema = z.strictObject({
  name: z.string().min(1).max(limits.MAX_NAME_CHARS),
  steps: z.array(stepSchema).min(1).max(limits.MAX_STEPS),
  deadlines: optional(phaseDeadlines),
  retry: optional(retrySchema),
  undoRetry: optional(retrySchema),
  gate: optional(z.strictObject({ signal: optional(id), delay: optional(durationMs) })),
  eventual: optional(z.array(stepSchema).max(limits.MAX_STEPS)),
});

/** What stands in `child` and `undoChild`: there it is JSON, checked when the plan is compiled. */
export const childSchema = z.strictObject({ pattern, plan: planSchema });

const senders = z.array(sender).max(limits.MAX_SENDERS);
const cause = z.strictObject({ at: pos, time: ms });

export const beginSchema = z.strictObject({
  v,
  tx: id,
  meta: optional(meta),
  id: z.enum(['fresh', 'own']),
  shards: z.int().min(1).max(limits.MAX_SHARDS),
  plan: planSchema,
  allow: optional(
    z.strictObject({
      signal: optional(
        ownKeys.pipe(
          z
            .record(id, senders)
            .refine((value) => Object.keys(value).length <= limits.MAX_SIGNALS, 'has too many signals')
            .meta({ maxProperties: limits.MAX_SIGNALS }),
        ),
      ),
      cancel: optional(senders),
    }),
  ),
  labels: optional(labels),
  startAt: optional(ms),
  reply: optional(z.array(z.enum(['outcome', 'phases'])).max(2)),
  parent: optional(z.strictObject({ pattern, tx: id, run, step: id, phase, attempt, cause, since: ms })),
});

export const commandSchema = z
  .strictObject({
    v,
    tx: id,
    run,
    meta: optional(meta),
    step: id,
    phase,
    attempt,
    shard: z.int().min(0),
    action: id,
    cause,
    since: ms,
    due: optional(ms),
    input: optional(input),
    output: optional(output),
    ran: optional(z.boolean()),
    redo: optional(attempt),
    alone: optional(z.boolean()),
    reply: optional(z.boolean()),
  })
  .refine((command) => command.ran !== undefined || !isUndoPhase(command.phase), {
    path: ['ran'],
    error: 'is required in an undo',
  })
  .describe('`ran` is required when `phase` is abort, compensate, cancel or release.');

const report = z.strictObject({
  v,
  tx: id,
  run,
  meta: optional(meta),
  step: id,
  phase,
  attempt,
  cause,
  answer: z.enum(ANSWERS),
  result: optional(z.enum(['committed', 'aborted'])),
  output: optional(output),
  code: optional(code),
  message: optional(message),
  mayHaveRun: optional(z.boolean()),
  lateEffect: optional(z.boolean()),
  retryAfter: optional(durationMs),
  expiresAt: optional(ms),
});

function checked<T extends typeof report>(schema: T): T {
  return schema
    .refine((value) => (value.result !== undefined) === RESULT_ANSWERS.has(value.answer), {
      path: ['result'],
      error: 'is required with heuristic and terminated, and goes with no other answer',
    })
    .refine((value) => value.output === undefined || value.answer === 'done', {
      path: ['output'],
      error: 'goes with the answer done only',
    })
    .describe(
      '`result` is required when `answer` is heuristic or terminated and refused otherwise; `output` goes with done.',
    );
}
const RESULT_ANSWERS: ReadonlySet<string> = new Set(['heuristic', 'terminated']);

export const reportSchema = checked(report);
/** The report as told on `response.{tx}.{participant}.{phase}`: that subject is shared by patterns. */
export const phaseResponseSchema = checked(report.extend({ pattern }));

type DeadlineKey = 'step' | 'phase' | 'attempt';
/** What a deadline must name besides its kind. */
const GUARDED: Readonly<Record<DeadlineKind, readonly DeadlineKey[]>> = {
  attempt: ['step', 'phase', 'attempt'],
  backoff: ['step', 'phase', 'attempt'],
  phase: ['phase'],
  step: ['step'],
  reservation: ['step'],
  run: [],
  start: [],
  gate: [],
};
export const deadlineInputSchema = z
  .strictObject({
    v,
    tx: id,
    run,
    meta: optional(meta),
    kind: z.enum(DEADLINE_KINDS),
    step: optional(id),
    phase: optional(phase),
    attempt: optional(attempt),
    armed: pos,
  })
  .refine((value) => GUARDED[value.kind].every((key) => value[key] !== undefined), {
    error: (issue) => {
      const { kind } = issue.input as { readonly kind: DeadlineKind };
      return `needs ${GUARDED[kind].join(', ')} when kind is ${kind}`;
    },
  })
  .describe(
    'Kinds attempt and backoff need step, phase and attempt; phase needs phase; step and reservation step.',
  );

const decidedCommon = { v, tx: id, run, meta: optional(meta), at: pos, code: optional(code) };
export const decidedSchema = z.discriminatedUnion('kind', [
  z
    .strictObject({
      ...decidedCommon,
      kind: z.literal('verdict'),
      value: z.enum(VERDICTS),
      of: optional(run),
    })
    .refine((note) => (note.of !== undefined) === (note.value === 'duplicate' || note.value === 'mismatch'), {
      path: ['of'],
      error: 'is required with duplicate and mismatch, and goes with no other verdict',
    })
    .describe('`of` is required when `value` is duplicate or mismatch and refused otherwise.'),
  z.strictObject({
    ...decidedCommon,
    kind: z.literal('decision'),
    value: z.enum(DECISIONS),
    digest,
  }),
  z.strictObject({
    ...decidedCommon,
    kind: z.literal('outcome'),
    value: z.enum(STATUSES),
    digest,
    until: optional(ms),
  }),
  z.strictObject({ ...decidedCommon, kind: z.literal('conflict'), value: z.string().max(64), digest }),
]);

export const signalSchema = z.strictObject({
  v,
  tx: id,
  run,
  meta: optional(meta),
  name: id,
  verdict: optional(z.enum(['approve', 'reject'])),
  data: optional(output),
  by: optional(person),
  reason: optional(reason),
});

export const cancelSchema = z.strictObject({
  v,
  tx: id,
  run,
  meta: optional(meta),
  reason,
  by: optional(person),
});

const operatorCommon = { v, tx: id, run, meta: optional(meta), by: person, reason };
const item = { raised: pos, step: id, phase };
export const operatorSchemas = {
  retry: z.strictObject({ ...operatorCommon, ...item, retry: optional(retrySchema) }),
  skip: z.strictObject({ ...operatorCommon, ...item }),
  resolve: z.strictObject({
    ...operatorCommon,
    ...item,
    answer: z.enum(['done', 'refused']),
    output: optional(output),
  }),
  force: z.strictObject({
    ...operatorCommon,
    raised: pos,
    decision: z.enum(['commit', 'abort', 'complete', 'undo']),
  }),
  kill: z.strictObject(operatorCommon),
  cancel: z.strictObject({ ...operatorCommon }),
  signal: z.strictObject({
    ...operatorCommon,
    name: id,
    verdict: optional(z.enum(['approve', 'reject'])),
    data: optional(output),
  }),
  recover: z.strictObject({ v, meta: optional(meta), by: person, reason, survived: pos }),
} as const;

export const enableSchema = z.strictObject({
  v,
  meta: optional(meta),
  machine: z.int().min(1),
  by: person,
  reason,
});

export const outcomeSchema = z.strictObject({
  v,
  tx: id,
  run,
  meta: optional(meta),
  pattern,
  status: z.enum(STATUSES),
  scope: z.enum(['all', 'critical']),
  at: pos,
  time: ms,
  code: optional(code),
  message: optional(message),
  step: optional(id),
  outputs: optional(
    ownKeys.pipe(
      z
        .record(id, output)
        .refine(
          (value) => utf8Length(JSON.stringify(value)) <= limits.MAX_OUTPUTS_BYTES,
          `is larger than ${limits.MAX_OUTPUTS_BYTES} bytes`,
        )
        .describe(`At most ${limits.MAX_OUTPUTS_BYTES} bytes of JSON in all, else left out: ask query.`),
    ),
  ),
  attention: optional(z.boolean()),
  duplicate: optional(z.boolean()),
});

export type Deadline = z.infer<typeof deadlineSchema>;
export type RetryPolicy = z.infer<typeof retrySchema>;
export type PlanStep = z.infer<typeof stepSchema>;
export type Plan = z.infer<typeof planSchema>;
export type Cause = z.infer<typeof cause>;
export type BeginEnvelope = z.infer<typeof beginSchema>;
export type CommandEnvelope = z.infer<typeof commandSchema>;
export type ReportEnvelope = z.infer<typeof reportSchema>;
export type PhaseResponse = z.infer<typeof phaseResponseSchema>;
export type DeadlineEnvelope = z.infer<typeof deadlineInputSchema>;
export type DecidedEnvelope = z.infer<typeof decidedSchema>;
export type SignalEnvelope = z.infer<typeof signalSchema>;
export type CancelEnvelope = z.infer<typeof cancelSchema>;
export type OutcomeEnvelope = z.infer<typeof outcomeSchema>;
export type EnableEnvelope = z.infer<typeof enableSchema>;
export type OperatorEnvelopes = { [K in keyof typeof operatorSchemas]: z.infer<(typeof operatorSchemas)[K]> };
