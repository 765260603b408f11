import { userInfo } from 'node:os';

import { Argument, InvalidArgumentError, type Command } from 'commander';

import { formatDurationMs } from '../../kernel/duration.ts';
import { shardOf } from '../../kernel/hash.ts';
import { streamOf, subjects } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { World } from '../../ports/world.ts';
import { encodeEnvelope, joinBody } from '../../protocol/codec.ts';
import { operatorSchemas } from '../../protocol/envelopes.ts';
import { ENVELOPE_VERSION, MAX_MESSAGE_CHARS, MAX_NAME_CHARS } from '../../protocol/limits.ts';
import { problemText, schemaProblems } from '../../protocol/schema-problems.ts';
import type { Story } from '../../runtime/audit.ts';
import type { Globals } from '../globals.ts';
import { integer, label, patterns, signalName, since, text, txId, type Label } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { printable } from '../output.ts';
import { replayAll } from '../replay.ts';
import { stateOf, storyJson, storyLines, tookMs } from '../story.ts';

export function addTx(program: Command, cli: Cli): void {
  const tx = program.command('tx').description('look at transactions, and step in');
  addList(tx, cli);
  addShow(tx, cli);
  addCancel(tx, cli);
  addKill(tx, cli);
  addSignal(tx, cli);
}

interface ListChoices {
  readonly pattern?: readonly Pattern[];
  readonly label?: readonly Label[];
  readonly attention?: boolean;
  readonly open?: boolean;
  readonly since?: number;
  readonly limit: number;
}

function addList(tx: Command, cli: Cli): void {
  tx.command('list')
    .description('transactions, the newest first')
    .option('--pattern <name>', 'only this pattern; may be repeated', patterns)
    .option('--label <key=value>', 'only with this label; may be repeated', label)
    .option('--attention', 'only what waits for a person')
    .option('--open', 'only what has not ended')
    .option('--since <age|time>', 'only what began since, as 15m or 2026-01-31T08:00:00Z', since)
    .option('--limit <n>', 'at most so many', integer(1, 1_000_000), 50)
    .addHelpText(
      'after',
      `
Reads the logs from --since on (default: all there is). With --json one line per transaction.

Examples:
  $ phasor tx list --open --since 1h
  $ phasor tx list --attention
  $ phasor tx list --pattern saga --label customer=42 --json`,
    )
    .action(
      cli.action<ListChoices>(async ({ options }) => {
        const newest = new Newest(options.limit);
        await cli.withWorld(options, (world) =>
          replayAll(world, {
            patterns: options.pattern,
            sinceMs: options.since,
            signal: cli.signal,
            onStory: (story) => {
              if (isListed(story, options)) newest.add(story);
            },
          }),
        );
        const stories = newest.take();
        if (options.json === true) {
          for (const story of stories) await cli.out.json(listedJson(story));
          return;
        }
        const header = ['TX', 'PATTERN', 'STATE', 'AGE', 'TOOK', 'PLAN', 'WHY'];
        await cli.out.table(header, stories.map(listedRow));
      }),
    );
}

function isListed(story: Story, { label: wanted = [], attention, open }: ListChoices): boolean {
  if (open === true && !story.open) return false;
  if (attention === true && story.view.attention.length === 0) return false;
  return wanted.every(({ key, value }) => Object.hasOwn(story.labels, key) && story.labels[key] === value);
}

/** Keeps the newest of any number of stories, without their events. */
class Newest {
  #kept: Story[] = [];

  constructor(private readonly limit: number) {}

