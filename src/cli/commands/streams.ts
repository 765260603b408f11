import { Option, type Command } from 'commander';

import {
  applyStreams,
  diffStreams,
  listStreams,
  type StreamOptions,
  type StreamStatus,
} from '../../nats/streams.ts';
import type { FieldDrift } from '../../nats/streams-drift.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { bytes, integer, participants, patterns } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { formatBytes, printable } from '../output.ts';

interface Choices {
  readonly replicas?: number;
  readonly storage?: 'file' | 'memory';
  readonly shards?: number;
  readonly maxBytes?: number;
  readonly pattern?: readonly Pattern[];
  readonly participant?: readonly string[];
}

export function addStreams(program: Command, cli: Cli): void {
  const streams = program.command('streams').description('make, compare and list the streams and buckets');
  addApply(streams, cli);
  addDiff(streams, cli);
  addList(streams, cli);
}

function withChoices(command: Command): Command {
  return command
    .option(
      '--replicas <n>',
      'copies of each stream, 1 to 5 (new streams: as the others have, else 1)',
      integer(1, 5),
    )
    .addOption(
      new Option('--storage <kind>', 'where new streams are kept (new streams: file)').choices([
        'file',
        'memory',
      ]),
    )
    .option('--shards <n>', "shards of each pattern's log; fixed once made (new: 4)", integer(1, 1_024))
    .option('--max-bytes <size>', 'limit of each pattern stream, as 2GiB (new streams: 1GiB)', bytes)
    .option('--pattern <name>', 'only this pattern, and what all share; may be repeated', patterns)
    .option('--participant <name>', 'its barrier bucket, too; may be repeated', participants);
}

function streamOptions(choices: Choices): StreamOptions {
  const { pattern, participant, replicas, storage, shards, maxBytes } = choices;
  return {
    ...(replicas === undefined ? {} : { replicas }),
    ...(storage === undefined ? {} : { storage }),
    ...(shards === undefined ? {} : { shards }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(pattern === undefined ? {} : { patterns: pattern }),
    ...(participant === undefined ? {} : { participants: participant }),
  };
}

function addApply(streams: Command, cli: Cli): void {
  withChoices(streams.command('apply'))
    .description('make what is missing, update what is safe to change')
    .addHelpText(
      'after',
      `
Applying twice is the same as applying once. A change that would lose data or break open transactions is refused
as a whole, before anything is changed. Options left out leave existing streams as they are.

Examples:
  $ phasor streams apply
  $ phasor streams apply --replicas 3 --max-bytes 50GiB
  $ phasor streams apply --pattern saga --participant payment --participant stock`,
    )
    .action(
      cli.action<Choices>(async ({ options }) => {
        const changes = await cli.withConnection(options, ({ nc }) =>
          applyStreams(nc, streamOptions(options)),
        );
        if (options.json === true) {
          await cli.out.json({ streams: changes });
          return;
        }
        const rows = changes.map(({ stream, action, changes: fields }) => [
          stream,
          action,
          fields.map(changeText).join('; '),
        ]);
        await cli.out.table(['STREAM', 'ACTION', 'CHANGED'], rows);
      }),
    );
}

function addDiff(streams: Command, cli: Cli): void {
  withChoices(streams.command('diff'))
    .description('show where streams differ from what apply would make')
    .addHelpText(
      'after',
      `
Changes nothing. Exit code 0: no difference; 1: streams are missing or differ.

Example:
  $ phasor streams diff --replicas 3`,
    )
    .action(
      cli.action<Choices>(async ({ options }) => {
        const diffs = await cli.withConnection(options, ({ nc }) => diffStreams(nc, streamOptions(options)));
        if (options.json === true) {
          await cli.out.json({ streams: diffs });
        } else {
          const rows = diffs.flatMap(({ stream, state, drift }) =>
            drift.length === 0
              ? [[stream, state]]
              : drift.map((each) => [
                  ...[stream, each.verdict === 'refuse' ? 'refused' : 'update', each.field],
                  ...[printable(each.have), printable(each.want), each.why ?? ''],
                ]),
          );
          await cli.out.table(['STREAM', 'STATE', 'FIELD', 'IS', 'WANTED', 'WHY REFUSED'], rows);
        }
        return diffs.every(({ state }) => state === 'same') ? 0 : 1;
      }),
    );
}

function changeText({ field, have, want }: FieldDrift): string {
  return printable(`${field}: ${have} -> ${want}`);
}

interface ListChoices {
  readonly pattern?: readonly Pattern[];
  readonly contract?: boolean;
}

function addList(streams: Command, cli: Cli): void {
  streams
    .command('list')
    .description('every stream and bucket, how full it is, and its contract')
    .option('--pattern <name>', 'only this pattern, and what all share; may be repeated', patterns)
    .option('--contract', 'who writes, who reads, how long it is kept, and why')
    .addHelpText(
      'after',
      '\nExamples:\n  $ phasor streams list\n  $ phasor streams list --contract --pattern saga',
    )
    .action(
      cli.action<ListChoices>(async ({ options }) => {
        const { pattern } = options;
        const listed = await cli.withConnection(options, ({ nc }) =>
          listStreams(nc, pattern === undefined ? {} : { patterns: pattern }),
        );
        if (options.json === true) {
          await cli.out.json({ streams: listed.map(listedJson) });
        } else if (options.contract === true) {
          await printContracts(cli, listed);
        } else {
          const header = [
            'STREAM',
            'MESSAGES',
            'SIZE',
            'LIMIT',
            'SHARDS',
            'REPLICAS',
            'STORAGE',
            'CONSUMERS',
          ];
          await cli.out.table(header, listed.map(listedRow));
        }
      }),
    );
}

const listedJson = ({ spec, found }: StreamStatus): object => ({
  stream: spec.name,
  kind: spec.kind,
  ...(spec.pattern === undefined ? {} : { pattern: spec.pattern }),
  ...(spec.bucket === undefined ? {} : { bucket: spec.bucket }),
  subjects: spec.subjects,
  exists: found !== undefined,
  ...found,
  contract: spec.contract,
});

function listedRow({ spec, found }: StreamStatus): readonly string[] {
  if (found === undefined) return [spec.name, '(missing)'];
  const { messages, bytes: size, maxBytes, shards, replicas, storage, consumers } = found;
  return [
    ...[spec.name, String(messages), formatBytes(size), formatBytes(maxBytes), String(shards ?? '-')],
    ...[String(replicas), storage, String(consumers)],
  ];
}

async function printContracts(cli: Cli, listed: readonly StreamStatus[]): Promise<void> {
  for (const { spec, found } of listed) {
    await cli.out.line(`${spec.name}${found === undefined ? ' (missing)' : ''}: ${spec.description}`);
    await cli.out.line(`  subjects   ${spec.subjects.join(' ')}`);
    for (const [name, text] of Object.entries(spec.contract)) {
      await cli.out.line(`  ${name.padEnd(9)}  ${String(text)}`);
    }
  }
}
