/** Generators of valid envelopes and of small harms to them. */
import fc from 'fast-check';
import { jsonProblem } from '../../src/kernel/json.ts';
import {
  ANSWERS,
  DECISIONS,
  PATTERNS,
  PHASES,
  STATUSES,
  STEP_KINDS,
  UNDO_PHASES,
} from '../../src/kernel/vocabulary.ts';

const ID_CHARS = 'ABCxyz019_-'.split('');
export const ids = fc.string({ unit: fc.constantFrom(...ID_CHARS), minLength: 1, maxLength: 64 });
const participants = fc.constantFrom('payment', 'stock', 'a', 'bank-2', 'z'.repeat(32));
const naturals = fc.oneof(fc.nat(), fc.constantFrom(0, 1, 2 ** 53 - 1, 2 ** 31));
const positives = naturals.map((n) => Math.max(1, n));
const sequences = fc.nat({ max: 999_999_999_999_999 });
export const positions = fc.tuple(sequences, fc.nat({ max: 255 })).map(([seq, i]) => `${seq}.${i}`);
export const runs = fc.tuple(positions, sequences).map(([at, ms]) => `${at}.${ms}`);
const texts = fc.string({ unit: 'binary', maxLength: 40 });
const metas = fc.dictionary(fc.string({ minLength: 1, maxLength: 8 }), fc.string({ maxLength: 20 }), {
  maxKeys: 16,
  noNullPrototype: true,
});
const json = fc
  .jsonValue({ maxDepth: 2 })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown)
  .filter((value) => jsonProblem(value) === undefined);

type Arbitraries = Record<string, fc.Arbitrary<unknown>>;
const record = (required: Arbitraries, optional: Arbitraries): fc.Arbitrary<Record<string, unknown>> =>
  fc.record({ ...required, ...optional }, { requiredKeys: Object.keys(required), noNullPrototype: true });

const common = { v: fc.constant(1), tx: ids, run: runs };
const causes = record({ at: positions, time: naturals }, {});
const act = { step: ids, phase: fc.constantFrom(...PHASES), attempt: positives, cause: causes };

export const commands = record(
  { ...common, ...act, shard: naturals, action: ids, since: naturals },
  {
    meta: metas,
    due: naturals,
    input: json,
    output: json,
    ran: fc.boolean(),
    redo: fc.integer({ min: 1, max: 9 }),
    alone: fc.boolean(),
    reply: fc.boolean(),
  },
).map((command) =>
  (UNDO_PHASES as readonly unknown[]).includes(command['phase']) ? { ran: false, ...command } : command,
);

export const reports = record(
  { ...common, ...act, answer: fc.constantFrom(...ANSWERS) },
  {
    meta: metas,
    output: json,
    code: ids,
    message: texts,
    mayHaveRun: fc.boolean(),
    lateEffect: fc.boolean(),
    retryAfter: fc.nat(2_592_000_000),
    expiresAt: naturals,
  },
).map((report): Record<string, unknown> => {
  const { output: _, ...rest } = report;
  if (report['answer'] === 'done') return report;
  const named = report['answer'] === 'heuristic' || report['answer'] === 'terminated';
  return named ? { ...rest, result: 'committed' } : rest;
});

const digests = fc.constantFrom('0123456789abcdef', 'ffffffffffffffff');
const note = { ...common, at: positions };
export const decided = fc.oneof(
  record(
    { ...note, kind: fc.constant('verdict'), value: fc.constantFrom('admit', 'refused') },
    { code: ids },
  ),
  record(
    { ...note, kind: fc.constant('verdict'), value: fc.constantFrom('duplicate', 'mismatch'), of: runs },
    { meta: metas },
  ),
  record(
    { ...note, kind: fc.constant('decision'), value: fc.constantFrom(...DECISIONS), digest: digests },
    { code: ids, meta: metas },
  ),
  record(
    { ...note, kind: fc.constant('outcome'), value: fc.constantFrom(...STATUSES), digest: digests },
    { until: naturals, meta: metas },
  ),
  record({ ...note, kind: fc.constant('conflict'), value: texts, digest: digests }, { code: ids }),
);

export const outcomes = record(
  {
    ...{ ...common, at: positions, time: naturals },
    pattern: fc.constantFrom(...PATTERNS),
    status: fc.constantFrom(...STATUSES),
    scope: fc.constantFrom('all', 'critical'),
  },
  {
    meta: metas,
    code: ids,
    message: texts,
    step: ids,
    outputs: fc.dictionary(ids, json, { maxKeys: 4, noNullPrototype: true }),
    attention: fc.boolean(),
    duplicate: fc.boolean(),
  },
);

const steps = record(
  { participant: participants, action: ids },
  {
    step: ids,
    input: json,
    kind: fc.constantFrom(...STEP_KINDS),
    after: fc.array(ids, { maxLength: 3 }),
  },
);
const plans = record(
  {
    name: fc.string({ minLength: 1, maxLength: 128 }),
    steps: fc.array(steps, { minLength: 1, maxLength: 4 }),
  },
  {},
);
export const begins = record(
  {
    v: fc.constant(1),
    tx: ids,
    id: fc.constantFrom('fresh', 'own'),
    shards: fc.integer({ min: 1, max: 1_024 }),
    plan: plans,
  },
  {
    meta: metas,
    labels: metas,
    startAt: naturals,
    reply: fc.subarray(['outcome', 'phases']),
    allow: fc.constantFrom({ cancel: ['shop'] }, { signal: { approve: ['shop'] } }, {}),
    parent: fc.constant({
      pattern: 'saga',
      tx: 'p',
      run: '1.0.5',
      step: 's',
      phase: 'execute',
      attempt: 1,
      cause: { at: '1.0', time: 5 },
      since: 5,
    }),
  },
);

