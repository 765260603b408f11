export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export const MAX_JSON_DEPTH = 64;
const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__']);

/** What is wrong with a parsed JSON value, or undefined: the same rule at every edge (numbers, depth, keys). */
export function jsonProblem(value: unknown, depth = 0): string | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined;
    case 'number':
      if (!Number.isFinite(value)) return 'is not a finite number';
      return Number.isInteger(value) && !Number.isSafeInteger(value)
        ? 'is an integer beyond 2^53: send it as a string'
        : undefined;
    case 'object':
      if (value === null) return undefined;
      if (depth >= MAX_JSON_DEPTH) return `is nested deeper than ${MAX_JSON_DEPTH} levels`;
      return childProblem(value, depth + 1);
    default:
      return `is not JSON (${typeof value})`;
  }
}

function childProblem(value: object, depth: number): string | undefined {
  if (Array.isArray(value)) {
    for (const item of value) {
      const problem = jsonProblem(item, depth);
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return 'is not a plain object';
  for (const key of Object.keys(value)) {
    if (FORBIDDEN_KEYS.has(key)) return `has the forbidden key "${key}"`;
    const problem = jsonProblem((value as Record<string, unknown>)[key], depth);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** Keys sorted by UTF-16 code unit, no white space (RFC 8785 without its number corner cases: `JSON.stringify`'s). */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

export type Lookup = { readonly found: true; readonly value: Json } | { readonly found: false };

/** JSON Pointer (RFC 6901) through own properties only. */
export function lookupPointer(document: Json, pointer: string): Lookup {
  let current: Json = document;
  if (pointer === '') return { found: true, value: current };
  if (!pointer.startsWith('/')) return { found: false };
  for (const raw of pointer.slice(1).split('/')) {
    const token = raw.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, token))
      return { found: false };
    if (Array.isArray(current) && !/^(0|[1-9]\d*)$/.test(token)) return { found: false };
    const next: Json | undefined = (current as Readonly<Record<string, Json>>)[token];
    if (next === undefined) return { found: false };
    current = next;
  }
  return { found: true, value: current };
}

/** Bytes of `text` in UTF-8, without encoding it. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < text.length) {
      const next = text.charCodeAt(i + 1);
      bytes += 2;
      if (next >= 0xdc00 && next < 0xe000) i += 1;
    } else bytes += 2;
  }
  return bytes;
}
