/**
 * The judge: reads the streams and the stored accounts, never the memory of an engine, and knows nothing of what the
 * chaos did.
 */
import { BANKS, readAccounts } from '../../examples/bank/ledger.ts';
import { moneyIn } from '../../examples/bank/account.ts';
import { replayLog, type Pattern, type Story, type World } from '../../src/index.ts';
import { subjects } from '../../src/kernel/subjects.ts';
import type { Rig } from '../kit/rig.ts';
import { accounts, OPENING_BALANCE, type Seen } from './arena.ts';

const PATTERNS = ['2pc', 'saga'] as const satisfies readonly Pattern[];
const GOOD: ReadonlySet<string> = new Set(['committed', 'completed']);
const BAD: ReadonlySet<string> = new Set(['aborted', 'compensated']);

export interface Judgement {
  /** Everything that must not be: empty when all is well. */
  readonly problems: readonly string[];
  readonly runs: number;
  readonly moved: number;
  readonly undone: number;
}

export async function judge(world: World, rig: Rig, seen: readonly Seen[]): Promise<Judgement> {
  const stories = await allStories(world);
  const problems: string[] = [];
  for (const story of stories) problems.push(...problemsOf(story));
  const moved = stories.filter(({ outcome }) => GOOD.has(outcome?.status ?? ''));
  const undone = stories.filter(({ outcome }) => BAD.has(outcome?.status ?? ''));
  problems.push(...seenProblems(stories, seen));
  problems.push(...(await ledgerProblems(world, await effectsOf(rig, moved))));
  return { problems, runs: stories.length, moved: moved.length, undone: undone.length };
}

async function allStories(world: World): Promise<readonly Story[]> {
  const stories: Story[] = [];
  for (const pattern of PATTERNS)
    await replayLog(world, { pattern, onStory: (story) => stories.push(story) });
  // A second begin of an own id is a run that never was: it has a verdict, and nothing was commanded.
  return stories.filter(({ view }) => view.phase !== 'refused');
}

function problemsOf({ tx, run, open, outcome, contradictions, view }: Story): readonly string[] {
  const name = `${tx} (run ${run})`;
  const problems = contradictions.map((text) => `${name}: ${text}`);
  if (open) problems.push(`${name} has not ended: waits for ${view.waitsFor}`);
  const { status = 'none' } = outcome ?? {};
  if (!open && !GOOD.has(status) && !BAD.has(status)) problems.push(`${name} ended as ${status}`);
  if (view.attention.length > 0) problems.push(`${name} raises attention`);
  return problems;
}

/** What callers were told is what the log says, and each id was carried out once. */
function seenProblems(stories: readonly Story[], seen: readonly Seen[]): readonly string[] {
  const found = new Map<string, Story[]>();
  for (const story of stories) {
    const key = `${story.pattern}/${story.tx}`;
    found.set(key, [...(found.get(key) ?? []), story]);
  }
  return seen.flatMap(({ pattern, tx, status }) => {
    const runs = found.get(`${pattern}/${tx}`) ?? [];
    if (runs.length !== 1) return [`${tx} has ${runs.length} runs`];
    const told = runs[0]?.outcome?.status;
    return told === status ? [] : [`${tx}: the caller was told ${status}, the log says ${told ?? 'nothing'}`];
  });
}

type Effects = ReadonlyMap<string, number>;

/** By the plans in the begins, without any machine: what the committed and completed runs should have moved. */
async function effectsOf(rig: Rig, moved: readonly Story[]): Promise<Effects> {
  const effects = new Map<string, number>();
  const ended = new Set(moved.map(({ pattern, run }) => `${pattern}/${positionOf(run)}`));
  for (const pattern of PATTERNS) {
    for (const message of await rig.messages(pattern, subjects.allInputs(pattern))) {
      if (message.subject.split('.')[2] !== 'begin') continue;
      const begins = JSON.parse(Buffer.from(message.data).toString()) as readonly Begin[];
      begins.forEach(({ plan }, index) => {
        if (!ended.has(`${pattern}/${message.seq}.${index}`)) return;
        for (const { participant, action, input } of plan.steps) {
          const name = `${participant}/${input.account}`;
          const amount = action === 'credit' ? input.amount : -input.amount;
          effects.set(name, (effects.get(name) ?? 0) + amount);
        }
      });
    }
  }
  return effects;
}

interface Begin {
  readonly plan: {
    readonly steps: readonly {
      readonly participant: string;
      readonly action: string;
      readonly input: { readonly account: string; readonly amount: number };
    }[];
  };
}

const positionOf = (run: string): string => run.split('.').slice(0, 2).join('.');

/** Every account holds exactly what the runs that took effect left in it: each effect once, undone ones not at all. */
async function ledgerProblems(world: World, effects: Effects): Promise<readonly string[]> {
  const problems: string[] = [];
  let total = 0;
  for (const bank of BANKS) {
    for (const [name, account] of await readAccounts(world.keyValue, bank)) {
      total += moneyIn(account);
      const expected = OPENING_BALANCE + (effects.get(`${bank}/${name}`) ?? 0);
      if (account.held !== 0) problems.push(`${bank}/${name} still holds ${account.held}`);
      if (account.balance !== expected) {
        problems.push(`${bank}/${name} has ${account.balance}, expected ${expected}`);
      }
    }
  }
  if (total !== accounts.length * OPENING_BALANCE) problems.push(`the money is ${total}`);
  return problems;
}

/** Commands that went out more than once for the same attempt: what two coordinators must cause now and then. */
export async function repeatedCommands(rig: Rig): Promise<number> {
  let repeated = 0;
  for (const pattern of PATTERNS) {
    const seen = new Set<string>();
    for (const { subject, run, step, attempt } of await rig.envelopes(
      pattern,
      subjects.allCommands(pattern),
    )) {
      const key = JSON.stringify([subject, run, step, attempt]);
      if (seen.has(key)) repeated += 1;
      seen.add(key);
    }
  }
  return repeated;
}
