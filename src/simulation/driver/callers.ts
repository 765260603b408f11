/** The nodes that ask: clients that begin a workload's transactions, and an operator. */
import { shardOf } from '../../kernel/hash.ts';
import { streamOf, subjects } from '../../kernel/subjects.ts';
import type { OperatorAction, Pattern } from '../../kernel/vocabulary.ts';
import type { World } from '../../ports/world.ts';
import { encodeEnvelope, joinBody } from '../../protocol/codec.ts';
import type { OutcomeEnvelope } from '../../protocol/envelopes.ts';
import type { FoundRun } from '../../protocol/query.ts';
import { replayLog, type Story } from '../../runtime/audit.ts';
import { createClient, type Client } from '../../runtime/client/index.ts';
import type { Item } from './workload.ts';

/** What is known of one item outside the simulated nodes: it outlives their crashes, as a caller's own books do. */
export interface Record {
  readonly item: Item;
  tried: boolean;
  tx: string | undefined;
  begunAt: string | undefined;
  /** Virtual time of that acknowledgement. */
  begunMs: number;
  /** Heard, or found; or a fresh begin whose fate its caller never learns. */
  settled: boolean;
  readonly outcomes: { readonly status: string; readonly attention: boolean; readonly run: string }[];
}

export interface CallerOptions {
  readonly records: readonly Record[];
  readonly nowMs: () => number;
}

const AGAIN_MS = 500;
const LOOK_MS = 1_000;

const sleep = (world: World, ms: number): Promise<void> =>
  new Promise((resolve) => void world.clock.after(Math.max(0, ms), resolve));

/** One life of a client: it goes on with whatever it had not finished. */
export async function runClient(
  world: World,
  name: string,
  { records, nowMs }: CallerOptions,
): Promise<void> {
  const client = await createClient(world, { sender: name, maxInFlight: 50 });
  for (const record of records) {
    const { item } = record;
    void sleep(world, item.atMs - nowMs()).then(() => play({ world, client, record, nowMs }));
  }
}

interface Playing {
  readonly world: World;
  readonly client: Client;
  readonly record: Record;
  readonly nowMs: () => number;
}

async function play(playing: Playing): Promise<void> {
  const { world, client, record } = playing;
  const { item } = record;
  if (record.settled) return;
  if (record.tried && item.own === undefined) return findAgain(playing);
  record.tried = true;
  const { pattern, plan, own } = item;
  const request = { pattern, plan, ...(own === undefined ? {} : { tx: own }) };
  for (;;) {
    try {
      const handle = await client.begin(request);
      record.tx = handle.tx;
      record.begunAt = handle.begunAt;
      record.begunMs = playing.nowMs();
      meanwhile(playing, handle.tx);
      hear(record, await handle.outcome());
      record.settled = true;
      return;
    } catch {
      // A fresh id is never begun again: whether it was stored nobody tells this caller.
      if (own === undefined && record.begunAt === undefined) {
        record.settled = true;
        return;
      }
      if (own === undefined) return findAgain(playing);
      await sleep(world, AGAIN_MS);
    }
  }
}

function hear(record: Record, { status, attention, run }: OutcomeEnvelope): void {
  record.outcomes.push({ status, attention: attention === true, run });
}

/** After a crash: by asking where the transaction stands. */
async function findAgain(playing: Playing): Promise<void> {
  const { world, client, record } = playing;
  const { tx, item } = record;
  if (tx === undefined) {
    record.settled = true;
    return;
  }
  meanwhile(playing, tx);
  for (;;) {
    const found = await client.describe(item.pattern, tx).catch(() => undefined);
    if (found?.outcome !== undefined || (found?.attention.length ?? 0) > 0) {
      if (found?.outcome !== undefined) hear(record, found.outcome);
      record.settled = true;
      return;
    }
    await sleep(world, LOOK_MS);
  }
}

