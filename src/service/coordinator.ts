import type { Pattern } from '../kernel/vocabulary.ts';
import type { NatsOptions } from '../nats/connection.ts';
import { natsWorld } from '../nats/world.ts';
import type { PhasorError } from '../errors/phasor-error.ts';
import type { ExpiryStrategy } from '../reliability/adaptive-expiry.ts';
import { startCoordinator } from '../runtime/coordinator.ts';
import { crashPassing } from './crash.ts';

export interface CoordinatorServiceOptions {
  readonly nats: NatsOptions;
  /** Default: every pattern this build has a machine for. */
  readonly patterns?: readonly Pattern[];
  /** See `CoordinatorOptions.expiry`. */
  readonly expiry?: ExpiryStrategy;
}

export interface CoordinatorService {
  readonly patterns: readonly Pattern[];
  /** Resolves once every shard has reached the head of its log. */
  readonly ready: Promise<void>;
  /** Rejects once every pattern has had to stop, with the first reason; the others go on without one. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

/**
 * One coordinator over one connection. `PHASOR_CRASH` is honoured.
 *
 * @throws {PhasorError} as `connectNats` and `startCoordinator`.
 */
export async function startCoordinatorService(
  options: CoordinatorServiceOptions,
): Promise<CoordinatorService> {
  const { logger } = options.nats;
  const nats = await natsWorld({ name: 'phasor-coordinator', ...options.nats, passing: crashPassing() });
  const failures: PhasorError[] = [];
  let fail: (error: PhasorError) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => (fail = reject));
  // Whoever waits for it sees it; nobody has to.
  failed.catch(() => undefined);
  let running = Infinity;
  const check = (): void => {
    const [first] = failures;
    if (first !== undefined && failures.length >= running) fail(first);
  };
  try {
    const coordinator = await startCoordinator(nats.world, {
      ...(options.patterns === undefined ? {} : { patterns: options.patterns }),
      ...(options.expiry === undefined ? {} : { expiry: options.expiry }),
      onFailure: (error) => {
        failures.push(error);
        logger.error({ err: error, code: error.code, ...error.details }, 'a pattern had to stop');
        check();
      },
    });
    running = coordinator.patterns.length;
    check();
    return {
      patterns: coordinator.patterns,
      ready: coordinator.ready,
      failed,
      close: async () => {
        await coordinator.close();
        await nats.close();
      },
    };
  } catch (error) {
    await nats.close();
    throw error;
  }
}
