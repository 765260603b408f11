import { InvalidArgumentError, type Command } from 'commander';

import {
  FAULTS,
  isFault,
  isKind,
  KINDS,
  simulateSeed,
  type Fault,
  type Kind,
  type SeedResult,
} from '../../simulation/driver/index.ts';
import { integer } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { keepSeeds, keptSeed, readKeptSeeds, type KeptSeed } from '../kept-seeds.ts';
import { findSmallest, playAsChild, playSeeds, type SimulatePlan } from '../simulations.ts';
import { summaryJson, summaryLines, traceLine, violationLines } from '../simulation-report.ts';

interface Choices {
  readonly pattern: Kind | 'all';
  readonly seeds?: number;
  readonly seed?: number;
  readonly onlyFaults?: readonly Fault[];
  readonly transactions?: readonly number[];
  readonly rollback?: boolean;
  readonly jobs?: number;
  readonly shrink: boolean;
  readonly json?: boolean;
  readonly keep?: string;
  readonly again?: string;
}

const MAX_SEEDS = 10_000_000;
const MAX_JOBS = 64;
const DEFAULT_SEEDS = 200;

export function addSimulate(program: Command, cli: Cli): void {
  program
    .command('simulate')
    .description('play random transactions under random faults in virtual time, and judge what is left')
    .option('--pattern <name>', `one of ${KINDS.join(', ')}, or all`, kind, 'all')
    .option(
      '--seeds <n>',
      `how many seeds, spread evenly over the patterns (default: ${DEFAULT_SEEDS})`,
      seeds,
    )
    .option('--seed <n>', 'the first seed; without --seeds: only this one, with its trace', seed)
    .option(
      '--only-faults <list>',
      'of the faults that a seed draws, only these (an empty list: none)',
      faults,
    )
    .option('--transactions <list>', 'of the transactions that a seed draws, only these: 0,3,7', indices)
    .option('--rollback', 'put a stream back to an earlier state: the promise is detection, never silence')
    .option('--jobs <n>', 'processes (default: as many as there are processors)', integer(1, MAX_JOBS))
    .option('--keep <file>', 'append every failing seed to this file, one JSON line each')
    .option('--again <file>', 'first play the seeds that such a file holds')
    .option('--no-shrink', 'print failing seeds as they are')
    .addHelpText('after', HELP)
    .action(
      cli.action<Choices>(async ({ options }) => {
        if (await playAsChild(cli.signal)) return 0;
        const { seed: one, seeds: count } = options;
        return one !== undefined &&
          count === undefined &&
          options.keep === undefined &&
          options.again === undefined
          ? trace(cli, options, one)
          : many(cli, options);
      }),
    );
}

const HELP = `
Needs no server: coordinators, workers and clients run unchanged in a simulated world, in one thread. A seed is one
story, the same on every machine. Each draws a few of these faults:
  ${FAULTS.join(' ')}
Exit code 0: every promise was kept; 1: some were not, and the commands that show it were printed. A 3PC that splits
under a partition or a pause counts as an expected split (see docs/patterns/3pc.md).

Examples:
  $ phasor simulate
  $ phasor simulate --pattern all --seeds 2000 --json
  $ phasor simulate --pattern 3pc --seed 17
  $ phasor simulate --pattern saga --seed 42 --only-faults crash,slow --transactions 3
  $ phasor simulate --pattern 2pc --seeds 50 --rollback
  $ phasor simulate --seeds 2000 --again failed.jsonl --keep failed.jsonl`;

async function trace(cli: Cli, options: Choices, first: number): Promise<number> {
  const plan = planOf(options, first, 1);
  const [job] = plan.jobs;
  if (job === undefined) return 0;
  const lines: string[] = [];
  const result = await simulateSeed({
    ...plan.part,
    ...job,
    ...(options.json === true ? {} : { onEvent: (event) => void lines.push(traceLine(event)) }),
  });
  refuseNothing(options, [result]);
  for (const line of lines) await cli.out.line(line);
  if (options.json === true) {
    await cli.out.json(summaryJson([result]));
  } else {
    for (const line of [...violationLines(result), ...summaryLines([result])]) await cli.out.line(line);
    await cli.out.line(`digest ${result.digest}`);
  }
  return result.violations.length > 0 ? 1 : 0;
}

