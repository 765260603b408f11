/**
 * Inputs that point into outputs of earlier steps: an object whose only key is `$from` stands for the value that its
 * string names, a step id and a JSON pointer (`{"$from":"reserve/holdId"}`) or the step's whole output
 * (`{"$from":"reserve"}`). The key is reserved: beside other keys, or with anything but a string, the plan is refused.
 */
import { ID_PATTERN } from '../kernel/ids.ts';
import { jsonProblem, lookupPointer, utf8Length, type Json } from '../kernel/json.ts';
import { quoted } from './bounded.ts';
import { MAX_INPUT_BYTES } from './limits.ts';

/** Where in the input it stands, as a suffix of a field path: `.hold`, `[0].id`, or `` for the input itself. */
interface Place {
  readonly field: string;
}

export interface InputPointer extends Place {
  readonly step: string;
  /** RFC 6901; empty for the whole output. */
  readonly pointer: string;
}

export interface MalformedPointer extends Place {
  readonly problem: string;
}

/** Every pointer in an input, in reading order. */
export function pointersIn(input: Json): readonly (InputPointer | MalformedPointer)[] {
  if (!mentionsPointer(input)) return NONE;
  const found: (InputPointer | MalformedPointer)[] = [];
  collect(input, '', found);
  return found;
}

const NONE: readonly InputPointer[] = [];

/** Most inputs are plain data: found out without naming every place in them. */
function mentionsPointer(value: Json): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (isArray(value)) return value.some(mentionsPointer);
  for (const key of Object.keys(value)) {
    if (key === '$from' || mentionsPointer((value as Readonly<Record<string, Json>>)[key] ?? null))
      return true;
  }
  return false;
}

function collect(value: Json, field: string, found: (InputPointer | MalformedPointer)[]): void {
  if (typeof value !== 'object' || value === null) return;
  const from = pointerText(value);
  if (from !== undefined) {
    const parsed = parsePointer(from);
    found.push('problem' in parsed ? { field, ...parsed } : { field, ...parsed });
  } else if (Object.hasOwn(value, '$from')) {
    found.push({ field, problem: '"$from" must be a string and the only key of its object' });
  } else if (isArray(value)) {
    value.forEach((item, index) => collect(item, `${field}[${index}]`, found));
  } else {
    for (const [key, item] of Object.entries(value)) collect(item, field + keyPath(key), found);
  }
}

const isArray = (value: Json): value is readonly Json[] => Array.isArray(value);
const keyPath = (key: string): string =>
  /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;

/** The text of a pointer, or undefined where the value is plain data. */
function pointerText(value: object): string | undefined {
  if (Array.isArray(value) || !Object.hasOwn(value, '$from') || Object.keys(value).length !== 1)
    return undefined;
  const { $from } = value as { readonly $from: unknown };
  return typeof $from === 'string' ? $from : undefined;
}

function parsePointer(from: string): { step: string; pointer: string } | { problem: string } {
  const slash = from.indexOf('/');
  const step = slash < 0 ? from : from.slice(0, slash);
  const pointer = slash < 0 ? '' : from.slice(slash);
  if (!ID_PATTERN.test(step)) return { problem: `"$from" must start with a step id, not "${quoted(step)}"` };
  if (/~(?![01])/.test(pointer)) return { problem: `"$from" is not a JSON pointer: "${quoted(pointer)}"` };
  return { step, pointer };
}

export interface InputProblem {
  readonly code: 'dangling-pointer' | 'input-too-large';
  readonly message: string;
}

export type ResolvedInput =
  { readonly ok: true; readonly value: Json } | { readonly ok: false; readonly problem: InputProblem };

/**
 * Puts what each pointer names in its place; `outputOf` gives the output of a step that has one. Refused are a target
 * that does not exist (own properties only), and a result above 64 KiB or nested deeper than an envelope may be.
 */
export function resolveInput(input: Json, outputOf: (step: string) => Json | undefined): ResolvedInput {
  const resolution: Resolution = { outputOf, bytes: 0, problem: undefined };
  const value = resolve(input, resolution);
  if (resolution.problem !== undefined) return { ok: false, problem: resolution.problem };
  if (utf8Length(JSON.stringify(value)) > MAX_INPUT_BYTES) return { ok: false, problem: TOO_LARGE };
  const problem = jsonProblem(value);
  if (problem === undefined) return { ok: true, value };
  return { ok: false, problem: { code: 'input-too-large', message: `the resolved input ${problem}` } };
}

interface Resolution {
  readonly outputOf: (step: string) => Json | undefined;
  /** Bytes of what pointers brought in so far: a small input may point to a large output thousands of times. */
  bytes: number;
  problem: InputProblem | undefined;
}

const TOO_LARGE: InputProblem = {
  code: 'input-too-large',
  message: `the resolved input has more than ${MAX_INPUT_BYTES} bytes`,
};

function resolve(value: Json, resolution: Resolution): Json {
  if (typeof value !== 'object' || value === null || resolution.problem !== undefined) return value;
  const from = pointerText(value);
  if (from !== undefined) return follow(from, resolution);
  if (isArray(value)) return value.map((item) => resolve(item, resolution));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolve(item, resolution)]));
}

function follow(from: string, resolution: Resolution): Json {
  const parsed = parsePointer(from);
  const output = 'problem' in parsed ? undefined : resolution.outputOf(parsed.step);
  const target =
    output === undefined || 'problem' in parsed ? undefined : lookupPointer(output, parsed.pointer);
  if (target?.found !== true) {
    resolution.problem = { code: 'dangling-pointer', message: `nothing is at "${quoted(from)}"` };
    return null;
  }
  resolution.bytes += utf8Length(JSON.stringify(target.value));
  if (resolution.bytes > MAX_INPUT_BYTES) resolution.problem = TOO_LARGE;
  return target.value;
}
