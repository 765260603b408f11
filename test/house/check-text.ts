import { isTypeScript, type SourceFile, type Violation } from './source-tree.ts';

/** House number: a longer file is two files. */
export const MAX_FILE_LINES = 400;

interface TextRule {
  readonly pattern: RegExp;
  readonly message: string;
  readonly applies?: (file: SourceFile) => boolean;
}

const isTest = (file: SourceFile): boolean => file.path.startsWith('test/') && isTypeScript(file);
// The rules and their planted violations spell out what they forbid.
const isHouse = (file: SourceFile): boolean => file.path.startsWith('test/house/');

const RULES: readonly TextRule[] = [
  {
    pattern: /(?<![\w.:/@-])\/(?:home|Users|root|work)\/[\w.-]+|\b[A-Z]:\\Users\\/,
    message: 'a path of one machine: use a path relative to the repository (import.meta.url)',
  },
  {
    pattern: /(?<![\w.:/@-])\/tmp\/[\w.-]+/,
    message: 'a shared temporary path: use mkdtemp under os.tmpdir() and remove it',
    applies: isTypeScript,
  },
  {
    pattern: /\b(?:TODO|FIXME|XXX|HACK)\b/,
    message: 'unfinished work: finish it, or open an issue and say the limit',
  },
  {
    pattern: /\b(?:it|test|describe|suite)(?:\.\w+)*\.only\b/,
    message: '.only hides every other test: remove it',
    applies: isTest,
  },
  {
    pattern:
      /\b(?:it|test|describe|suite)(?:\.\w+)*\.(?:skip|todo|skipIf|runIf|fails)\b|\bx(?:it|describe)\(/,
    message: 'a silent skip: decide inside the test with ctx.skip(condition, "reason"), or delete the test',
    applies: isTest,
  },
  {
    pattern: /\b(?:ctx|context)\.skip\(\s*\)|[{,]\s*skip\s*[,}].*\bskip\(\s*\)/,
    message: 'a skip without a reason: ctx.skip("what is missing here")',
    applies: isTest,
  },
];

export function checkText(files: readonly SourceFile[]): Violation[] {
  return files
    .filter((file) => !isHouse(file))
    .flatMap((file) =>
      RULES.filter(({ applies }) => applies?.(file) ?? true).flatMap((rule) => matches(file, rule)),
    );
}

function matches(file: SourceFile, rule: TextRule): Violation[] {
  return file.text
    .split('\n')
    .flatMap((text, index) =>
      rule.pattern.test(text) ? [{ file: file.path, line: index + 1, message: rule.message }] : [],
    );
}

export function checkFileLength(files: readonly SourceFile[]): Violation[] {
  return files
    .filter(({ path }) => /\.[cm]?[jt]s$/.test(path))
    .flatMap((file) => {
      const lines = file.text.trimEnd().split('\n').length;
      const message = `${lines} lines, at most ${MAX_FILE_LINES}: split it by what its parts own`;
      return lines > MAX_FILE_LINES ? [{ file: file.path, line: MAX_FILE_LINES + 1, message }] : [];
    });
}
