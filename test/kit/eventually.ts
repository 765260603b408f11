import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';

export interface EventuallyOptions {
  /** What is awaited, for the message: "the outcome of tx-1". */
  readonly what: string;
  /** Default: 10_000. */
  readonly timeoutMs?: number;
  /** Pause between two probes. Default: 20. */
  readonly everyMs?: number;
}

const NOTHING = Symbol('not probed yet');

/**
 * Polls until the probe yields something truthy, and returns it. A probe that throws counts as "not yet". Past the
 * deadline it throws with the last value or error, so that a failure says what was there instead.
 */
export async function eventually<T>(
  probe: () => T | Promise<T>,
  { what, timeoutMs = 10_000, everyMs = 20 }: EventuallyOptions,
): Promise<Exclude<T, false | undefined | null | 0 | ''>> {
  const giveUpAt = performance.now() + timeoutMs;
  let value: unknown = NOTHING;
  let error: unknown;
  do {
    try {
      value = await within(probe, giveUpAt);
      error = undefined;
      if (value) return value as Exclude<T, false | undefined | null | 0 | ''>;
    } catch (thrown) {
      error = thrown;
    }
    await delay(everyMs);
  } while (performance.now() < giveUpAt);
  const last =
    error === undefined
      ? `last value: ${show(value)}`
      : `last error: ${error instanceof Error ? error.message : show(error)}`;
  throw new Error(`not within ${timeoutMs} ms: ${what}; ${last}`, { cause: error });
}

/** A probe that hangs must not hang the test past its deadline. */
async function within<T>(probe: () => T | Promise<T>, giveUpAt: number): Promise<T> {
  const timer = new AbortController();
  const late = delay(Math.max(1, giveUpAt - performance.now()), undefined, { signal: timer.signal }).then(
    () => {
      throw new Error('the probe itself did not answer');
    },
  );
  // Aborting rejects it when the probe was faster.
  late.catch(() => undefined);
  try {
    return await Promise.race([probe(), late]);
  } finally {
    timer.abort();
  }
}

function show(value: unknown): string {
  return value === NOTHING ? 'none' : inspect(value, { depth: 6, breakLength: Infinity });
}