const deep = (levels: number): unknown => JSON.parse('['.repeat(levels) + ']'.repeat(levels));
const entries = (count: number): object =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, '']));
/** Five outputs of so many bytes as JSON text. */
const outputsOf = (bytes: number): object => {
  const texts = { a: '', b: '', c: '', d: '', e: '' };
  const chars = bytes - JSON.stringify(texts).length;
  const share = Math.floor(chars / 5);
  const names = Object.keys(texts) as (keyof typeof texts)[];
  for (const name of names) texts[name] = 'x'.repeat(name === 'a' ? chars - 4 * share : share);
  return texts;
};
/** Values at and beyond every cap, and of every wrong type. */
export const ODD: readonly unknown[] = [
  ...[undefined, null, true, false, '', 'x', 0, 1, -1, 1.5, -0, NaN, Infinity],
  ...[2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2, -(2 ** 53), 1e308, 1e15, 2_592_000_000, 2_592_000_001, 1_024, 1_025],
  ...[[], {}, [1], { a: 1 }, [undefined], { a: undefined }, { a: 2 ** 53 }, deep(63), deep(64), deep(65)],
  ...['x'.repeat(64), 'x'.repeat(65), 'x'.repeat(1_024), 'x'.repeat(1_025), 'x y', 'a.b', '*', '>', 'é'],
  ...['x'.repeat(16_382), 'x'.repeat(16_383), 'é'.repeat(8_191), 'é'.repeat(8_192), '\u0000'.repeat(2_731)],
  ...['x'.repeat(65_534), 'x'.repeat(65_535), Array.from({ length: 3_855 }, () => 1e15), '\ud800'],
  ...[
    Array.from({ length: 3_856 }, () => 1e15),
    JSON.parse('{"__proto__":1}'),
    [JSON.parse('{"__proto__":{}}')],
  ],
  ...[entries(16), entries(17), { k: 'x'.repeat(1_023) }, { k: 'x'.repeat(1_024) }, { k: 'é'.repeat(512) }],
  ...[{ '': 'x' }, { constructor: 'x' }, { toString: 'x' }, { k: 1 }, ...PHASES, ...ANSWERS, ...STATUSES],
  ...['1.0', '1.0.5', '01.0', '1.00', '1', '1.', '1.0.', '999999999999999.0', '1000000000000000.0', '1.1000'],
  ...['committed', 'verdict', 'decision', 'outcome', 'conflict', 'admit', 'duplicate', 'commit', 'undo'],
  ...[
    { at: '1.0', time: 1 },
    { at: '1.0', time: 1, x: 1 },
    { at: '1.0' },
    ['outcome'],
    ['phases', 'x'],
    'fresh',
  ],
  // Outputs of an outcome: what each may be, and 65,536 and 65,537 bytes in all.
  ...[{ a: deep(64) }, { a: deep(65) }, { 'a.b': 1 }, { a: 'x'.repeat(16_382) }, { a: 'x'.repeat(16_383) }],
  ...[outputsOf(65_536), outputsOf(65_537)],
  ...['coordinator', 'operator', { name: 'p', steps: [] }, { name: 'p', steps: [{}] }, ['outcome', 'x', 'y']],
];
const odd = fc.oneof(fc.constantFrom(...ODD), json);

/** One harm at a random place: a key dropped, added or given an odd value. */
export function harmed(valid: fc.Arbitrary<Record<string, unknown>>): fc.Arbitrary<Record<string, unknown>> {
  const harm = fc.record({
    keys: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
    how: fc.constantFrom('drop', 'replace', 'add', 'proto'),
    name: fc.constantFrom(
      'x',
      'meta',
      'ran',
      'result',
      'output',
      'of',
      'until',
      'kind',
      'constructor',
      'input',
    ),
    value: odd,
  });
  return fc.tuple(valid, fc.array(harm, { minLength: 1, maxLength: 2 })).map(([envelope, harms]) => {
    const copy = structuredClone(envelope);
    // Copies: a second harm inside the value of the first must not change, or even nest in itself, a value shared by all.
    for (const { keys, how, name, value } of harms)
      inflict(copy, keys, { how, name, value: structuredClone(value) });
    return copy;
  });
}

function inflict(
  target: Record<string, unknown>,
  [first, ...rest]: readonly number[],
  harm: { readonly how: string; readonly name: string; readonly value: unknown },
): void {
  const keys = Object.keys(target);
  const key = keys[(first ?? 0) % Math.max(1, keys.length)];
  const inner = key === undefined ? undefined : target[key];
  if (rest.length > 0 && typeof inner === 'object' && inner !== null) {
    inflict(inner as Record<string, unknown>, rest, harm);
    return;
  }
  if (harm.how === 'add') target[harm.name] = harm.value;
  else if (harm.how === 'proto') {
    const options = { value: harm.value, enumerable: true, configurable: true, writable: true };
    Object.defineProperty(target, '__proto__', options);
  } else if (key !== undefined && harm.how === 'drop') {
    // JSON has no sparse arrays.
    if (Array.isArray(target)) target.splice(Number(key), 1);
    else Reflect.deleteProperty(target, key);
  } else if (key !== undefined) target[key] = harm.value;
}
