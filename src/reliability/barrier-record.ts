/** Barrier records as bytes. Only the participant itself writes its bucket (Rule 8), but people have hands. */
import { z } from 'zod';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Json } from '../kernel/json.ts';
import { POSITION_PATTERN } from '../kernel/position.ts';
import { ANSWERS, PHASES, type Phase } from '../kernel/vocabulary.ts';
import type { BarrierRecord, PhaseEntry } from './barrier-table.ts';

const flag = z.exactOptional(z.literal(true));
const attempt = z.int().min(1);
const reply = z.strictObject({
  answer: z.enum(ANSWERS),
  result: z.exactOptional(z.enum(['committed', 'aborted'])),
  output: z.exactOptional(z.json() as z.ZodType<Json>),
  code: z.exactOptional(z.string()),
  message: z.exactOptional(z.string()),
  mayHaveRun: z.exactOptional(z.boolean()),
  lateEffect: z.exactOptional(z.boolean()),
  retryAfter: z.exactOptional(z.number()),
  expiresAt: z.exactOptional(z.number()),
});
const entry = z.discriminatedUnion('status', [
  z.strictObject({
    status: z.literal('started'),
    attempt,
    by: z.string(),
    leaseMs: z.number().min(0),
    dirty: flag,
  }),
  z.strictObject({ status: z.literal('idle'), dirty: z.literal(true) }),
  z.strictObject({ status: z.literal('answered'), attempt, reply, empty: flag, reopened: flag }),
]);
const recordSchema: z.ZodType<BarrierRecord> = z.strictObject({
  v: z.literal(1),
  by: z.string(),
  phases: z.partialRecord(z.enum(PHASES), entry),
  standing: z.exactOptional(
    z.strictObject({
      phase: z.enum(['prepare', 'precommit']),
      at: z.string().regex(POSITION_PATTERN),
      waitMs: z.int().min(1),
    }),
  ),
});

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The bucket takes 32 KiB; the output of one phase takes at most 16. */
const MAX_RECORD_BYTES = 32_000;

/** Beyond what the bucket takes, only the output of `phase` is kept: the commands carry the earlier ones. */
export function encodeRecord(record: BarrierRecord, phase: Phase): Uint8Array {
  const value = encoder.encode(JSON.stringify(record));
  if (value.length <= MAX_RECORD_BYTES) return value;
  const phases = Object.entries(record.phases).map(([name, kept]) => {
    if (name === phase || kept.status !== 'answered') return [name, kept] as const;
    const { output: _, ...rest } = kept.reply;
    return [name, { ...kept, reply: rest }] as const;
  });
  const shortened: BarrierRecord = { ...record, phases: Object.fromEntries<PhaseEntry>(phases) };
  return encoder.encode(JSON.stringify(shortened));
}

/** @throws {PhasorError} `BARRIER_RECORD_INVALID`. */
export function decodeRecord(value: Uint8Array): BarrierRecord {
  try {
    const parsed: unknown = JSON.parse(decoder.decode(value));
    return recordSchema.parse(parsed);
  } catch (cause) {
    throw new PhasorError('BARRIER_RECORD_INVALID', 'a barrier record cannot be read', {}, { cause });
  }
}
