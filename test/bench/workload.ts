import type { Plan } from '../../src/protocol/envelopes.ts';

export type BenchPattern = '2pc' | 'saga';

/** W1 and W2 of the method: three participants, handlers that do nothing, 220 bytes of input a step. */
export const PARTICIPANTS = ['first', 'second', 'third'] as const;
const INPUT_BYTES = 220;

export interface Load {
  readonly pattern: BenchPattern;
  readonly plan: Plan;
  /** Transactions in flight at any time. */
  readonly concurrency: number;
  readonly durationMs: number;
}

export interface Measured {
  /** Finished with the expected status. */
  readonly finished: number;
  readonly elapsedMs: number;
  readonly txPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export function planOf(pattern: BenchPattern): Plan {
  const empty = JSON.stringify({ amount: 1, note: '' }).length;
  const input = { amount: 1, note: 'x'.repeat(INPUT_BYTES - empty) };
  const steps = PARTICIPANTS.map((participant) => ({ participant, action: 'work', input }));
  return { name: `bench-${pattern}`, steps };
}

export const EXPECTED_STATUS: Readonly<Record<BenchPattern, string>> = {
  '2pc': 'committed',
  saga: 'completed',
};
