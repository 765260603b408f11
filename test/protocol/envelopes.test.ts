// Goal: envelopes follow the binding table, and the documents generated from the schemas say the same.
// Method: one valid example of each kind, and single harms with the problem they must be refused for.
import { Ajv, type ValidateFunction } from 'ajv';
import { describe, expect, it } from 'vitest';
import {
  asyncApi,
  jsonSchemas,
  SCHEMA_NAMES,
  schemaOf,
  type SchemaName,
} from '../../src/protocol/schemas.ts';
import { parseCommand, parseInput, type InputSource } from '../../src/protocol/guards.ts';
import { schemaProblems } from '../../src/protocol/schema-problems.ts';

const run = '7.0.1790000000000';
const head = { v: 1, tx: 'order-1', run };
const act = { step: 'pay', phase: 'prepare', attempt: 1, cause: { at: '7.0', time: 1_790_000_000_000 } };
const person = { by: 'asha', reason: 'called the bank' };
const item = { raised: '9.1', step: 'pay', phase: 'commit' };
const digest = '0123456789abcdef';
const plan = { name: 'order', steps: [{ participant: 'pay', action: 'charge', input: { amount: 5 } }] };

const VALID: Readonly<Record<SchemaName, readonly object[]>> = {
  plan: [
    plan,
    {
      name: 'all',
      steps: [
        {
          ...{ step: 'a', participant: 'pay', action: 'x', input: null, kind: 'pivot', after: ['b'] },
          ...{ retry: { maxAttempts: 1 }, undoRetry: { factor: 1.5 }, deadline: { lower: 1, upper: 2 } },
          ...{ child: {}, undoChild: {} },
        },
      ],
      deadlines: { run: { lower: 1 }, prepare: { lower: 1 } },
      retry: { initial: 0, max: 5, attempt: 1 },
      undoRetry: {},
      gate: { signal: 'approve', delay: 5 },
      eventual: [],
    },
  ],
  begin: [
    { v: 1, tx: 'order-1', id: 'own', shards: 8, plan },
    {
      ...{ v: 1, tx: 'order-1', id: 'fresh', shards: 8, plan, meta: { trace: 'x' }, labels: { a: 'b' } },
      ...{ allow: { signal: { approve: ['shop'] }, cancel: ['shop'] }, startAt: 5, reply: ['phases'] },
      parent: { pattern: 'saga', tx: 'p', run, ...act, since: 5 },
    },
  ],
  command: [
    { ...head, ...act, shard: 0, action: 'charge', since: 5 },
    {
      ...{ ...head, ...act, phase: 'compensate', shard: 0, action: 'charge', since: 5, due: 6, input: 'x' },
      ...{ output: [], ran: true, alone: true, reply: true, meta: {} },
    },
  ],
  report: [
    { ...head, ...act, answer: 'done', output: { id: 'h1' } },
    { ...head, ...act, answer: 'heuristic', result: 'committed' },
    { ...head, ...act, answer: 'retry', code: 'isolate', message: '', mayHaveRun: true, retryAfter: 5 },
    { ...head, ...act, answer: 'done', lateEffect: true, expiresAt: 5, meta: {} },
  ],
  'phase-response': [{ ...head, ...act, answer: 'read-only', pattern: '2pc' }],
  deadline: [
    { ...head, kind: 'attempt', step: 'pay', phase: 'prepare', attempt: 1, armed: '7.0' },
    { ...head, kind: 'phase', phase: 'prepare', armed: '7.0' },
    { ...head, kind: 'run', armed: '7.0' },
  ],
  decided: [
    { ...head, at: '8.0', kind: 'verdict', value: 'admit' },
    { ...head, at: '8.0', kind: 'verdict', value: 'duplicate', of: run },
    { ...head, at: '8.0', kind: 'decision', value: 'commit', digest },
    { ...head, at: '8.0', kind: 'outcome', value: 'committed', digest, until: 5, code: 'x' },
    { ...head, at: '8.0', kind: 'conflict', value: 'abort', digest },
  ],
  signal: [
    { ...head, name: 'approve' },
    { ...head, name: 'approve', verdict: 'reject', data: 1, ...person },
  ],
  cancel: [
    { ...head, reason: 'changed my mind' },
    { ...head, ...person },
  ],
  'operator-retry': [{ ...head, ...person, ...item, retry: { maxAttempts: 5 } }],
  'operator-skip': [{ ...head, ...person, ...item }],
  'operator-resolve': [{ ...head, ...person, ...item, answer: 'done', output: {} }],
  'operator-force': [{ ...head, ...person, raised: '9.1', decision: 'commit' }],
  'operator-kill': [{ ...head, ...person }],
  'operator-cancel': [{ ...head, ...person }],
  'operator-signal': [{ ...head, ...person, name: 'approve', verdict: 'approve' }],
  'operator-recover': [{ v: 1, ...person, survived: '9.1', meta: {} }],
  enable: [{ v: 1, machine: 2, ...person, meta: {} }],
  outcome: [
    {
      ...{ ...head, pattern: '2pc', status: 'aborted', scope: 'all', at: '9.0', time: 5, code: 'x' },
      ...{ message: 'm', step: 'pay', outputs: { pay: 1 }, attention: true, duplicate: true },
    },
  ],
  'dead-letter': [{ v: 1, position: '9.0', subject: 's', problem: 'p', data: 'e30=', truncated: true }],
  'query-request': [{ v: 1, txs: ['order-1'] }],
  'query-reply': [
    {
      v: 1,
      found: [
        {
          ...{ tx: 'order-1', pattern: '2pc', run, open: true, phase: 'preparing', waitsFor: 'votes' },
          steps: [{ step: 'pay', participant: 'pay', phase: 'prepare', attempt: 1, status: 'commanded' }],
          attention: [{ raised: '9.1', step: 'pay', phase: 'commit', code: 'in-doubt' }],
        },
      ],
    },
  ],
};

