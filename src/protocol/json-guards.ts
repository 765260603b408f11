/** The rules of `jsonProblem` and of string maps, decided in one walk and without building anything. */
import { MAX_JSON_DEPTH, utf8Length } from '../kernel/json.ts';

export type Fields = Readonly<Record<string, unknown>>;
export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export interface Room {
  /** Cap of the value as compact JSON text, in UTF-8 bytes. */
  readonly maxBytes: number;
  /** Bytes of the body that the value was parsed from; Infinity when unknown. */
  readonly bodyBytes: number;
}

/** Compact JSON text is at most so much longer than any text of the same value: `1e15` becomes sixteen digits. */
const MAX_GROWTH = 4;
/** Longest text of a finite number, as `-1.2345678901234567e-308`, and a comma. */
const NUMBER_BYTES = 25;
/** `\u0000`: the longest text of one UTF-16 unit. */
const UNIT_BYTES = 6;

/** Whether `jsonProblem` finds nothing, and the value's compact text fits. */
export function isJsonWithin(value: unknown, { maxBytes, bodyBytes }: Room): boolean {
  const bound = upperBound(value, 0);
  if (bound <= maxBytes) return true;
  if (Number.isNaN(bound)) return false;
  return isTextWithin(value, { maxBytes, bodyBytes });
}

/** Whether the compact text of a value without problems fits. */
export function isTextWithin(value: unknown, { maxBytes, bodyBytes }: Room): boolean {
  return bodyBytes * MAX_GROWTH <= maxBytes || utf8Length(JSON.stringify(value)) <= maxBytes;
}

/** At least the bytes of the value's compact text; NaN where `jsonProblem` finds something. */
function upperBound(value: unknown, depth: number): number {
  switch (typeof value) {
    case 'string':
      return value.length * UNIT_BYTES + 3;
    case 'boolean':
      return 6;
    case 'number':
      return Number.isFinite(value) && (Number.isSafeInteger(value) || !Number.isInteger(value))
        ? NUMBER_BYTES
        : NaN;
    case 'object':
      if (value === null) return 5;
      return depth < MAX_JSON_DEPTH ? boundOfChildren(value, depth + 1) : NaN;
    default:
      return NaN;
  }
}

function boundOfChildren(value: object, depth: number): number {
  let bytes = 3;
  if (Array.isArray(value)) {
    for (const item of value) bytes += upperBound(item, depth);
    return bytes;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return NaN;
  for (const key of Object.keys(value)) {
    if (key === '__proto__') return NaN;
    bytes += key.length * UNIT_BYTES + 4 + upperBound((value as Fields)[key], depth);
  }
  return bytes;
}

/** Whether the value maps non-empty keys to strings within the caps (bytes of keys and values together). */
export function isStringsWithin(value: unknown, maxEntries: number, maxBytes: number): boolean {
  if (!isFields(value)) return false;
  const keys = Object.keys(value);
  if (keys.length > maxEntries) return false;
  let units = 0;
  for (const key of keys) {
    const text = value[key];
    if (typeof text !== 'string' || key === '' || key === '__proto__') return false;
    units += key.length + text.length;
  }
  if (units * 3 <= maxBytes) return true;
  return keys.reduce((sum, key) => sum + utf8Length(key) + utf8Length(value[key] as string), 0) <= maxBytes;
}
