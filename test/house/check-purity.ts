import ts from 'typescript';
import { importsOf, lineOf, parse, visit } from './imports.ts';
import type { SourceFile, Violation } from './source-tree.ts';

const IMPURE_GLOBALS = new Set([
  ...['setTimeout', 'setInterval', 'setImmediate', 'queueMicrotask', 'process', 'performance', 'crypto'],
  ...['fetch', 'globalThis', 'require'],
]);
const IMPURE_MEMBERS = new Set(['Date.now', 'Math.random']);

/** Rule 1: the kernel and the protocol machines see no clock, randomness, timer, process or I/O. */
export function checkPurity(files: readonly SourceFile[]): Violation[] {
  return files.filter(({ path }) => /^src\/(?:kernel|protocol)\/.*\.ts$/.test(path)).flatMap(checkFile);
}

function checkFile(file: SourceFile): Violation[] {
  const allowed = file.path.startsWith('src/protocol/') ? ['zod'] : [];
  const imports = importsOf(file)
    .filter((entry) => entry.target === undefined && !allowed.includes(entry.specifier))
    .map(({ line, specifier }) => ({
      file: file.path,
      line,
      message: `pure code may not import "${specifier}": take the value as an argument, or do it behind a port`,
    }));
  const source = parse(file);
  const uses: Violation[] = [];
  visit(source, (node) => {
    const impure = impurity(node);
    if (impure === undefined) return;
    const message = `pure code may not use ${impure}: take time and randomness from the event (Rule 1)`;
    uses.push({ file: file.path, line: lineOf(source, node), message });
  });
  return [...imports, ...uses];
}

function impurity(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node)) {
    const name = `${node.expression.getText()}.${node.name.text}`;
    return IMPURE_MEMBERS.has(name) ? name : undefined;
  }
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length) {
    return 'new Date()';
  }
  if (ts.isCallExpression(node) && node.expression.getText() === 'Date') return 'Date()';
  return ts.isIdentifier(node) && IMPURE_GLOBALS.has(node.text) && isReference(node) ? node.text : undefined;
}

/** False for names that only happen to be spelled like a global: members, keys and labels of types. */
function isReference(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node;
  return !(
    ts.isPropertySignature(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isQualifiedName(parent)
  );
}
