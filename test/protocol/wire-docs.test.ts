// Goal: whoever works from docs/wire.md alone sends what the schemas accept, and nothing of the wire is left out of it.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fnv1a32, shardOf } from '../../src/kernel/hash.ts';
import { streamOf } from '../../src/kernel/subjects.ts';
import {
  ANSWERS,
  CLOSE_PHASES,
  isOpenPhase,
  OPEN_PHASES,
  PATTERNS,
  STATUSES,
} from '../../src/kernel/vocabulary.ts';
import { beginSchema } from '../../src/protocol/envelopes.ts';
import * as limits from '../../src/protocol/limits.ts';
import { compilePlan } from '../../src/protocol/plan.ts';
import * as policies from '../../src/protocol/policies.ts';
import { SCHEMA_NAMES, schemaOf, type SchemaName } from '../../src/protocol/schemas.ts';

const docs = readFileSync(new URL('../../docs/wire.md', import.meta.url), 'utf8');
const fences = [...docs.matchAll(/^```(\S+) ?(.*)\n([^]*?)^```$/gm)].map(([, language, name, text]) => ({
  language,
  name: name as SchemaName,
  value: JSON.parse(text!) as Record<string, unknown>,
}));
const keysOf = (value: unknown): string[] =>
  typeof value === 'object' && value !== null ? Object.keys(value) : [];

describe('examples in docs/wire.md', () => {
  it('show every envelope, and nothing without a schema', () => {
    expect([...new Set(fences.map(({ name }) => name))].sort()).toEqual(
      SCHEMA_NAMES.filter((name) => name !== 'plan').sort(),
    );
  });

  it.each(fences)('$name follows its schema', ({ language, name, value }) => {
    expect(language).toBe('json');
    const result = schemaOf(name).safeParse(value);
    expect(result.error?.issues ?? []).toEqual([]);
  });

  it('show plans that compile', () => {
    const begins = fences.filter(({ name }) => name === 'begin').map(({ value }) => beginSchema.parse(value));
    expect(begins).toHaveLength(2);
    expect(compilePlan('2pc', begins[0]!.plan)).toMatchObject({ ok: true });
    expect(compilePlan('saga', begins[1]!.plan)).toMatchObject({ ok: true, plan: { pivot: 1 } });
  });

  it('mention every field of what clients and participants send and read', () => {
    for (const name of [
      'begin',
      'command',
      'report',
      'outcome',
      'signal',
      'cancel',
      'dead-letter',
      'plan',
    ] as const) {
      const { shape } = schemaOf(name) as unknown as { readonly shape: object };
      for (const field of keysOf(shape))
        expect(docs, `${name}.${field}`).toMatch(new RegExp(`["\`]${field}["\`:]`));
    }
  });
});

describe('facts in docs/wire.md', () => {
  it('list the closed sets', () => {
    for (const word of [...ANSWERS, ...STATUSES, ...PATTERNS, ...OPEN_PHASES, ...CLOSE_PHASES]) {
      expect(docs).toContain(`\`${word}\``);
    }
    for (const pattern of PATTERNS) expect(docs).toContain(`\`${streamOf(pattern)}\``);
    const section = docs.slice(docs.indexOf('### Answer'), docs.indexOf('### Rules of delivery'));
    const answers = [...section.matchAll(/^\| `([a-z-]+)` +\| /gm)].map((match) => match[1]);
    expect(answers.filter((answer) => (ANSWERS as readonly unknown[]).includes(answer))).toEqual([
      ...ANSWERS,
    ]);
  });

  it('name the filters of both consumers', () => {
    for (const pattern of ['2pc', 'saga'] as const) {
      for (const kind of ['open', 'close'] as const) {
        const row = new RegExp(`\\| \`${pattern}-payment-${kind}\` +\\| (.*?) +\\|`).exec(docs)?.[1] ?? '';
        const phases = policies.PATTERN_PHASES[pattern].filter((it) => isOpenPhase(it) === (kind === 'open'));
        const filters = phases.map((phase) => `\`${pattern}.payment.${phase}\``);
        expect(row.split(', ').sort(), `${pattern} ${kind}`).toEqual(filters.sort());
      }
    }
  });

  it('give right vectors of the shard hash', () => {
    const vectors = [...docs.matchAll(/^\| `(\w[\w-]*)` +\| (\d{6,}) +\| (\d+) +\| (\d+) +\| (\d+) +\|$/gm)];
    expect(vectors).toHaveLength(5);
    for (const [, tx, hash, ...shards] of vectors) {
      expect(fnv1a32(tx!)).toBe(Number(hash));
      expect([4, 8, 16].map((count) => shardOf(tx!, count))).toEqual(shards.map(Number));
    }
  });

  it('give the caps of the code', () => {
    const row = (name: string): string => docs.split('\n').find((line) => line.startsWith(`| ${name}`)) ?? '';
    const shown = (value: number): string => value.toLocaleString('en-US');
    expect(docs).toContain(
      `1 to ${limits.MAX_ENVELOPES} envelopes, at most ${shown(limits.MAX_BODY_BYTES)} bytes`,
    );
    expect(row('`input`')).toContain(shown(limits.MAX_INPUT_BYTES));
    expect(row('`output`, `data`')).toContain(shown(limits.MAX_OUTPUT_BYTES));
    expect(row('all `outputs`')).toContain(shown(limits.MAX_OUTPUTS_BYTES));
    expect(row('`plan`')).toContain(`${shown(limits.MAX_PLAN_BYTES)} bytes, ${limits.MAX_STEPS} steps`);
    expect(row('`meta` ')).toContain(
      `${limits.MAX_META_ENTRIES} strings, ${shown(limits.MAX_META_BYTES)} bytes`,
    );
    expect(row('`labels`')).toContain(
      `${limits.MAX_LABELS} strings, ${shown(limits.MAX_LABELS * limits.MAX_LABEL_BYTES)} bytes`,
    );
    expect(row('`code` ')).toContain(`${limits.MAX_CODE_CHARS} characters`);
    expect(row('`message`, `reason`')).toContain(`${shown(limits.MAX_MESSAGE_CHARS)} characters`);
    expect(row('durations')).toContain(`${limits.MAX_DURATION_MS / 86_400_000} days`);
  });

  it('give the default policies', () => {
    const cells = (name: string): string[] =>
      (docs.split('\n').find((line) => line.startsWith(`| ${name}`)) ?? '')
        .split('|')
        .map((cell) => cell.trim());
    const expected = (policy: typeof policies.OPEN_POLICY): string[] => [
      policy.maxAttempts === Infinity ? 'no end' : String(policy.maxAttempts),
      `${policy.initialMs} ms`,
      `${policy.maxMs / 1_000} s`,
      `${policy.attemptMs / 1_000} s`,
    ];
    const rows = [
      ['open phases', policies.OPEN_POLICY],
      ['commit and precommit', policies.COMMIT_POLICY],
      ['abort ', policies.ABORT_POLICY],
      ['compensate, cancel', policies.MUST_FINISH_POLICY],
    ] as const;
    for (const [name, policy] of rows) {
      expect(cells(name).slice(2, 6)).toEqual(expected(policy));
      expect(policy.factor).toBe(2);
    }
  });
});
