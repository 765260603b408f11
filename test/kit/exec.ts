import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll } from 'vitest';

/** Processes that tests start: Node scripts, mostly from `dist/`. None outlives the test file that started it. */
export interface ExecOptions {
  /** Added to (an `undefined` value: removed from) this process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Flags for Node itself. Default: none. */
  readonly nodeArgs?: readonly string[];
}

export interface RunOptions extends ExecOptions {
  /** Written to stdin, which is then closed. Default: closed at once. */
  readonly input?: string;
  /** The process is killed and the promise rejects after this. Default: 15_000 ms. */
  readonly timeoutMs?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunResult extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

export type LineMatch = string | RegExp | ((line: string) => boolean);
type Channel = 'stdout' | 'stderr';

const STOP_GRACE_MS = 5_000;
const OUTPUT_GRACE_MS = 1_000;
const TAIL_LINES = 30;

const started = new Set<NodeProcess>();

/** Runs a script to its end. Resolves with any exit code; rejects only on time-out or when it cannot start. */
export async function runNode(
  script: string,
  args: readonly string[] = [],
  { input = '', timeoutMs = 15_000, ...options }: RunOptions = {},
): Promise<RunResult> {
  const child = spawnNode(script, args, options);
  child.endInput(input);
  await child.waitForExit(timeoutMs);
  return child.result();
}

/** Starts a long-lived script. It is stopped at the latest when the test file ends; `await using` stops it earlier. */
export function spawnNode(
  script: string,
  args: readonly string[] = [],
  options: ExecOptions = {},
): NodeProcess {
  return new NodeProcess(script, args, options);
}

export class NodeProcess implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #label: string;
  readonly #text: Record<Channel, string> = { stdout: '', stderr: '' };
  readonly #lines: Record<Channel, string[]> = { stdout: [], stderr: [] };
  readonly #watchers = new Set<() => void>();
  readonly #closed: Promise<void>;
  #exit: Exit | undefined;
  #startError: Error | undefined;

  constructor(script: string, args: readonly string[], options: ExecOptions) {
    this.#label = [script, ...args].join(' ');
    // A process group of its own: stop() also reaches what the script itself has started.
    this.#child = spawn(process.execPath, [...(options.nodeArgs ?? []), script, ...args], {
      env: { ...process.env, ...options.env },
      cwd: options.cwd,
      detached: true,
      stdio: 'pipe',
    });
    started.add(this);
    // A process that ends without reading its input is judged by its exit, not by EPIPE here.
    this.#child.stdin.on('error', () => undefined);
    this.#child.on('error', (error) => {
      this.#startError = error;
    });
    this.#read('stdout');
    this.#read('stderr');
    this.#closed = this.#watchEnd();
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw this.#failure('did not start');
    return this.#child.pid;
  }

  /** `undefined` while it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** Complete lines so far, without line ends. */
  lines(channel: Channel = 'stdout'): readonly string[] {
    return this.#lines[channel];
  }

  result(): RunResult {
    return { ...(this.#exit ?? { code: null, signal: null }), ...this.#text };
  }

  write(text: string): void {
    this.#child.stdin.write(text);
  }

  endInput(text = ''): void {
    this.#child.stdin.end(text);
  }

  /** The first line that matches, also among those already printed. Rejects at the process's end or time-out. */
  async waitForLine(match: LineMatch, timeoutMs = 10_000, channel: Channel = 'stdout'): Promise<string> {
    const matches = matcher(match);
    let seen = 0;
    const find = (): string | undefined => {
      const lines = this.#lines[channel];
      while (seen < lines.length) {
        const line = lines[seen++];
        if (line !== undefined && matches(line)) return line;
      }
      return undefined;
    };
    const what = `printed no ${channel} line matching ${String(match)}`;
    return this.#until(find, { timeoutMs, what });
  }

  /** Resolves when it has ended and its output is complete. On time-out it is killed, with all it started. */
  async waitForExit(timeoutMs = 10_000): Promise<Exit> {
    try {
      return await this.#until(() => this.#exit, { timeoutMs, what: 'did not end' });
    } catch (error) {
      this.#signalGroup('SIGKILL');
      await this.#closed;
      throw error;
    }
  }

  /** Signals this process alone, never its children: what a crash, SIGSTOP or an operator does. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  /** SIGTERM to the whole group; SIGKILL to what is left of it after a grace of 5 s. */
  async stop(): Promise<Exit> {
    if (this.#exit === undefined) {
      // A stopped process cannot handle SIGTERM.
      this.#signalGroup('SIGCONT');
      this.#signalGroup('SIGTERM');
      const patience = new AbortController();
      await Promise.race([this.#closed, delay(STOP_GRACE_MS, undefined, { signal: patience.signal })]);
      patience.abort();
    }
    this.#signalGroup('SIGKILL');
    await this.#closed;
    return this.#exit ?? { code: null, signal: null };
  }

  killGroupNow(): void {
    this.#signalGroup('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #read(channel: Channel): void {
    const stream = this.#child[channel].setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      this.#text[channel] += chunk;
    });
    createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => {
      this.#lines[channel].push(line);
      this.#notify();
    });
  }

  /** A grandchild that lives on may hold the output open: after the exit, its close is awaited for 1 s only. */
  async #watchEnd(): Promise<void> {
    const closed = once(this.#child, 'close').catch(() => undefined);
    const exited = once(this.#child, 'exit').catch(() => undefined);
    await Promise.race([closed, exited.then(() => delay(OUTPUT_GRACE_MS, undefined, { ref: false }))]);
    this.#exit = { code: this.#child.exitCode, signal: this.#child.signalCode };
    this.#notify();
  }

  #notify(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  #signalGroup(signal: NodeJS.Signals): void {
    if (this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, signal);
    } catch {
      // ESRCH: nobody of the group is left.
    }
  }

  async #until<T>(
    read: () => T | undefined,
    { timeoutMs, what }: { readonly timeoutMs: number; readonly what: string },
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = (finish: () => void): void => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        finish();
      };
      const look = (): void => {
        const value = read();
        if (value !== undefined) settle(() => resolve(value));
        else if (this.#exit !== undefined) settle(() => reject(this.#failure(what)));
      };
      const timer = setTimeout(() => {
        settle(() => reject(this.#failure(`${what} within ${timeoutMs} ms`)));
      }, timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  #failure(what: string): Error {
    const tail = (channel: Channel): string => this.#text[channel].split('\n').slice(-TAIL_LINES).join('\n');
    const state = this.#exit === undefined ? 'still running' : `ended with ${JSON.stringify(this.#exit)}`;
    return new Error(
      `"${this.#label}" ${what} (${state})\n--- stdout\n${tail('stdout')}\n--- stderr\n${tail('stderr')}`,
      { cause: this.#startError },
    );
  }
}

function matcher(match: LineMatch): (line: string) => boolean {
  if (typeof match === 'string') return (line) => line.includes(match);
  return match instanceof RegExp ? (line) => line.search(match) !== -1 : match;
}

// Registered when the test file loads this module, so it runs after the file's own afterAll hooks.
afterAll(async () => {
  await Promise.all([...started].map((child) => child.stop()));
  started.clear();
});

// A worker that is torn down mid-test runs no hooks.
process.on('exit', () => {
  for (const child of started) child.killGroupNow();
});
