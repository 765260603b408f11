import { shardOf } from '../../kernel/hash.ts';
import { streamOf, subjects, type Subject } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import type { World } from '../../ports/world.ts';
import { Batcher } from '../batcher.ts';

/** Where one pattern's begins, signals and cancels go. */
export interface Route {
  readonly pattern: Pattern;
  readonly shards: number;
  /** Of this sender's begins, by shard. */
  readonly beginSubjects: readonly Subject[];
  readonly begins: Batcher;
  /** Signals and cancels: idempotent, so without ids. */
  readonly inputs: Batcher;
  shardOf(tx: string): number;
}

/** How long a signal or cancel is tried before its caller is told `TIMEOUT`. Milliseconds. */
const INPUT_GIVE_UP_MS = 30_000;

/** One route per pattern, made on first use from what the stream's metadata says, once for everybody. */
export class Routes {
  readonly #routes = new Map<Pattern, Route>();
  readonly #opening = new Map<Pattern, Promise<Route>>();

  constructor(
    private readonly world: World,
    private readonly options: {
      readonly sender: string;
      /** The server had stored something at this time before now. */
      readonly observed: (timeMs: number) => void;
    },
  ) {}

  known(pattern: Pattern): Route | undefined {
    return this.#routes.get(pattern);
  }

  /** @throws {PhasorError} `STREAM_MISSING`, `CONNECTION_FAILED`, `TIMEOUT`; the next call tries again. */
  async open(pattern: Pattern): Promise<Route> {
    const known = this.#routes.get(pattern);
    if (known !== undefined) return known;
    const opening = this.#opening.get(pattern) ?? this.#open(pattern);
    this.#opening.set(pattern, opening);
    try {
      return await opening;
    } finally {
      this.#opening.delete(pattern);
    }
  }

  async close(timeoutMs: number | undefined): Promise<void> {
    const batchers = [...this.#routes.values()].flatMap(({ begins, inputs }) => [begins, inputs]);
    const options = timeoutMs === undefined ? {} : { timeoutMs };
    await Promise.all(batchers.map((batcher) => batcher.close(options)));
  }

  async #open(pattern: Pattern): Promise<Route> {
    const { log, clock, random, logger, passing } = this.world;
    const state = await log.state(streamOf(pattern));
    this.options.observed(state.lastTimeMs);
    const { shards } = state;
    const world = { log, clock, random, logger, onMissing: 'fail' as const };
    const route: Route = {
      pattern,
      shards,
      beginSubjects: Array.from({ length: shards }, (_, shard) =>
        subjects.input(pattern, this.options.sender, 'begin', shard),
      ),
      begins: new Batcher({
        ...world,
        identified: true,
        // The other half is for the last try's way to the stream (Rule 7).
        giveUpAfterMs: state.duplicateWindowMs / 2,
        onRetry: () => passing('k3'),
      }),
      inputs: new Batcher({ ...world, identified: false, giveUpAfterMs: INPUT_GIVE_UP_MS }),
      shardOf: (tx) => shardOf(tx, shards),
    };
    this.#routes.set(pattern, route);
    return route;
  }
}
