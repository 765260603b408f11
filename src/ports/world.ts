import type { Bus } from './bus.ts';
import type { Clock, Random } from './clock.ts';
import type { Passing } from './crash-points.ts';
import type { KeyValueStore } from './key-value.ts';
import type { Log } from './log.ts';
import type { Logger } from './telemetry.ts';
import type { Work } from './work.ts';

/** Everything a coordinator, worker or client touches outside its own memory. */
export interface World {
  readonly log: Log;
  readonly work: Work;
  readonly bus: Bus;
  readonly keyValue: KeyValueStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly passing: Passing;
}
