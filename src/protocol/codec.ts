/** Bodies on the wire: a JSON array of 1 to 256 envelopes, at most 256 KiB (DESIGN §2). */
import { utf8Length } from '../kernel/json.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import { MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, MAX_ENVELOPES } from './limits.ts';

export type Body =
  | { readonly ok: true; readonly envelopes: readonly unknown[] }
  /** Not a body: dead-lettered whole. */
  | { readonly ok: false; readonly problem: string };

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const bad = (problem: string): Body => ({ ok: false, problem });

/** Reads a body; its envelopes are not checked yet. Never throws. */
export function decodeBody(data: Uint8Array): Body {
  if (data.length > MAX_BODY_BYTES) return bad(`has ${data.length} bytes, more than ${MAX_BODY_BYTES}`);
  let value: unknown;
  try {
    // A byte order mark stays in the text (ignoreBOM) and is no JSON.
    value = JSON.parse(decoder.decode(data));
  } catch (error) {
    return bad(error instanceof SyntaxError ? 'is not JSON' : 'is not UTF-8');
  }
  if (!Array.isArray(value)) return bad('is not an array of envelopes');
  if (value.length === 0) return bad('is an empty array');
  if (value.length > MAX_ENVELOPES) return bad(`has ${value.length} envelopes, more than ${MAX_ENVELOPES}`);
  return { ok: true, envelopes: value as readonly unknown[] };
}

/**
 * One envelope as JSON text, for `joinBody`.
 *
 * @throws {PhasorError} `PAYLOAD_TOO_LARGE` when it would not fit a body of its own.
 */
export function encodeEnvelope(envelope: object): string {
  const text = JSON.stringify(envelope);
  // No UTF-16 unit takes more than three bytes: most texts need no counting.
  if (text.length * 3 > MAX_ENVELOPE_BYTES) {
    const bytes = utf8Length(text);
    if (bytes > MAX_ENVELOPE_BYTES) {
      throw new PhasorError('PAYLOAD_TOO_LARGE', `an envelope has ${bytes} bytes`, {
        bytes,
        max: MAX_ENVELOPE_BYTES,
      });
    }
  }
  return text;
}

/** A body of envelopes already encoded. The caller keeps count and bytes within the caps. */
export function joinBody(texts: readonly string[]): Uint8Array {
  return encoder.encode(`[${texts.join(',')}]`);
}
