import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const READY_MS = 20_000;
const STOP_MS = 8_000;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One process of the demo; it ends with the demo, because its stdin does. */
export class Child {
  readonly name: string;
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #isOver = false;
  #mayEnd = false;

  /** @param script path from the examples' folder, without extension. */
  constructor(script: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.name = args[0] ?? script;
    const file = fileURLToPath(new URL(`../${script}.js`, import.meta.url));
    this.#child = spawn(process.execPath, [file, ...args], {
      env: { ...process.env, ...env, EXAMPLE_STDIN: 'hold' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    // What is written to a child that has died is of no interest: its end is.
    this.#child.stdin?.on('error', () => undefined);
    this.ended = new Promise((resolve) => {
      const end = (ended: Ended): void => {
        this.#isOver = true;
        resolve(ended);
      };
      this.#child.once('exit', (code, signal) => end({ code, signal }));
      this.#child.once('error', () => end({ code: null, signal: null }));
    });
  }

  /** Whether it has been asked, or is expected, to end. */
  get mayEnd(): boolean {
    return this.#mayEnd;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Resolves once it prints its first line, which says that it works. */
  async ready(): Promise<void> {
    const { stdout } = this.#child;
    if (stdout === null) throw new Error(`${this.name} has no stdout`);
    const first = new Promise<void>((resolve) => {
      createInterface({ input: stdout }).once('line', () => resolve());
    });
    const over = this.ended.then(({ code, signal }) => {
      throw new Error(`${this.name} ended while it started (${signal ?? code ?? 'it could not be started'})`);
    });
    await within(READY_MS, Promise.race([first, over]), `${this.name} does not start`);
  }

  /** Its end without being asked to. */
  async stoppedByItself(timeoutMs: number): Promise<Ended> {
    this.#mayEnd = true;
    return within(timeoutMs, this.ended, `${this.name} lives on`);
  }

  async stop(): Promise<void> {
    this.#mayEnd = true;
    if (this.#isOver) return;
    this.#child.kill('SIGTERM');
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.ended;
    clearTimeout(patience);
  }
}

export class Children {
  readonly #all = new Set<Child>();
  readonly #env: NodeJS.ProcessEnv;
  /** Rejects when one of them ends that should not. */
  readonly lost: Promise<never>;
  #lose: (error: Error) => void = () => undefined;

  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env;
    this.lost = new Promise((_, reject) => (this.#lose = reject));
    this.lost.catch(() => undefined);
  }

  async start(script: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Child> {
    const child = new Child(script, args, { ...this.#env, ...env });
    this.#all.add(child);
    await child.ready();
    void child.ended.then(({ code, signal }) => {
      if (!child.mayEnd) this.#lose(new Error(`${child.name} has died (${signal ?? code ?? 'unknown'})`));
    });
    return child;
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#all].map((child) => child.stop()));
  }
}

async function within<T>(timeoutMs: number, work: Promise<T>, otherwise: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(otherwise)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
