// Goal: the rules the project relies on are errors, and the purity rules catch each impure call (Rule 1).
// Method: ask ESLint for the rules it would apply to a path, and lint planted lines with the syntactic ones.
import { ESLint, Linter } from 'eslint';
import { parser } from 'typescript-eslint';
import { describe, expect, it } from 'vitest';
import { REPOSITORY_ROOT } from './source-tree.ts';

const eslint = new ESLint({ cwd: REPOSITORY_ROOT });

async function rulesFor(file: string): Promise<Linter.RulesRecord> {
  const config = (await eslint.calculateConfigForFile(file)) as { rules: Linter.RulesRecord };
  return config.rules;
}

/** The rules that refuse `code` in `file`, among those that need no types. */
async function refusals(file: string, code: string): Promise<string[]> {
  const rules = Object.entries(await rulesFor(file)).filter(([name]) => /^(?:no-restricted|max-)/.test(name));
  const config: Linter.Config = {
    files: ['**/*.ts'],
    languageOptions: { parser },
    rules: Object.fromEntries(rules),
  };
  return new Linter()
    .verify(code, config, { filename: file })
    .map(({ ruleId, message }) => ruleId ?? message);
}

const ERROR = 2;
const severity = (rules: Linter.RulesRecord, name: string): unknown => [rules[name]].flat()[0];

describe.each(['src/runtime/a.ts', 'test/integration/a.test.ts', 'streams/a.ts', 'examples/a.ts'])(
  '%s',
  (file) => {
    it.each([
      '@typescript-eslint/no-floating-promises',
      '@typescript-eslint/no-misused-promises',
      '@typescript-eslint/switch-exhaustiveness-check',
      '@typescript-eslint/consistent-type-imports',
      '@typescript-eslint/no-explicit-any',
    ])('%s is an error', async (rule) => {
      expect(severity(await rulesFor(file), rule)).toBe(ERROR);
    });

    it('refuses "export *"', async () => {
      expect(await refusals(file, "export * from './a.ts';")).toEqual(['no-restricted-syntax']);
    });
  },
);

describe.each(['src/kernel/a.ts', 'src/protocol/a.ts'])('%s is pure', (file) => {
  it.each([
    ['Date.now();', 'no-restricted-properties'],
    ['Math.random();', 'no-restricted-properties'],
    ['new Date();', 'no-restricted-syntax'],
    ["export * from './a.ts';", 'no-restricted-syntax'],
    ['setTimeout(f);', 'no-restricted-globals'],
    ['setInterval(f);', 'no-restricted-globals'],
    ['setImmediate(f);', 'no-restricted-globals'],
    ['queueMicrotask(f);', 'no-restricted-globals'],
    ['process.env;', 'no-restricted-globals'],
    ['performance.now();', 'no-restricted-globals'],
    ['crypto.randomUUID();', 'no-restricted-globals'],
  ])('%s', async (code, rule) => {
    expect(await refusals(file, code)).toEqual([rule]);
    expect(await refusals('src/runtime/a.ts', code)).toEqual(code.startsWith('export') ? [rule] : []);
  });
});

it('refuses node modules in the core through typescript-eslint', async () => {
  const rule = '@typescript-eslint/no-restricted-imports';
  for (const file of ['src/kernel/a.ts', 'src/protocol/a.ts']) {
    expect(severity(await rulesFor(file), rule)).toBe(ERROR);
  }
  const patterns = JSON.stringify((await rulesFor('src/protocol/a.ts'))[rule]);
  const regex = new RegExp(
    (JSON.parse(patterns) as [number, { patterns: [{ regex: string }] }])[1].patterns[0].regex,
  );
  expect(['node:fs', 'fs', 'ulid', 'zod/v3'].every((name) => regex.test(name))).toBe(true);
  expect(['zod', './saga.ts', '../kernel/ids.ts'].some((name) => regex.test(name))).toBe(false);
});

describe('house numbers', () => {
  const body = (lines: number): string => `function f() {\n${'g();\n'.repeat(lines)}}`;

  it('refuses functions of more than 70 lines', async () => {
    expect(await refusals('src/runtime/a.ts', body(68))).toEqual([]);
    expect(await refusals('src/runtime/a.ts', body(69))).toEqual(['max-lines-per-function']);
    expect(await refusals('test/unit/a.test.ts', body(100))).toEqual([]);
  });

  it('refuses files of more than 400 lines', async () => {
    expect(await refusals('src/runtime/a.ts', 'g();\n'.repeat(400))).toEqual([]);
    expect(await refusals('test/unit/a.test.ts', 'g();\n'.repeat(401))).toEqual(['max-lines']);
  });

  it('refuses a fourth parameter in product code only', async () => {
    const rule = '@typescript-eslint/max-params';
    expect((await rulesFor('src/runtime/a.ts'))[rule]).toEqual([ERROR, { max: 4 }]);
    expect((await rulesFor('test/kit/a.ts'))[rule]).toBeUndefined();
  });
});