const examples = SCHEMA_NAMES.flatMap((name) => VALID[name].map((value) => ({ name, value })));
const problemsOf = (name: SchemaName, value: unknown): string[] => {
  const result = schemaOf(name).safeParse(value);
  return result.success
    ? []
    : schemaProblems(result.error, value).map(({ field, problem }) => `${field} ${problem}`.trim());
};

const ajv = new Ajv({ strict: true, allErrors: true });
const validators = Object.fromEntries(
  Object.entries(jsonSchemas()).map(([name, schema]) => [name, ajv.compile(schema)]),
) as Readonly<Record<SchemaName, ValidateFunction>>;

describe.each(examples)('$name $value', ({ name, value }) => {
  it('passes its schema and the generated JSON Schema', () => {
    expect(problemsOf(name, value)).toEqual([]);
    expect({ valid: validators[name](value), errors: validators[name].errors }).toMatchObject({
      valid: true,
    });
  });

  it('needs its version and knows no other key, by both', () => {
    const harms: object[] = [
      { ...value, extra: 1 },
      Object.defineProperty({ ...value }, '__proto__', { value: 1, enumerable: true }),
    ];
    if (name !== 'plan') harms.push({ ...value, v: 2 }, { ...value, v: '1' });
    for (const harm of harms) {
      expect(problemsOf(name, harm)).not.toEqual([]);
      expect(validators[name](harm)).toBe(false);
    }
  });

  it('misses no required field unnoticed, by both', () => {
    const { required = [] } = jsonSchemas()[name] as { required?: readonly string[] };
    for (const key of required) {
      const { [key]: _, ...rest } = value as Record<string, unknown>;
      expect(problemsOf(name, rest)).toEqual([`${key} is required`]);
      expect(validators[name](rest)).toBe(false);
    }
  });
});

