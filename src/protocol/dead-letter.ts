/** What lies on `dead.{pattern}.{participant}`: one object, not an array; operators and tools read it. */
import { z } from 'zod';
import { POSITION_PATTERN } from '../kernel/position.ts';
import { ENVELOPE_VERSION, MAX_MESSAGE_CHARS } from './limits.ts';

export const deadLetterSchema = z.strictObject({
  v: z.literal(ENVELOPE_VERSION),
  position: z.string().regex(POSITION_PATTERN).describe('Where it lies in the stream of its pattern.'),
  subject: z.string().describe('Where it was published.'),
  problem: z.string().max(MAX_MESSAGE_CHARS),
  data: z
    .string()
    .describe('Base64 of the envelope, or of the whole body where no envelope could be told apart.'),
  truncated: z.exactOptional(z.literal(true)),
});

export type DeadLetterBody = z.infer<typeof deadLetterSchema>;
