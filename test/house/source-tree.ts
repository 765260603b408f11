import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** One file of the repository; `path` is relative to its root, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** A broken house rule; the message says what to write instead. */
export interface Violation {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

export const REPOSITORY_ROOT = fileURLToPath(new URL('../../', import.meta.url));

const NOT_OURS = new Set(['node_modules', 'dist', '.git', '.cache', 'coverage', 'generated', 'golden']);
const TEXT = /\.(?:[cm]?[jt]s|json|md|ya?ml|sh)$|^\.ci\/[^.]+$|(?:^|\/)Dockerfile[^/]*$/;

/** Every text file written by hand, in a stable order. */
export function readTree(): SourceFile[] {
  return walk('')
    .filter((file) => TEXT.test(file) && file !== 'package-lock.json')
    .sort()
    .map((file) => ({ path: file, text: readFileSync(path.join(REPOSITORY_ROOT, file), 'utf8') }));
}

function walk(folder: string): string[] {
  return readdirSync(path.join(REPOSITORY_ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) return NOT_OURS.has(entry.name) ? [] : walk(name);
    return entry.isFile() ? [name] : [];
  });
}

export const isTypeScript = (file: SourceFile): boolean => file.path.endsWith('.ts');

/** Code that an installation or an example runs. */
export const isProduct = (file: SourceFile): boolean =>
  isTypeScript(file) && /^(?:src|streams|examples)\//.test(file.path);

/** Failures readable in one glance: `file:line message`. */
export const show = (violations: readonly Violation[]): string[] =>
  violations.map(({ file, line, message }) => `${file}:${line} ${message}`);