describe('rules between fields', () => {
  const [report] = VALID.report as [object];
  const [command] = VALID.command as [object];
  const [verdict, duplicate] = VALID.decided as [object, object];

  it.each<[SchemaName, object, string]>([
    ['report', { ...report, answer: 'heuristic', output: undefined }, 'output'],
    ['report', { ...head, ...act, answer: 'terminated' }, 'result is required with heuristic and terminated'],
    ['report', { ...report, result: 'committed' }, 'result is required with heuristic'],
    ['report', { ...report, answer: 'refused' }, 'output goes with the answer done only'],
    [
      'phase-response',
      { ...report, pattern: '2pc', answer: 'refused' },
      'output goes with the answer done only',
    ],
    ['command', { ...command, phase: 'abort' }, 'ran is required in an undo'],
    ['command', { ...command, phase: 'release' }, 'ran is required in an undo'],
    [
      'deadline',
      { ...head, kind: 'backoff', step: 'a', phase: 'prepare', armed: '1.0' },
      'needs step, phase, attempt',
    ],
    ['deadline', { ...head, kind: 'phase', armed: '1.0' }, 'needs phase when kind is phase'],
    ['deadline', { ...head, kind: 'reservation', armed: '1.0' }, 'needs step when kind is reservation'],
    ['decided', { ...verdict, of: run }, 'of is required with duplicate and mismatch'],
    ['decided', { ...duplicate, of: undefined }, 'of'],
    ['decided', { ...verdict, value: 'mismatch' }, 'of is required with duplicate and mismatch'],
    ['decided', { ...verdict, kind: 'outcome' }, 'value must be one of committed'],
    ['plan', { ...plan, deadlines: { run: { lower: 2, upper: 1 } } }, 'deadlines.run upper is below lower'],
    ['plan', { ...plan, steps: [{ participant: 'operator', action: 'x' }] }, 'participant is reserved'],
  ])('%s is refused', (name, value, problem) => {
    expect(problemsOf(name, value).join('; ')).toContain(problem);
  });
});

describe('caps', () => {
  const [report] = VALID.report as [object];
  const [outcome] = VALID.outcome as [object];
  const strings = (count: number): object =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'v']));

  it.each<[SchemaName, object, object, string]>([
    [
      'report',
      { ...report, output: 'é'.repeat(8_191) },
      { ...report, output: 'é'.repeat(8_192) },
      '16384 bytes',
    ],
    ['report', { ...report, meta: strings(16) }, { ...report, meta: strings(17) }, '16 entries'],
    [
      'report',
      { ...report, meta: { k: 'é'.repeat(511) } },
      { ...report, meta: { k: 'é'.repeat(512) } },
      '1024 bytes',
    ],
    [
      'report',
      { ...report, message: 'x'.repeat(1_024) },
      { ...report, message: 'x'.repeat(1_025) },
      '1024 characters',
    ],
    [
      'outcome',
      { ...outcome, outputs: Object.fromEntries(['a', 'b', 'c', 'd'].map((id) => [id, 'x'.repeat(16_370)])) },
      {
        ...outcome,
        outputs: Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((id) => [id, 'x'.repeat(14_000)])),
      },
      '65536 bytes',
    ],
  ])('%s', (name, fits, exceeds, problem) => {
    expect(problemsOf(name, fits)).toEqual([]);
    expect(problemsOf(name, exceeds).join('; ')).toContain(problem);
  });

  it('are judged by value, however tight the numbers were written', () => {
    const tight = (count: number): string =>
      `{"v":1,"tx":"t","run":"${run}","step":"pay","phase":"prepare","attempt":1,"shard":0,"action":"a","since":5,` +
      `"cause":{"at":"1.0","time":1},"output":[${Array.from({ length: count }, () => '1e15').join(',')}]}`;
    const verdicts = [963, 964].map((count) => {
      const text = tight(count);
      return parseCommand(JSON.parse(text), text.length + 2).ok;
    });
    // 963 numbers of 16 digits, their commas and the brackets take 16,372 bytes; 964 take 16,389.
    expect(verdicts).toEqual([true, false]);
  });
});

