/** Grammar of every identity on the wire. Constants of the envelope version, never options. */

/** Caller's own transaction ids, step ids, signal and label names. */
export const ID_PATTERN = /^[A-Za-z0-9_-]{1,64}$/;
/** Service roles: participants and the senders of begins, reports and signals. */
export const PARTICIPANT_PATTERN = /^[a-z][a-z0-9-]{0,31}$/;
export const RESERVED_SENDERS: ReadonlySet<string> = new Set(['coordinator', 'operator']);
export const ULID_PATTERN = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

export const isId = (value: string): boolean => ID_PATTERN.test(value);
export const isSender = (value: string): boolean => PARTICIPANT_PATTERN.test(value);
export const isParticipant = (value: string): boolean => isSender(value) && !RESERVED_SENDERS.has(value);

/** Milliseconds since the epoch in a ULID's first ten characters (ULID specification), or undefined. */
export function ulidTimeMs(id: string): number | undefined {
  if (!ULID_PATTERN.test(id)) return undefined;
  let time = 0;
  for (let i = 0; i < 10; i += 1) time = time * 32 + CROCKFORD.indexOf(id.charAt(i));
  return time;
}
