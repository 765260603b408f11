/** A private copy of the tree in which specs run against one patched file at a time. */
import { spawn, type ChildProcess } from 'node:child_process';
import { cp, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import type { Mutant } from './mutant.ts';

/** What the specs read, besides the installed packages. */
const COPIED = ['src', 'test', 'streams', 'examples', 'docs'];
const COPIED_FILES = ['package.json', 'tsconfig.json', 'vitest.config.ts'];
/** Bound of one spec file; an endless loop must not hold the others up. */
const SPEC_TIMEOUT_MS = 120_000;
const TAIL_CHARS = 2_000;

/** What vitest's json reporter writes, as far as it is read here. */
interface JsonReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

export type Verdict =
  | { readonly type: 'passed' }
  /** Names the first check that failed. */
  | { readonly type: 'failed'; readonly by: string }
  /** No check spoke: the specs could not be loaded, or did not end in time. */
  | { readonly type: 'broken'; readonly why: string };

/** `text` with the bug planted. @throws {Error} when its `find` does not stand there exactly once. */
export function planted(mutant: Mutant, text: string): string {
  const parts = text.split(mutant.find);
  if (parts.length !== 2)
    throw new Error(
      `${mutant.name} is stale: what it replaces stands ${parts.length - 1} times in ${mutant.file}`,
    );
  return parts.join(mutant.replace);
}

export const specPath = (spec: string): string => `test/${spec}.test.ts`;

export class Laboratory {
  readonly #root: string;
  readonly #running = new Set<ChildProcess>();

  private constructor(root: string) {
    this.#root = root;
  }

  static async open(repository: string): Promise<Laboratory> {
    const root = await realpath(await mkdtemp(join(tmpdir(), 'phasor-mutants-')));
    for (const name of [...COPIED, ...COPIED_FILES])
      await cp(join(repository, name), join(root, name), { recursive: true });
    await symlink(join(repository, 'node_modules'), join(root, 'node_modules'), 'dir');
    return new Laboratory(root);
  }

  async close(): Promise<void> {
    this.kill();
    await rm(this.#root, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Whatever still runs here, with what it started. */
  kill(): void {
    for (const child of this.#running) killGroup(child);
  }

  /** Runs `look` while the bug is planted. */
  async with<T>(mutant: Mutant, look: () => Promise<T>): Promise<T> {
    const path = join(this.#root, 'src', mutant.file);
    const text = await readFile(path, 'utf8');
    await writeFile(path, planted(mutant, text));
    try {
      return await look();
    } finally {
      await writeFile(path, text);
    }
  }

  async run(specs: readonly string[], timeoutMs = SPEC_TIMEOUT_MS): Promise<Verdict> {
    const report = join(this.#root, 'report.json');
    await rm(report, { force: true });
    const files = specs.map(specPath);
    const args = ['run', '--bail', '1', '--reporter', 'json', '--outputFile', report, ...files];
    const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', ...args], {
      cwd: this.#root,
      // Its own group: the workers and servers that it starts end with it.
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, FC_SEED: '1', NO_COLOR: '1' },
    });
    this.#running.add(child);
    let tail = '';
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (text: string) => (tail = (tail + text).slice(-TAIL_CHARS)));
    const end = { late: false };
    const timer = setTimeout(() => {
      end.late = true;
      killGroup(child);
    }, timeoutMs);
    await once(child, 'exit');
    clearTimeout(timer);
    killGroup(child);
    this.#running.delete(child);
    if (end.late) return { type: 'broken', why: `did not end within ${timeoutMs} ms` };
    return verdictOf(await readFile(report, 'utf8').catch(() => undefined), tail);
  }
}

function verdictOf(report: string | undefined, tail: string): Verdict {
  if (report === undefined) return { type: 'broken', why: tail };
  const { testResults } = JSON.parse(report) as JsonReport;
  for (const { assertionResults } of testResults) {
    const failed = assertionResults.find(({ status }) => status === 'failed');
    if (failed !== undefined) return { type: 'failed', by: failed.fullName };
  }
  const unloaded = testResults.find(({ status }) => status === 'failed');
  if (unloaded !== undefined) return { type: 'broken', why: unloaded.message ?? unloaded.name };
  const ran = testResults.some(({ assertionResults }) => assertionResults.length > 0);
  return ran ? { type: 'passed' } : { type: 'broken', why: `no spec ran: ${tail}` };
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left in it.
  }
}
