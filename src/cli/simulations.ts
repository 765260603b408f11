/** Many seeds over the processors: children of this very program, each with every n-th seed. */
import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';

import { SingleBar } from 'cli-progress';

import { PhasorError } from '../errors/phasor-error.ts';
import {
  shrink,
  simulateSeed,
  type Kind,
  type SeedOptions,
  type SeedResult,
  type Shrunk,
} from '../simulation/driver/index.ts';

export interface Job {
  readonly seed: number;
  readonly kind: Kind;
}

export interface SimulatePlan {
  readonly jobs: readonly Job[];
  /** What is left out of every seed. */
  readonly part: Pick<SeedOptions, 'onlyFaults' | 'onlyTransactions' | 'rollback'>;
}

/** Fewer seeds are played here: another process costs more than it brings. */
const MIN_SHARED = 16;
const WORKER_FLAG = 'PHASOR_SIMULATE_WORKER';
const isWorker = (): boolean => process.env[WORKER_FLAG] === '1';

/** In the order of the plan. Ends early, with what there is, when `signal` aborts. */
export async function playSeeds(
  plan: SimulatePlan,
  { signal, jobs = availableParallelism() }: { readonly signal: AbortSignal; readonly jobs?: number },
): Promise<readonly SeedResult[]> {
  const bar = progressBar(plan.jobs.length);
  const results = new Map<string, SeedResult>();
  let bad = 0;
  const onResult = (result: SeedResult): void => {
    results.set(`${result.kind}/${result.seed}`, result);
    if (result.violations.length > 0) bad += 1;
    bar?.update(results.size, { bad });
  };
  try {
    const count = Math.min(jobs, Math.ceil(plan.jobs.length / MIN_SHARED));
    if (count <= 1) await playHere(plan, signal, onResult);
    else await playShared(plan, { signal, count, onResult });
  } finally {
    bar?.stop();
  }
  return plan.jobs.flatMap(({ kind, seed }) => results.get(`${kind}/${seed}`) ?? []);
}

export const findSmallest = (result: SeedResult, { part }: SimulatePlan): Promise<Shrunk> =>
  shrink(result, { ...part, seed: result.seed, kind: result.kind });

async function playHere(
  { jobs, part }: SimulatePlan,
  signal: AbortSignal,
  onResult: (result: SeedResult) => void,
): Promise<void> {
  for (const job of jobs) {
    if (signal.aborted) return;
    onResult(await simulateSeed({ ...part, ...job }));
    // A signal is heard between two seeds.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Sharing {
  readonly signal: AbortSignal;
  readonly count: number;
  readonly onResult: (result: SeedResult) => void;
}

async function playShared({ jobs, part }: SimulatePlan, { signal, count, onResult }: Sharing): Promise<void> {
  const program = process.argv[1];
  if (program === undefined)
    throw new PhasorError('CONFIG_INVALID', 'no program to start', { option: 'jobs' });
  const children: ChildProcess[] = [];
  const stop = (): void => children.forEach((child) => void child.kill());
  signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.all(
      Array.from({ length: count }, (_, index) => {
        // Maps survive the way between processes.
        const child = fork(program, ['simulate'], {
          env: { ...process.env, [WORKER_FLAG]: '1' },
          serialization: 'advanced',
        });
        children.push(child);
        child.on('message', (result) => onResult(result as SeedResult));
        child.send({ jobs: jobs.filter((_job, at) => at % count === index), part } satisfies SimulatePlan);
        return ended(child, signal);
      }),
    );
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
}

const ended = (child: ChildProcess, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => {
      if (code === 0 || signal.aborted) resolve();
      else reject(new Error(`a process that played seeds ended with ${String(code)}`));
    });
  });

/** Whether this process is a child of `playSeeds`; then it plays what it is sent and nothing else. */
export async function playAsChild(signal: AbortSignal): Promise<boolean> {
  if (!isWorker() || process.send === undefined) return false;
  const plan = await new Promise<SimulatePlan>((resolve) => {
    process.once('message', (message) => resolve(message as SimulatePlan));
  });
  const sent: Promise<unknown>[] = [];
  await playHere(plan, signal, (result) => {
    sent.push(new Promise((resolve) => process.send?.(result, resolve)));
  });
  await Promise.all(sent);
  process.disconnect();
  return true;
}

function progressBar(total: number): SingleBar | undefined {
  if (!process.stderr.isTTY || isWorker()) return undefined;
  const bar = new SingleBar({
    format: '{bar} {value} of {total} seeds, {bad} bad, {eta_formatted} left',
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(total, 0, { bad: 0 });
  return bar;
}
