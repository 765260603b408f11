/** Answers `query.{pattern}.{shard}`: where runs stand, and outcomes that were told while nobody could hear them. */
import { ulidTimeMs } from '../kernel/ids.ts';
import { subjects } from '../kernel/subjects.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { BusMessage } from '../ports/bus.ts';
import type { World } from '../ports/world.ts';
import type { OutcomeEnvelope } from '../protocol/envelopes.ts';
import type { ShardFold } from '../protocol/fold.ts';
import { encodeQueryReply, queryRequestSchema, type FoundRun } from '../protocol/query.ts';
import { viewOf, type RunRecord } from '../protocol/run.ts';
import { replayLog } from './audit.ts';
import { outcomeEnvelope } from './notes.ts';
import { planDigest, type OutcomeKeys } from './outcome-keys.ts';
import type { RecentOutcomes } from './recent-outcomes.ts';

export interface QueryServiceOptions {
  readonly world: World;
  readonly pattern: Pattern;
  readonly keys: OutcomeKeys;
  readonly recent: RecentOutcomes;
  /** Before its head is reached a shard knows only the past, and stays silent. */
  readonly shards: readonly { readonly fold: ShardFold; readonly isLive: () => boolean }[];
}

export interface QueryService {
  close(): void;
}

/** How far before an id's own time its begin may stand in the log: clocks differ by less than this. */
const CLOCK_SLACK_MS = 300_000;

/** One coordinator of several answers each question: any of them knows what the log implies. */
export function serveQueries(options: QueryServiceOptions): QueryService {
  const { world, pattern, shards } = options;
  const finder = new Finder(options);
  const subscriptions = shards.map(({ fold, isLive }, shard) =>
    world.bus.subscribe(
      subjects.query(pattern, shard),
      (message) => {
        if (message.respond === undefined || !isLive()) return;
        answer(finder, fold, message).catch((err: unknown) => {
          world.logger.warn({ err, shard }, 'a query could not be answered');
        });
      },
      { queue: 'coordinators' },
    ),
  );
  return {
    close: () => {
      for (const subscription of subscriptions) subscription.unsubscribe();
    },
  };
}

async function answer(finder: Finder, fold: ShardFold, message: BusMessage): Promise<void> {
  const request = queryRequestSchema.safeParse(parseJson(message.data));
  if (!request.success) {
    message.respond?.(Buffer.from(JSON.stringify({ v: 1, found: [], problem: request.error.message })));
    return;
  }
  const found: FoundRun[] = [];
  for (const tx of new Set(request.data.txs)) {
    const run = fold.runOf(tx);
    const entry = run === undefined ? await finder.ended(tx) : foundRun(run);
    if (entry !== undefined) found.push(entry);
  }
  message.respond?.(Buffer.from(encodeQueryReply(found)));
}

function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(data).toString('utf8'));
  } catch {
    return undefined;
  }
}

function foundRun(run: RunRecord): FoundRun {
  const { phase, waitsFor, steps, attention } = viewOf(run);
  const { tx, run: id, pattern } = run.facts;
  const open = run.phase !== 'ended' && run.phase !== 'refused';
  const outcome =
    run.phase === 'refused' && run.refusal !== undefined
      ? outcomeEnvelope(run, { status: 'refused', ...run.refusal })
      : run.outcomeBody === undefined
        ? undefined
        : outcomeEnvelope(run, run.outcomeBody);
  // By the digest a caller judges its own begin: only the run that owns the id may show it (Rule 7).
  const owns = run.begin.id === 'own' && run.phase !== 'awaiting_verdict' && run.phase !== 'refused';
  const digest = owns ? { digest: planDigest(run.begin.plan) } : {};
  return {
    ...{ tx, pattern, run: id, open, phase, waitsFor },
    steps: [...steps],
    attention: [...attention],
    ...(outcome === undefined ? {} : { outcome }),
    ...digest,
  };
}

class Finder {
  readonly #options: QueryServiceOptions;
  /** Log scans run one at a time: they read much and are rare. */
  #scans: Promise<unknown> = Promise.resolve();

  constructor(options: QueryServiceOptions) {
    this.#options = options;
  }

  async ended(tx: string): Promise<FoundRun | undefined> {
    const { recent, keys, pattern } = this.#options;
    const key = await keys.find(pattern, tx);
    const outcome = key === undefined ? (recent.find(tx) ?? (await this.#scan(tx))) : key.outcome;
    if (outcome === undefined) return undefined;
    return {
      ...{ tx, pattern, run: outcome.run, open: false, phase: 'ended', waitsFor: 'nothing: it has ended' },
      steps: [],
      attention: [],
      outcome,
      ...(key === undefined ? {} : { digest: key.digest }),
      ...(key?.until === undefined ? {} : { until: key.until }),
    };
  }

  /** A fresh id is found in the log by its time (Rule 7). */
  #scan(tx: string): Promise<OutcomeEnvelope | undefined> {
    const timeMs = ulidTimeMs(tx);
    if (timeMs === undefined) return Promise.resolve(undefined);
    const { world, pattern } = this.#options;
    const scan = this.#scans.then(async () => {
      let found: OutcomeEnvelope | undefined;
      await replayLog(world, {
        pattern,
        tx,
        sinceMs: Math.max(0, timeMs - CLOCK_SLACK_MS),
        onStory: (story) => {
          found = story.outcome ?? found;
        },
        enough: () => found !== undefined,
      });
      return found;
    });
    this.#scans = scan.catch(() => undefined);
    return scan;
  }
}
