import type { BusMessage } from '../../ports/bus.ts';
import { decodeBody } from '../../protocol/codec.ts';
import { outcomeSchema, type OutcomeEnvelope } from '../../protocol/envelopes.ts';

/** The well-formed outcomes in a response about `tx`. */
export function readOutcomes(message: BusMessage, tx: string): readonly OutcomeEnvelope[] {
  const body = decodeBody(message.data);
  if (!body.ok) return [];
  const outcomes: OutcomeEnvelope[] = [];
  for (const envelope of body.envelopes) {
    const parsed = outcomeSchema.safeParse(envelope);
    if (parsed.success && parsed.data.tx === tx) outcomes.push(parsed.data);
  }
  return outcomes;
}
