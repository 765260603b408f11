import path from 'node:path';
import ts from 'typescript';
import type { SourceFile } from './source-tree.ts';

/** One import, re-export, dynamic import or import type of a file. */
export interface Import {
  readonly from: string;
  readonly line: number;
  readonly specifier: string;
  /** Path in the repository when the specifier is relative. */
  readonly target: string | undefined;
  readonly typeOnly: boolean;
}

export function parse(file: SourceFile): ts.SourceFile {
  return ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
}

export function lineOf(source: ts.SourceFile, node: ts.Node): number {
  return source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
}

export function visit(node: ts.Node, look: (node: ts.Node) => void): void {
  look(node);
  node.forEachChild((child) => {
    visit(child, look);
  });
}

export function importsOf(file: SourceFile): Import[] {
  const source = parse(file);
  const found: Import[] = [];
  visit(source, (node) => {
    const seen = readImport(node);
    if (seen === undefined) return;
    const { specifier, typeOnly } = seen;
    const target = specifier.startsWith('.')
      ? path.posix.normalize(path.posix.join(path.posix.dirname(file.path), specifier))
      : undefined;
    found.push({ from: file.path, line: lineOf(source, node), specifier, target, typeOnly });
  });
  return found;
}

function readImport(node: ts.Node): { specifier: string; typeOnly: boolean } | undefined {
  if (ts.isImportDeclaration(node)) {
    return named(node.moduleSpecifier, isTypeOnlyImport(node.importClause));
  }
  if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
    const { exportClause } = node;
    const elements =
      exportClause !== undefined && ts.isNamedExports(exportClause) ? exportClause.elements : [];
    return named(node.moduleSpecifier, node.isTypeOnly || allTypeOnly(elements));
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
    return named(node.argument.literal, true);
  }
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    return named(node.arguments[0], false);
  }
  return undefined;
}

function named(
  node: ts.Node | undefined,
  typeOnly: boolean,
): { specifier: string; typeOnly: boolean } | undefined {
  return node !== undefined && ts.isStringLiteralLike(node) ? { specifier: node.text, typeOnly } : undefined;
}

function isTypeOnlyImport(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const bindings = clause.namedBindings;
  return clause.name === undefined && bindings !== undefined && ts.isNamedImports(bindings)
    ? allTypeOnly(bindings.elements)
    : false;
}

function allTypeOnly(elements: readonly { readonly isTypeOnly: boolean }[]): boolean {
  return elements.length > 0 && elements.every((element) => element.isTypeOnly);
}