async function many(cli: Cli, options: Choices): Promise<number> {
  const plans = [
    ...(options.again === undefined ? [] : plansAgain(await readKeptSeeds(options.again), options)),
    planOf(options, options.seed ?? 0, options.seeds ?? (options.seed === undefined ? DEFAULT_SEEDS : 1)),
  ];
  const results: SeedResult[] = [];
  const kept: KeptSeed[] = [];
  // Results of a program stay one line; people read the rest on stderr.
  const print = async (line: string): Promise<void> =>
    options.json === true ? void process.stderr.write(`${line}\n`) : cli.out.line(line);
  for (const plan of plans) {
    const played = await playSeeds(plan, {
      signal: cli.signal,
      ...(options.jobs === undefined ? {} : { jobs: options.jobs }),
    });
    results.push(...played);
    for (const result of played.filter(({ violations }) => violations.length > 0)) {
      const smallest =
        options.shrink && kept.length < MAX_SHRUNK ? await findSmallest(result, plan) : undefined;
      const rollback = plan.part.rollback === true;
      kept.push(keptSeed(result, { smallest, rollback }));
      for (const line of violationLines(smallest?.result ?? result, smallest, rollback)) await print(line);
    }
  }
  if (!cli.signal.aborted) refuseNothing(options, results);
  if (options.keep !== undefined) await keepSeeds(options.keep, kept);
  if (options.json === true) await cli.out.json(summaryJson(results));
  else for (const line of summaryLines(results)) await cli.out.line(line);
  return kept.length > 0 ? 1 : 0;
}

/** What judged nothing has kept no promise either. */
function refuseNothing({ transactions }: Choices, results: readonly SeedResult[]): void {
  if (transactions === undefined || results.some(({ items }) => items.length > 0)) return;
  const none = transactions.join(',');
  throw new InvalidArgumentError(`--transactions ${none} selects nothing: no seed drew such a transaction.`);
}

/** Whole, not as they were shrunk: what was left out then may matter now. */
function plansAgain(kept: readonly KeptSeed[], options: Choices): readonly SimulatePlan[] {
  return [false, true].flatMap((rollback) => {
    const jobs = kept
      .filter((seed) => (seed.rollback === true) === rollback)
      .map(({ pattern, seed }) => ({ kind: pattern, seed }));
    const { part } = planOf({ ...options, rollback }, 0, 0);
    return jobs.length === 0 ? [] : [{ jobs, part }];
  });
}

/** Shrinking takes dozens of runs a seed. */
const MAX_SHRUNK = 5;

function planOf(options: Choices, first: number, count: number): SimulatePlan {
  const { pattern, onlyFaults, transactions, rollback } = options;
  const jobs = Array.from({ length: count }, (_, index) => {
    const number = first + index;
    const spread = KINDS[number % KINDS.length] ?? '2pc';
    return { seed: number, kind: pattern === 'all' ? spread : pattern };
  });
  const part = {
    ...(onlyFaults === undefined ? {} : { onlyFaults }),
    ...(transactions === undefined ? {} : { onlyTransactions: transactions }),
    ...(rollback === true ? { rollback } : {}),
  };
  return { jobs, part };
}

function kind(text: string): Kind | 'all' {
  if (text === 'all' || isKind(text)) return text;
  throw new InvalidArgumentError(`Patterns are ${KINDS.join(', ')}, or all.`);
}

const seeds = integer(1, MAX_SEEDS);
const seed = integer(0, Number.MAX_SAFE_INTEGER);

function faults(text: string): readonly Fault[] {
  return text
    .split(',')
    .filter((name) => name !== '')
    .map((name) => {
      if (isFault(name)) return name;
      throw new InvalidArgumentError(`Faults are ${FAULTS.join(', ')}.`);
    });
}

const indices = (text: string): readonly number[] => text.split(',').map(integer(0, 1_000));
