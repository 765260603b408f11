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
import { RecentOutcomes } from './recent-outcomes.ts';

interface Shard {
  readonly fold: ShardFold;
  /** Before its head is reached a shard knows only the past, and stays silent. */
  readonly isLive: () => boolean;
  /** Stream time of the last folded message. */
  readonly lastMs: () => number;
}

export interface QueryServiceOptions {
  readonly world: World;
  readonly pattern: Pattern;
  readonly keys: OutcomeKeys;
  readonly recent: RecentOutcomes;
  readonly shards: readonly Shard[];
  /** A fresh begin stands in the log within half of this around its id's time (Rule 7). */
  readonly duplicateWindowMs: number;
}

export interface QueryService {
  close(): void;
}

/** One coordinator of several answers each question: any of them knows what the log implies. */
export function serveQueries(options: QueryServiceOptions): QueryService {
  const { world, pattern, shards } = options;
  const archive = new Archive(options);
  const subscriptions = shards.map((shard, index) =>
    world.bus.subscribe(
      subjects.query(pattern, index),
      (message) => {
        if (message.respond === undefined || !shard.isLive()) return;
        answer(options, { shard, archive, message }).catch((err: unknown) => {
          world.logger.warn({ err, shard: index }, 'a query could not be answered');
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

/** Answers at once with what is known; what only the log knows is looked up for the next time it is asked. */
async function answer(
  options: QueryServiceOptions,
  { shard, archive, message }: { shard: Shard; archive: Archive; message: BusMessage },
): Promise<void> {
  const request = queryRequestSchema.safeParse(parseJson(message.data));
  if (!request.success) {
    const problem = request.error.issues.map((issue) => issue.message).join('; ');
    message.respond?.(Buffer.from(JSON.stringify({ v: 1, found: [], problem })));
    return;
  }
  const found: FoundRun[] = [];
  const unknown: string[] = [];
  for (const tx of new Set(request.data.txs)) {
    const run = shard.fold.runOf(tx);
    const entry = run === undefined ? await ended(options, archive, tx) : foundRun(run);
    if (entry === undefined) unknown.push(tx);
    else found.push(entry);
  }
  message.respond?.(Buffer.from(encodeQueryReply(found)));
  archive.lookUp(unknown, shard);
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
  const body =
    run.refusal === undefined
      ? (run.outcomeBody ?? run.toldEarly)
      : { status: 'refused' as const, ...run.refusal };
  // By the digest a caller judges its own begin: only the run that owns the id may show it (Rule 7).
  const owns = run.begin.id === 'own' && run.phase !== 'awaiting_verdict' && run.phase !== 'refused';
  return {
    ...{ tx, pattern, run: id, open, phase, waitsFor },
    steps: [...steps],
    attention: [...attention],
    ...(body === undefined ? {} : { outcome: outcomeEnvelope(run, body) }),
    ...(owns ? { digest: planDigest(run.begin.plan) } : {}),
  };
}

async function ended(
  { keys, pattern, recent }: QueryServiceOptions,
  archive: Archive,
  tx: string,
): Promise<FoundRun | undefined> {
  const key = await keys.find(pattern, tx);
  const outcome = key?.outcome ?? recent.find(tx) ?? archive.find(tx);
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

/** A begin younger than this against the last folded message may still be on its way. */
const SETTLE_MS = 5_000;
/** Most ids are as old as the clocks say; the rest of the window is read only for those that were not there. */
const NEAR_MS = 2_000;
const MISSING_KEEP_MS = 60_000;

/** Outcomes of fresh ids that only the log knows (Rule 7). One look-up at a time: they read much and are rare. */
class Archive {
  readonly #options: QueryServiceOptions;
  readonly #found = new RecentOutcomes(1_000);
  /** Ids that were not in the log, with the monotonic time until which nobody looks again. */
  readonly #missing = new Map<string, number>();
  #busy = false;

  constructor(options: QueryServiceOptions) {
    this.#options = options;
  }

  find(tx: string): OutcomeEnvelope | undefined {
    return this.#found.find(tx);
  }

  lookUp(txs: readonly string[], shard: Shard): void {
    const { clock, logger } = this.#options.world;
    const now = clock.monotonicMs();
    const settledMs = shard.lastMs() - SETTLE_MS;
    const wanted = txs.filter(
      (tx) => (ulidTimeMs(tx) ?? Infinity) < settledMs && !((this.#missing.get(tx) ?? 0) > now),
    );
    if (this.#busy || wanted.length === 0) return;
    this.#busy = true;
    this.#scan(wanted)
      .catch((err: unknown) => {
        logger.warn({ err }, 'looking up ended runs in the log');
      })
      .finally(() => {
        this.#busy = false;
      });
  }

  async #scan(txs: readonly string[]): Promise<void> {
    const halfWindowMs = this.#options.duplicateWindowMs / 2;
    let left = txs;
    for (const slackMs of [NEAR_MS, halfWindowMs]) {
      if (left.length === 0) return;
      const begun = await this.#read(left, slackMs);
      left = left.filter((tx) => !begun.has(tx));
    }
    const until = this.#options.world.clock.monotonicMs() + MISSING_KEEP_MS;
    if (this.#missing.size > 10_000) this.#missing.clear();
    for (const tx of left) this.#missing.set(tx, until);
  }

  /** Those whose begin stands in the log; reads on until each of them has ended. */
  async #read(txs: readonly string[], slackMs: number): Promise<ReadonlySet<string>> {
    const times = txs.map((tx) => ulidTimeMs(tx) ?? 0);
    const lastBeginMs = Math.max(...times) + slackMs;
    const begun = new Set<string>();
    const open = new Set<string>();
    await replayLog(this.#options.world, {
      pattern: this.#options.pattern,
      txs,
      sinceMs: Math.max(0, Math.min(...times) - slackMs),
      onBegun: (tx) => {
        begun.add(tx);
        open.add(tx);
      },
      onStory: ({ tx, outcome }) => {
        open.delete(tx);
        if (outcome !== undefined) this.#found.add(tx, Buffer.from(JSON.stringify([outcome])));
      },
      enough: (timeMs) => open.size === 0 && (begun.size === txs.length || timeMs > lastBeginMs),
    });
    return begun;
  }
}
