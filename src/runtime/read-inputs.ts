/** From a message of the log to the inputs a fold takes: the same for coordinators and auditors. */
import { hash } from 'node:crypto';
import type { Digest } from '../kernel/hash.ts';
import { parseInputSubject, type InputAddress } from '../kernel/subjects.ts';
import type { LogMessage } from '../ports/log.ts';
import { decodeBody } from '../protocol/codec.ts';
import type { FoldInput } from '../protocol/fold-sink.ts';
import { parseInput } from '../protocol/guards.ts';

/** First 64 bits of the SHA-256 of the raw message: computed once a message (Rule 4). */
export function shaOf(data: Uint8Array): Digest {
  const digest = hash('sha256', data, 'buffer');
  return { hi: digest.readInt32BE(0), lo: digest.readInt32BE(4) };
}

/** Something in the log that no machine will ever see. */
export interface Unreadable {
  readonly index: number | undefined;
  readonly problem: string;
  readonly envelope: unknown;
}

const addresses = new Map<string, InputAddress | undefined>();
const MAX_ADDRESSES = 65_536;

/** Subjects are few; parsing one per message would not be free. */
function addressOf(subject: string): InputAddress | undefined {
  if (addresses.has(subject)) return addresses.get(subject);
  if (addresses.size >= MAX_ADDRESSES) addresses.clear();
  const address = parseInputSubject(subject);
  addresses.set(subject, address);
  return address;
}

const roleOf = (sender: string): 'participant' | 'coordinator' | 'operator' =>
  sender === 'coordinator' || sender === 'operator' ? sender : 'participant';

function hasNatsHeaders(headers: ReadonlyMap<string, string> | undefined): boolean {
  if (headers === undefined) return false;
  for (const name of headers.keys()) if (name.toLowerCase().startsWith('nats-')) return true;
  return false;
}

/** Calls `onInput` for each readable envelope in order, and `onUnreadable` for whatever is not one. */
export function readInputs(
  message: LogMessage,
  sha: Digest,
  to: { onInput: (input: FoldInput) => void; onUnreadable: (unreadable: Unreadable) => void },
): void {
  const address = addressOf(message.subject);
  if (address === undefined) {
    to.onUnreadable({ index: undefined, problem: 'nobody may publish on this subject', envelope: undefined });
    return;
  }
  const body = decodeBody(message.data);
  if (!body.ok) {
    to.onUnreadable({ index: undefined, problem: body.problem, envelope: undefined });
    return;
  }
  const { seq, timeMs } = message;
  const natsHeaders = hasNatsHeaders(message.headers);
  const identified = message.headers?.has('Nats-Msg-Id') === true;
  const role = roleOf(address.sender);
  for (let index = 0; index < body.envelopes.length; index += 1) {
    const raw = body.envelopes[index];
    const parsed = parseInput({ kind: address.kind, sender: role }, raw, message.data.byteLength);
    if (parsed.ok) {
      to.onInput({ seq, index, timeMs, address, envelope: parsed.envelope, sha, natsHeaders, identified });
    } else to.onUnreadable({ index, problem: parsed.problem, envelope: raw });
  }
}
