/** Nanoseconds and server timestamps stop here: everything outside src/nats is in milliseconds. */
const NANOS_PER_MS = 1_000_000;

export const nanosOf = (ms: number): number => Math.round(ms) * NANOS_PER_MS;
export const msOfNanos = (nanos: number): number => Math.floor(nanos / NANOS_PER_MS);

/** RFC 3339 with up to nine decimals, floored to milliseconds; 0 for the zero time of an empty stream. */
export function msOfTimestamp(text: string): number {
  const match = /^(.*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const [, seconds, decimals = '', zone] = match ?? [];
  if (seconds === undefined || zone === undefined || seconds.startsWith('0001-')) return 0;
  return Date.parse(seconds + zone) + Number(decimals.padEnd(3, '0').slice(0, 3));
}
