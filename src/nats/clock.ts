import { randomFillSync } from 'node:crypto';
import { ulid } from 'ulid';

import type { Clock, Random, Timeout } from '../ports/clock.ts';

/** The machine's clocks and timers. Pending timers keep the process alive. */
export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (delayMs, run): Timeout => {
    let timer: NodeJS.Timeout;
    const wait = (leftMs: number): void => {
      // setTimeout fires at once when asked for more than 2^31 - 1 ms.
      const now = Math.min(leftMs, MAX_TIMER_MS);
      timer = setTimeout(() => (leftMs > now ? wait(leftMs - now) : run()), Math.max(0, now));
    };
    wait(delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

const MAX_TIMER_MS = 2_147_483_647;

export const systemRandom: Random = {
  next: () => Math.random(),
  ulid: (timeMs) => ulid(timeMs, pooledByte),
};

/** Asked per character, as ulid does by itself, the system's randomness costs more than all else a begin needs. */
const pool = new Uint8Array(4_096);
let used = pool.length;

/** In [0, 1), in steps of 1/256: a character of a ULID takes 1/32 of it. */
function pooledByte(): number {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const byte = pool[used] ?? 0;
  used += 1;
  return byte / 256;
}
