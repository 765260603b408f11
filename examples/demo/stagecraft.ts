/** What every scenario of the demo needs: to run one, to look at what it left, and to say so. */
import { replayLog, type BuiltPlan, type Pattern, type Status, type Story } from '../../src/index.ts';
import { bucketOf } from '../shop/records.ts';
import type { Narrator } from './narrator.ts';
import { ITEM, type Stage } from './stage.ts';

export interface Scenario {
  readonly name: string;
  readonly tx: string;
  readonly pattern: Pattern;
  readonly status: Status | 'unknown';
  /** Ended as expected, and left what it should have left. */
  readonly ok: boolean;
}

export const OUTCOME_MS = 20_000;

/** What each scenario found; false ones make the demo fail. */
export class Findings {
  readonly #narrator: Narrator;
  #allGood = true;

  constructor(narrator: Narrator) {
    this.#narrator = narrator;
  }

  get ok(): boolean {
    return this.#allGood;
  }

  check(isGood: boolean, text: string): void {
    this.#narrator.verdict(isGood, text);
    if (isGood) return;
    this.#allGood = false;
    process.stderr.write(`demo: not as expected: ${text}\n`);
  }
}

export async function run(
  stage: Stage,
  { pattern, plan }: BuiltPlan<Pattern>,
): Promise<Omit<Scenario, 'name' | 'ok'>> {
  const handle = await stage.client.begin({ pattern, plan });
  const { status } = await handle.outcome({ timeoutMs: OUTCOME_MS });
  return { tx: handle.tx, pattern, status };
}

/** Pieces on the shelf. */
export async function stockOf({ connection }: Stage, item: string = ITEM): Promise<number> {
  const inventory = await connection.world.keyValue.bucket(bucketOf('inventory'));
  const shelf = await inventory.get(item);
  return shelf === undefined
    ? NaN
    : (JSON.parse(Buffer.from(shelf.value).toString()) as { stock: number }).stock;
}

/** Steps in the order in which a phase was commanded. */
export const commands = (story: Story | undefined, phase: string): readonly string[] =>
  (story?.events ?? []).flatMap(({ what, step, phase: of }) =>
    what === 'command' && of === phase && step !== undefined ? [step] : [],
  );

/** What the streams alone say about a transaction. */
export async function storyOf(
  { connection }: Stage,
  { tx, pattern }: { readonly tx: string; readonly pattern: Pattern },
): Promise<Story | undefined> {
  let found: Story | undefined;
  await replayLog(connection.world, { pattern, txs: [tx], onStory: (story) => (found = story) });
  return found;
}
