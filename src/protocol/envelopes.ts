/** Envelope schemas, version 1 (docs/wire.md). Frozen: a change of meaning needs `"v":2`. */
import { z } from 'zod';
import { ID_PATTERN, PARTICIPANT_PATTERN, RESERVED_SENDERS } from '../kernel/ids.ts';
import { jsonProblem, utf8Length, type Json } from '../kernel/json.ts';
import { POSITION_PATTERN, RUN_PATTERN } from '../kernel/position.ts';
import { ANSWERS, DEADLINE_KINDS, PATTERNS, PHASES, STATUSES, STEP_KINDS } from '../kernel/vocabulary.ts';
import * as limits from './limits.ts';

const optional = <T extends z.ZodType>(schema: T): z.ZodExactOptional<T> => z.exactOptional(schema);
const id = z.string().regex(ID_PATTERN);
const participant = z
  .string()
  .regex(PARTICIPANT_PATTERN)
  .refine((name) => !RESERVED_SENDERS.has(name), 'is reserved');
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
  return z.unknown().superRefine((value, context) => {
    const problem = jsonProblem(value);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
    else if (utf8Length(JSON.stringify(value)) > maxBytes)
      context.addIssue({ code: 'custom', message: `is larger than ${maxBytes} bytes` });
  }) as unknown as z.ZodType<Json>;
}

function strings(maxEntries: number, maxBytes: number): z.ZodType<Readonly<Record<string, string>>> {
  return z
    .record(z.string().min(1), z.string())
    .refine((value) => Object.keys(value).length <= maxEntries, `has more than ${maxEntries} entries`)
    .refine(
      (value) =>
        Object.entries(value).reduce((sum, [k, v]) => sum + utf8Length(k) + utf8Length(v), 0) <= maxBytes,
      `is larger than ${maxBytes} bytes`,
    );
}

const input = json(limits.MAX_INPUT_BYTES);
const output = json(limits.MAX_OUTPUT_BYTES);
const meta = strings(limits.MAX_META_ENTRIES, limits.MAX_META_BYTES);
const labels = strings(limits.MAX_LABELS, limits.MAX_LABELS * limits.MAX_LABEL_BYTES);
const v = z.literal(limits.ENVELOPE_VERSION);

/** `lower` is the machine's due time after arming; an adaptive strategy may wait up to `upper` (default: `lower`). */
export const deadlineSchema = z
  .strictObject({ lower: durationMs.min(1), upper: optional(durationMs.min(1)) })
  .refine((value) => value.upper === undefined || value.upper >= value.lower, 'upper is below lower');

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

const phaseDeadlines = z.partialRecord(z.enum([...PHASES, 'run']), deadlineSchema);

export const planSchema = z.strictObject({
  name: z.string().min(1).max(limits.MAX_NAME_CHARS),
  steps: z.array(stepSchema).min(1).max(limits.MAX_STEPS),
  deadlines: optional(phaseDeadlines),
  retry: optional(retrySchema),
  undoRetry: optional(retrySchema),
  gate: optional(z.strictObject({ signal: optional(id), delay: optional(durationMs) })),
  eventual: optional(z.array(stepSchema).max(limits.MAX_STEPS)),
});

const senders = z.array(sender).max(limits.MAX_SENDERS);
const cause = z.strictObject({ at: pos, time: ms });

export const beginSchema = z.strictObject({
  v,
  tx: id,
  meta: optional(meta),
  id: z.enum(['fresh', 'own']),
  shards: z.int().min(1).max(1_024),
  plan: planSchema,
  allow: optional(
    z.strictObject({
      signal: optional(
        z
          .record(id, senders)
          .refine((value) => Object.keys(value).length <= limits.MAX_SIGNALS, 'has too many signals'),
      ),
      cancel: optional(senders),
    }),
  ),
  labels: optional(labels),
  startAt: optional(ms),
  reply: optional(z.array(z.enum(['outcome', 'phases'])).max(2)),
  parent: optional(z.strictObject({ pattern, tx: id, run, step: id, phase, attempt, cause, since: ms })),
});

export const commandSchema = z.strictObject({
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
  alone: optional(z.boolean()),
  reply: optional(z.boolean()),
});

export const reportSchema = z.strictObject({
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

export const deadlineInputSchema = z.strictObject({
  v,
  tx: id,
  run,
  meta: optional(meta),
  kind: z.enum(DEADLINE_KINDS),
  step: optional(id),
  phase: optional(phase),
  attempt: optional(attempt),
  armed: pos,
});

const decidedCommon = { v, tx: id, run, meta: optional(meta), at: pos, code: optional(code) };
export const decidedSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...decidedCommon,
    kind: z.literal('verdict'),
    value: z.enum(['admit', 'duplicate', 'mismatch', 'refused']),
    of: optional(run),
  }),
  z.strictObject({
    ...decidedCommon,
    kind: z.literal('decision'),
    value: z.enum(['commit', 'abort', 'undo']),
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
  recover: z.strictObject({ v, by: person, reason, survived: pos }),
} as const;

export const enableSchema = z.strictObject({ v, machine: z.int().min(1), by: person, reason });

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
  outputs: optional(z.record(id, output)),
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
export type DeadlineEnvelope = z.infer<typeof deadlineInputSchema>;
export type DecidedEnvelope = z.infer<typeof decidedSchema>;
export type SignalEnvelope = z.infer<typeof signalSchema>;
export type CancelEnvelope = z.infer<typeof cancelSchema>;
export type OutcomeEnvelope = z.infer<typeof outcomeSchema>;
export type EnableEnvelope = z.infer<typeof enableSchema>;
export type OperatorEnvelopes = { [K in keyof typeof operatorSchemas]: z.infer<(typeof operatorSchemas)[K]> };
