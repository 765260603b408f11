import type { Command } from 'commander';

import type { Pattern } from '../../kernel/vocabulary.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import { patterns, since, txId } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { printable } from '../output.ts';
import { replayAll } from '../replay.ts';
import { storyJson, storyLines } from '../story.ts';

interface Choices {
  readonly tx?: string;
  readonly pattern?: readonly Pattern[];
  readonly since?: number;
}

export function addAudit(program: Command, cli: Cli): void {
  const audit = program.command('audit').description('rebuild what happened from the streams alone');
  audit
    .command('replay')
    .description('fold the logs again and tell every story, in order of ends')
    .option('--tx <id>', 'only this transaction', txId)
    .option('--pattern <name>', 'only this pattern; may be repeated', patterns)
    .option('--since <age|time>', 'only what began since, as 24h or 2026-01-31T08:00:00Z', since)
    .addHelpText(
      'after',
      `
Asks no coordinator and publishes nothing. Reports every written decision that the replay contradicts, and every
envelope no machine could read. With --json one line per run and problem, and one summary at the end. Exit code 0:
the logs agree with what was written; 1: contradictions were found; 66: --tx names none.

Examples:
  $ phasor audit replay --since 24h
  $ phasor audit replay --tx 01JD3Y8Q4RZ6M2N7T5V9XKBWCE --json`,
    )
    .action(cli.action<Choices>((call) => replay(cli, call.options)));
}

async function replay(cli: Cli, options: Choices & { readonly json?: boolean }): Promise<number> {
  const { tx, pattern, json = false } = options;
  const counts = { runs: 0, open: 0, attention: 0, contradictions: 0, unreadable: 0 };
  // Lines leave in order; the replay itself does not wait for them.
  let written = Promise.resolve();
  const write = (lines: readonly string[]): void => {
    for (const line of lines) written = written.then(() => cli.out.line(line));
  };
  await cli.withWorld(options, (world) =>
    replayAll(world, {
      patterns: pattern,
      tx,
      sinceMs: options.since,
      signal: cli.signal,
      onStory: (story) => {
        counts.runs += 1;
        if (story.open) counts.open += 1;
        if (story.view.attention.length > 0) counts.attention += 1;
        counts.contradictions += story.contradictions.length;
        write(json ? [JSON.stringify({ type: 'run', ...storyJson(story) })] : [...storyLines(story), '']);
      },
      onProblem: (problem) => {
        if (tx !== undefined) return;
        counts.unreadable += 1;
        const { position, subject, problem: text } = problem;
        if (json) write([JSON.stringify({ type: 'problem', ...problem })]);
        else write([printable(`unreadable: ${subject} at ${position}: ${text}`), '']);
      },
    }),
  );
  await written;
  if (tx !== undefined && counts.runs === 0) {
    throw new PhasorError('TX_NOT_FOUND', `no transaction ${tx} in the logs`, { tx });
  }
  const { runs, open, attention, contradictions, unreadable } = counts;
  await cli.out.line(
    json
      ? JSON.stringify({ type: 'summary', ...counts })
      : `${runs} runs, ${open} open, ${attention} with attention; ` +
          `${contradictions} contradictions, ${unreadable} unreadable envelopes`,
  );
  return contradictions > 0 ? 1 : 0;
}
