import { Option, type Command } from 'commander';

import { startDev, type DevService } from '../../service/dev.ts';
import { integer } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { natsOptions } from '../globals.ts';
import { aborted } from '../interruption.ts';

interface Choices {
  readonly port?: number;
  readonly store?: string;
  readonly sync?: 'always';
}

export function addDev(program: Command, cli: Cli): void {
  program
    .command('dev')
    .description('a nats-server, the streams and a coordinator for this terminal')
    .option('--port <n>', 'port of the server on 127.0.0.1 (default: a free one)', integer(1, 65_535))
    .option('--store <dir>', 'keep the data there (default: a temporary directory, removed at the end)')
    .addOption(
      new Option('--sync <when>', 'fsync after every message (default: every 2 minutes)').choices(['always']),
    )
    .addHelpText(
      'after',
      `
Starts a nats-server unless NATS_URL or --server names one: then it uses that and leaves it running. Ctrl-C ends
everything it started.

Examples:
  $ phasor dev
  $ phasor dev --port 4300 --store ./phasor-data`,
    )
    .action(
      cli.action<Choices>(async ({ options }) => {
        const logger = cli.logger(options, 'info');
        const { url: _, ...nats } = await natsOptions(options, logger);
        const { server, port, store, sync } = options;
        const dev = await startDev({
          nats,
          ...(server === undefined ? {} : { url: server }),
          ...(port === undefined ? {} : { port }),
          ...(store === undefined ? {} : { storeDir: store }),
          ...(sync === undefined ? {} : { syncInterval: sync }),
        });
        const stopped = aborted(cli.signal);
        try {
          await Promise.race([dev.coordinator.ready, dev.failed, stopped]);
          if (!cli.signal.aborted) {
            if (options.json === true) await cli.out.json(readyJson(dev));
            else for (const line of readyLines(dev, store !== undefined)) await cli.out.line(line);
          }
          await Promise.race([dev.failed, stopped]);
        } finally {
          await dev.close();
        }
        cli.endedAsAsked();
      }),
    );
}

const readyJson = ({ server, coordinator }: DevService): object => ({
  ready: true,
  url: server.url,
  version: server.version,
  managed: server.managed,
  ...(server.storeDir === undefined ? {} : { storeDir: server.storeDir }),
  patterns: coordinator.patterns,
});

function readyLines({ server, coordinator }: DevService, kept: boolean): readonly string[] {
  const what = server.managed
    ? `nats-server ${server.version}; data in ${server.storeDir ?? '?'}, ${kept ? 'kept' : 'removed at the end'}`
    : 'not started by this command; it stays when this ends';
  return [
    'phasor dev is ready',
    '',
    `  server       ${server.url}`,
    `               (${what})`,
    `  coordinator  ${coordinator.patterns.join(', ')}`,
    '',
    'In another terminal:',
    `  export NATS_URL=${server.url}`,
    '  phasor streams list',
    '  phasor run plans.ndjson',
    '',
    'Ctrl-C ends it.',
  ];
}