  add(story: Story): void {
    this.#kept.push({ ...story, events: [] });
    if (this.#kept.length >= 2 * this.limit + 1_000) this.take();
  }

  take(): readonly Story[] {
    this.#kept = this.#kept.sort((a, b) => b.begunMs - a.begunMs).slice(0, this.limit);
    return this.#kept;
  }
}

const listedJson = (story: Story): object => {
  const { tx, pattern, run, name, open, begunMs, view, labels, outcome } = story;
  const took = tookMs(story);
  return {
    ...{ tx, pattern, run, name, state: stateOf(story), open, begunMs },
    ...(took === undefined ? { waitsFor: view.waitsFor } : { tookMs: took }),
    ...(outcome?.code === undefined ? {} : { code: outcome.code }),
    attention: view.attention,
    labels,
  };
};

function listedRow(story: Story): readonly string[] {
  const { tx, pattern, name, view, begunMs, outcome } = story;
  const took = tookMs(story);
  const why = story.open ? view.waitsFor : (outcome?.code ?? '');
  return [
    ...[tx, pattern, stateOf(story), formatDurationMs(Math.max(0, Date.now() - begunMs))],
    ...[took === undefined ? '' : formatDurationMs(took), printable(name), printable(why)],
  ];
}

interface OneChoices {
  readonly pattern?: readonly Pattern[];
}

const idArgument = (): Argument => new Argument('<id>', 'the transaction').argParser(txId);

function addShow(tx: Command, cli: Cli): void {
  tx.command('show')
    .description("one transaction's story, step by step")
    .addArgument(idArgument())
    .option('--pattern <name>', 'only in this pattern; may be repeated', patterns)
    .addHelpText(
      'after',
      `
Every run under this id, in each pattern. With --json one line per run. Exit code 66: there is none.

Example:
  $ phasor tx show 01JD3Y8Q4RZ6M2N7T5V9XKBWCE`,
    )
    .action(
      cli.action<OneChoices>(async ({ options, args: [id = ''] }) => {
        const stories = await cli.withWorld(options, (world) => storiesOf(world, cli, { id, ...options }));
        for (const [index, story] of stories.entries()) {
          if (options.json === true) await cli.out.json(storyJson(story));
          else {
            if (index > 0) await cli.out.line('');
            for (const line of storyLines(story)) await cli.out.line(line);
          }
        }
      }),
    );
}

async function storiesOf(
  world: World,
  cli: Cli,
  { id, pattern }: OneChoices & { readonly id: string },
): Promise<readonly Story[]> {
  const stories: Story[] = [];
  await replayAll(world, {
    patterns: pattern,
    tx: id,
    signal: cli.signal,
    onStory: (story) => stories.push(story),
  });
  if (stories.length > 0) return stories;
  throw new PhasorError('TX_NOT_FOUND', `no transaction ${id} in the logs`, { tx: id });
}

interface OperatorChoices extends OneChoices {
  readonly reason: string;
  readonly by?: string;
}

function operatorCommand(tx: Command, usage: { name: string; description: string }): Command {
  return tx
    .command(usage.name)
    .description(usage.description)
    .addArgument(idArgument())
    .requiredOption('--reason <text>', 'why; it is kept in the log', text(MAX_MESSAGE_CHARS))
    .option('--by <person>', 'who asks (default: the user of this system)', text(MAX_NAME_CHARS))
    .option('--pattern <name>', 'in this pattern; needed when the id is open in several', patterns);
}

function addCancel(tx: Command, cli: Cli): void {
  const description = 'ask a transaction to end without effect: what was done is undone';
  operatorCommand(tx, { name: 'cancel', description })
    .addHelpText(
      'after',
      `
Stores the wish; the run's machine decides whether it still can be. phasor tx show tells what became of it.

Example:
  $ phasor tx cancel order-4711 --reason "customer called"`,
    )
    .action(
      cli.action<OperatorChoices>(({ options, args: [id = ''] }) =>
        operate(cli, { id, action: 'cancel', fields: {}, ...options }),
      ),
    );
}

function addKill(tx: Command, cli: Cli): void {
  const description = 'end a transaction where it stands: nothing is undone, nothing more is sent';
  operatorCommand(tx, { name: 'kill', description })
    .addHelpText(
      'after',
      `
For what nothing else can end: what its participants have done stays done, and is no longer looked after. A cancel
undoes; this does not.

Example:
  $ phasor tx kill order-4711 --reason "settled by hand, ticket 812"`,
    )
    .action(
      cli.action<OperatorChoices>(({ options, args: [id = ''] }) =>
        operate(cli, { id, action: 'kill', fields: {}, ...options }),
      ),
    );
}

interface SignalChoices extends OperatorChoices {
  readonly name: string;
}

const VERDICTS = ['approve', 'reject'];

function addSignal(tx: Command, cli: Cli): void {
  operatorCommand(tx, { name: 'signal', description: 'approve or reject what waits at a gate' })
    .addArgument(new Argument('<verdict>', 'what the person decided').choices(VERDICTS))
    .option('--name <signal>', 'the signal that its plan names', signalName, 'approval')
    .addHelpText(
      'after',
      `
The first signal of a name counts, also when it comes before the run has reached its gate.

Example:
  $ phasor tx signal order-4711 approve --reason "checked with the customer"`,
    )
    .action(
      cli.action<SignalChoices>(({ options, args: [id = '', verdict = ''] }) =>
        operate(cli, { id, action: 'signal', fields: { name: options.name, verdict }, ...options }),
      ),
    );
}

type Action = 'cancel' | 'kill' | 'signal';

interface Operation extends OperatorChoices {
  readonly id: string;
  readonly action: Action;
  /** Besides identity, person and reason. */
  readonly fields: object;
}

async function operate(cli: Cli, operation: Operation & Globals): Promise<void> {
  const { id, action } = operation;
  const stored = await cli.withWorld(operation, async (world) => {
    const stories = await storiesOf(world, cli, operation);
    return append(world, theOpenOne(stories, id), operation);
  });
  if (operation.json === true) await cli.out.json(stored);
  else await cli.out.line(`${action} of ${id} stored at ${stored.stream} ${stored.seq}`);
}

function theOpenOne(stories: readonly Story[], id: string): Story {
  const open = stories.filter((story) => story.open);
  const [only] = open;
  if (only === undefined) {
    const states = stories.map((story) => `${story.pattern}: ${stateOf(story)}`).join(', ');
    throw new PhasorError('TX_NOT_FOUND', `${id} is not open any more (${states})`, { tx: id });
  }
  if (open.length === 1) return only;
  const found = open.map(({ pattern }) => pattern).join(', ');
  throw new InvalidArgumentError(`${id} is open in ${found}: choose with --pattern.`);
}

interface Stored {
  readonly tx: string;
  readonly pattern: Pattern;
  readonly run: string;
  readonly stream: string;
  readonly seq: number;
}

async function append(
  world: World,
  { pattern, tx, run }: Story,
  { action, fields, reason, by = userInfo().username }: Operation,
): Promise<Stored> {
  const value = { v: ENVELOPE_VERSION, tx, run, by, reason, ...fields };
  const envelope = operatorSchemas[action].safeParse(value);
  if (!envelope.success) {
    const problems = schemaProblems(envelope.error, value).map(problemText);
    throw new InvalidArgumentError(`${problems.map((problem) => `--${problem}`).join('; ')}.`);
  }
  const { shards } = await world.log.state(streamOf(pattern));
  const subject = subjects.input(pattern, 'operator', action, shardOf(tx, shards));
  const { seq } = await world.log.append(subject, joinBody([encodeEnvelope(envelope.data)]));
  return { tx, pattern, run, stream: streamOf(pattern), seq };
}
