import ts from 'typescript';
import { lineOf, parse, visit } from './imports.ts';
import { isProduct, type SourceFile, type Violation } from './source-tree.ts';

const HOLE = '\u0000';
const KINDS = 'begin|report|signal|cancel|deadline|decided|enable|retry|skip|resolve|force|kill|recover';
const PHASES =
  'prepare|precommit|commit|commit-one-phase|abort|reserve|validate|verify|execute|compensate|cancel|release|confirm';
/** With every `${…}` as one hole: texts that can only be meant as a Phasor subject. */
const SUBJECT_SHAPES = [
  new RegExp(`^(?:dead|response|timer|query)\\.${HOLE}`),
  new RegExp(
    `^(?:${HOLE}|2pc|3pc|saga|2ps|3ps|eventual)\\.(?:${HOLE}|coordinator|operator)\\.(?:${KINDS}|${PHASES})`,
  ),
  new RegExp(`${HOLE}\\.(?:${KINDS})\\.(?:${HOLE}|$)`),
  new RegExp(`^${HOLE}\\.(?:coordinator|operator)\\.`),
];
const BUILDER = 'src/kernel/subjects.ts';

/** One place builds subjects, from validated tokens: an id such as `*` or `>` must never reach a filter. */
export function checkSubjects(files: readonly SourceFile[]): Violation[] {
  return files.filter((file) => isProduct(file) && file.path !== BUILDER).flatMap(checkFile);
}

function checkFile(file: SourceFile): Violation[] {
  const source = parse(file);
  const found: Violation[] = [];
  visit(source, (node) => {
    const text = textOf(node);
    if (text === undefined) return;
    const complain = (message: string): void => {
      found.push({ file: file.path, line: lineOf(source, node), message });
    };
    if (text.includes('$JS.') && !file.path.startsWith('src/nats/')) {
      complain('the JetStream API is spoken in src/nats only: call a port');
    }
    if (text.includes(HOLE) && SUBJECT_SHAPES.some((shape) => shape.test(text))) {
      complain(`subjects are built from validated tokens in ${BUILDER} only: call (or add) a builder there`);
    }
  });
  return found;
}

/** The text of a string, template or concatenation, each run-time value replaced by one hole. */
function textOf(node: ts.Node): string | undefined {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node)) {
    return node.head.text + node.templateSpans.map((span) => HOLE + span.literal.text).join('');
  }
  if (isPlus(node) && !isPlus(node.parent)) {
    const text = concatenation(node);
    return text.replaceAll(HOLE, '') === '' ? undefined : text;
  }
  return undefined;
}

function isPlus(node: ts.Node): node is ts.BinaryExpression {
  return ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken;
}

function concatenation(node: ts.Expression): string {
  if (isPlus(node)) return concatenation(node.left) + concatenation(node.right);
  return ts.isStringLiteralLike(node) ? node.text : HOLE;
}
