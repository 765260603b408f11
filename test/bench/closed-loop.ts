import { build } from 'hdr-histogram-js';
import { EXPECTED_STATUS, type Load, type Measured } from './workload.ts';

/** Latencies are kept in microseconds, up to a minute, to three digits. */
const HISTOGRAM = {
  lowestDiscernibleValue: 1,
  highestTrackableValue: 60_000_000,
  numberOfSignificantValueDigits: 3,
} as const;

/**
 * `concurrency` callers, each begins its next transaction when its last one ended. Counts what ended in time with the
 * expected status, and fails on any other: a benchmark that does not look at outcomes measures nothing.
 */
export async function closedLoop(load: Load, run: () => Promise<string>): Promise<Measured> {
  const histogram = build(HISTOGRAM);
  const expected = EXPECTED_STATUS[load.pattern];
  const startedAt = performance.now();
  const endsAt = startedAt + load.durationMs;
  let finished = 0;
  const caller = async (): Promise<void> => {
    for (let begunAt = startedAt; begunAt < endsAt;) {
      const status = await run();
      const endedAt = performance.now();
      if (status !== expected) throw new Error(`a transaction ended ${status}, not ${expected}`);
      histogram.recordValue(Math.max(1, Math.round((endedAt - begunAt) * 1_000)));
      if (endedAt <= endsAt) finished += 1;
      begunAt = endedAt;
    }
  };
  await Promise.all(Array.from({ length: load.concurrency }, caller));
  return {
    finished,
    elapsedMs: load.durationMs,
    txPerSecond: (finished * 1_000) / load.durationMs,
    p50Ms: histogram.getValueAtPercentile(50) / 1_000,
    p99Ms: histogram.getValueAtPercentile(99) / 1_000,
  };
}