describe('parseInput', () => {
  const source = (sender: InputSource['sender'], kind: InputSource['kind']): InputSource => ({
    sender,
    kind,
  });

  it.each<[InputSource, SchemaName]>([
    [source('participant', 'begin'), 'begin'],
    [source('coordinator', 'begin'), 'begin'],
    [source('participant', 'report'), 'report'],
    [source('coordinator', 'report'), 'report'],
    [source('participant', 'signal'), 'signal'],
    [source('participant', 'cancel'), 'cancel'],
    [source('coordinator', 'cancel'), 'cancel'],
    [source('coordinator', 'deadline'), 'deadline'],
    [source('coordinator', 'decided'), 'decided'],
    [source('coordinator', 'enable'), 'enable'],
    [source('operator', 'retry'), 'operator-retry'],
    [source('operator', 'cancel'), 'operator-cancel'],
    [source('operator', 'signal'), 'operator-signal'],
    [source('operator', 'recover'), 'operator-recover'],
  ])('%o reads %s and returns the value itself', (from, name) => {
    for (const value of VALID[name]) {
      const parsed = parseInput(from, value, 500);
      expect(parsed).toEqual({ ok: true, envelope: value });
      expect(parsed.ok && parsed.envelope).toBe(value);
      expect(parseInput(from, { ...value, extra: 1 })).toEqual({
        ok: false,
        problem: 'extra is not a known field',
      });
    }
  });

  it.each([
    source('participant', 'decided'),
    source('participant', 'deadline'),
    source('participant', 'retry'),
    source('coordinator', 'signal'),
    source('coordinator', 'kill'),
    source('operator', 'begin'),
    source('operator', 'decided'),
  ])('%o belongs to nobody', (from) => {
    expect(parseInput(from, {})).toEqual({
      ok: false,
      problem: `${from.kind} cannot come from a ${from.sender}`,
    });
  });

  it.each([null, undefined, 5, 'x', [], [head]])('refuses %o with a sentence', (value) => {
    expect(parseInput(source('participant', 'report'), value)).toMatchObject({
      ok: false,
      problem: expect.any(String),
    });
  });
});

describe('the AsyncAPI document', () => {
  const document = asyncApi() as {
    asyncapi: string;
    channels: Record<
      string,
      { address: string | null; parameters?: object; messages: object; description?: string }
    >;
    operations: Record<string, { channel: { $ref: string } }>;
    components: { messages: object; schemas: object };
  };

  it('refers only to what it has', () => {
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1]!);
    expect(refs.length).toBeGreaterThan(40);
    for (const ref of refs) {
      const target = ref
        .split('/')
        .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document);
      expect(target, ref).toBeDefined();
    }
    expect(Object.keys(document.components.schemas)).toEqual([...SCHEMA_NAMES]);
  });

  it('explains every token of every address and who is at both ends', () => {
    for (const channel of Object.values(document.channels)) {
      if (channel.address === null) continue;
      const tokens = [...channel.address.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      expect(Object.keys(channel.parameters ?? {})).toEqual(tokens);
      expect(channel.description).toMatch(/^Published by .+\. Read by .+\.$/);
    }
  });

  it('carries bodies as arrays of 1 to 256 envelopes', () => {
    const root = { $id: 'wire', components: { schemas: document.components.schemas } };
    const bodies = new Ajv({ strict: false }).addSchema(root);
    const { payload } = (document.components.messages as Record<string, { payload: object }>)['report']!;
    const check = bodies.compile(JSON.parse(JSON.stringify(payload).replace('"#/', '"wire#/')));
    const [one] = VALID.report;
    expect(
      [[one], Array(256).fill(one), [], Array(257).fill(one), one, [{}]].map((body) => check(body)),
    ).toEqual([true, true, false, false, false, false]);
  });
});
