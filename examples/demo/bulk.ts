/** Random transfers from a file, through `phasor run`. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BuiltPlan } from '../../src/index.ts';
import { transfer, type Place } from '../bank/plans.ts';

export interface Bulk {
  readonly count: number;
  readonly committed: number;
  readonly aborted: number;
  /** From the first begin to the last outcome, by the log. */
  readonly txPerSecond: number;
}

export interface BulkOptions {
  readonly url: string;
  readonly accounts: readonly Place[];
  readonly count: number;
  readonly seed: number;
  readonly signal: AbortSignal;
}

/** Small transfers succeed; large ones find too little money now and then. */
const MAX_AMOUNT = 4_000;

/** Mulberry32: small, seeded, good enough to pick accounts. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export function randomTransfers({
  accounts,
  count,
  seed,
}: Pick<BulkOptions, 'accounts' | 'count' | 'seed'>): BuiltPlan<'2pc'>[] {
  const random = randomFrom(seed);
  const pick = (): Place => {
    const place = accounts[Math.floor(random() * accounts.length)];
    if (place === undefined) throw new RangeError('no accounts to choose from');
    return place;
  };
  return Array.from({ length: count }, () => {
    const from = pick();
    let to = pick();
    while (to === from) to = pick();
    return transfer({ from, to, amount: 1 + Math.floor(random() * MAX_AMOUNT) });
  });
}

export async function runBulk(options: BulkOptions): Promise<Bulk> {
  const folder = await mkdtemp(path.join(tmpdir(), 'phasor-demo-'));
  try {
    const file = path.join(folder, 'transfers.ndjson');
    const lines = randomTransfers(options).map((line) => JSON.stringify(line));
    await writeFile(file, `${lines.join('\n')}\n`);
    return await phasorRun(file, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface Line {
  readonly status?: string;
  readonly run?: string;
  readonly time?: number;
}

async function phasorRun(file: string, { url, count, signal }: BulkOptions): Promise<Bulk> {
  const cli = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
  const args = [cli, 'run', file, '--concurrency', String(count), '--timeout', '60s'];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NATS_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', reject);
  });
  exited.catch(() => undefined);
  const found = { committed: 0, aborted: 0, ended: 0, firstMs: Infinity, lastMs: 0 };
  for await (const text of createInterface({ input: child.stdout })) {
    const { status, run, time } = JSON.parse(text) as Line;
    if (status === 'committed') found.committed += 1;
    if (status === 'aborted') found.aborted += 1;
    if (status !== undefined) found.ended += 1;
    found.firstMs = Math.min(found.firstMs, Number(run?.split('.')[2] ?? Infinity));
    found.lastMs = Math.max(found.lastMs, time ?? 0);
  }
  const code = await exited;
  if (code !== 0) throw new Error(`phasor run ended with ${code ?? 'a signal'}: ${complaints.trim()}`);
  const seconds = Math.max(1, found.lastMs - found.firstMs) / 1_000;
  const { committed, aborted, ended } = found;
  return { count: ended, committed, aborted, txPerSecond: Math.round(ended / seconds) };
}