/** What the caller does while the transaction goes on; each at its own time, as long as this life lasts. */
function meanwhile({ world, client, record }: Playing, tx: string): void {
  const { item } = record;
  const { pattern, plan, own, signal } = item;
  const later = (ms: number | undefined, act: () => Promise<unknown>): void => {
    if (ms === undefined) return;
    void sleep(world, ms).then(() => persist(world, act));
  };
  const again = item.mismatch ? { ...plan, name: `${plan.name}-other` } : plan;
  later(item.againMs, async () => {
    const handle = await client.begin({ pattern, plan: again, tx: own ?? tx });
    hear(record, await handle.outcome());
  });
  if (item.operator === undefined) later(item.cancelMs, () => client.cancel(pattern, tx, 'no longer wanted'));
  if (signal !== undefined)
    later(signal.afterMs, () => client.signal(pattern, tx, { name: 'go', verdict: signal.verdict }));
}

const TRIES = 20;

async function persist(world: World, act: () => Promise<unknown>): Promise<void> {
  for (let count = 0; count < TRIES; count += 1) {
    try {
      await act();
      return;
    } catch {
      await sleep(world, LOOK_MS);
    }
  }
}

/** An operator who cancels and kills what the workload says, and in the end retries whatever waits for a person. */
export class OperatorDesk {
  readonly #records: readonly Record[];
  readonly #nowMs: () => number;
  #world: World | undefined;
  #client: Client | undefined;
  readonly #done = new Set<number>();

  constructor({ records, nowMs }: CallerOptions) {
    this.#records = records;
    this.#nowMs = nowMs;
  }

  async run(world: World): Promise<void> {
    this.#world = world;
    this.#client = await createClient(world, { sender: 'desk' });
    for (const record of this.#records) {
      const { item } = record;
      if (item.operator === undefined || item.cancelMs === undefined) continue;
      const action = item.operator;
      void sleep(world, item.atMs + item.cancelMs - this.#nowMs()).then(() => this.#act(record, action));
    }
  }

  async #act(record: Record, action: 'cancel' | 'kill'): Promise<void> {
    const { item, tx } = record;
    if (tx === undefined || this.#done.has(item.index)) return;
    this.#done.add(item.index);
    const found = await this.describe(item.pattern, tx);
    if (found?.open === true) await this.#append(found, action, {});
  }

  /** Undefined: nobody knows it, or nobody answers. */
  async describe(pattern: Pattern, tx: string): Promise<FoundRun | undefined> {
    return this.#client?.describe(pattern, tx).catch(() => undefined);
  }

  /** Retries every item of a run that waits. */
  async retry(found: FoundRun): Promise<void> {
    for (const { step, phase, raised } of found.attention)
      if (step !== '') await this.#append(found, 'retry', { step, phase, raised });
  }

  /** Every run of a pattern as its log tells it. */
  async audit(pattern: Pattern): Promise<readonly Story[]> {
    const stories: Story[] = [];
    if (this.#world === undefined) return stories;
    await replayLog(this.#world, { pattern, onStory: (story) => void stories.push(story) });
    return stories;
  }

  /** Tells every shard of a pattern where its log was cut. */
  async recover(pattern: Pattern, survived: string): Promise<void> {
    const world = this.#world;
    if (world === undefined) return;
    const { shards } = await world.log.state(streamOf(pattern));
    const envelope = { v: 1, by: 'desk', reason: 'restored', survived };
    for (let shard = 0; shard < shards; shard += 1)
      await world.log.append(
        subjects.input(pattern, 'operator', 'recover', shard),
        joinBody([encodeEnvelope(envelope)]),
      );
  }

  async #append({ pattern, tx, run }: FoundRun, action: OperatorAction, fields: object): Promise<void> {
    const world = this.#world;
    if (world === undefined) return;
    try {
      const { shards } = await world.log.state(streamOf(pattern));
      const subject = subjects.input(pattern, 'operator', action, shardOf(tx, shards));
      const envelope = { v: 1, tx, run, by: 'desk', reason: 'scripted', ...fields };
      await world.log.append(subject, joinBody([encodeEnvelope(envelope)]));
    } catch {
      // Nobody waits for it: the run stays in attention, and is looked at again.
    }
  }
}
