import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** Production code: everything an installation or an example runs. */
const PRODUCT = ['src/**/*.ts', 'streams/**/*.ts', 'examples/**/*.ts'];
/** The pure core: no clock, randomness, timers, process or I/O (Rule 1). */
const PURE = ['src/kernel/**/*.ts', 'src/protocol/**/*.ts'];

const IMPURE_GLOBALS = [
  ...['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'clearTimeout', 'clearInterval'],
  ...['clearImmediate', 'process', 'performance', 'crypto', 'fetch', 'console', 'globalThis'],
];

const NO_STAR_EXPORT = {
  selector: 'ExportAllDeclaration',
  message: 'Name what is exported: export { a, b } from "./x.ts".',
};

const PURITY_MESSAGE =
  'The pure core takes time and randomness as arguments; pass it in from a port (Rule 1).';

const purity = {
  'no-restricted-globals': ['error', ...IMPURE_GLOBALS.map((name) => ({ name, message: PURITY_MESSAGE }))],
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: PURITY_MESSAGE },
    { object: 'Math', property: 'random', message: PURITY_MESSAGE },
  ],
  'no-restricted-syntax': [
    'error',
    NO_STAR_EXPORT,
    { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: PURITY_MESSAGE },
    { selector: 'CallExpression[callee.name="Date"]', message: PURITY_MESSAGE },
    { selector: 'AwaitExpression', message: 'The pure core never waits (Rule 1).' },
    { selector: 'ImportExpression', message: 'The pure core loads nothing at run time (Rule 1).' },
  ],
};

/** @param {string} regex import specifiers refused @param {string} message */
const refuseImports = (regex, message) => ({
  '@typescript-eslint/no-restricted-imports': ['error', { patterns: [{ regex, message }] }],
});

export default defineConfig(
  { ignores: ['dist/', 'node_modules/', 'coverage/', '.cache/', 'docs/generated/', 'test/golden/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidReturningFunctions: true },
      ],
      '@typescript-eslint/no-floating-promises': ['error', { checkThenables: true }],
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-unnecessary-condition': [
        'error',
        { allowConstantLoopConditions: 'only-allowed-literals' },
      ],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: true },
      ],
      eqeqeq: 'error',
      'max-lines': ['error', { max: 400 }],
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
      'no-restricted-syntax': ['error', NO_STAR_EXPORT],
    },
  },
  { files: PRODUCT, rules: { '@typescript-eslint/max-params': ['error', { max: 4 }] } },
  { files: ['src/**/*.ts'], ignores: ['src/cli/**'], rules: { 'no-console': 'error' } },
  { files: PURE, rules: purity },
  {
    files: ['src/kernel/**/*.ts'],
    rules: refuseImports('^[^.]', 'The kernel imports nothing but itself; take the value as an argument.'),
  },
  {
    files: ['src/protocol/**/*.ts'],
    rules: refuseImports(
      '^(?!\\.|zod$)',
      'The protocol imports zod and relative files only; use a port outside.',
    ),
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // Matchers such as expect.objectContaining and JSON.parse of process output are `any` by nature.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  { files: ['test/**/*.test.ts', 'test/contract/**/*.ts'], rules: { 'max-lines-per-function': 'off' } },
);
