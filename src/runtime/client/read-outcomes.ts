import type { BusMessage } from '../../ports/bus.ts';
import { decodeBody } from '../../protocol/codec.ts';
import type { OutcomeEnvelope } from '../../protocol/envelopes.ts';
import { parseOutcome } from '../../protocol/guards.ts';

/** The well-formed outcomes in a response about `tx`. */
export function readOutcomes(message: BusMessage, tx: string): readonly OutcomeEnvelope[] {
  const body = decodeBody(message.data);
  if (!body.ok) return [];
  const outcomes: OutcomeEnvelope[] = [];
  for (const envelope of body.envelopes) {
    const parsed = parseOutcome(envelope, message.data.length);
    if (parsed.ok && parsed.envelope.tx === tx) outcomes.push(parsed.envelope);
  }
  return outcomes;
}
