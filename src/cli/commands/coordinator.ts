import { Option, type Command } from 'commander';

import type { Pattern } from '../../kernel/vocabulary.ts';
import type { ExpiryStrategy } from '../../reliability/adaptive-expiry.ts';
import { startCoordinatorService } from '../../service/coordinator.ts';
import { patterns } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { natsOptions } from '../globals.ts';
import { aborted } from '../interruption.ts';

interface Choices {
  readonly pattern?: readonly Pattern[];
  readonly expiry: ExpiryStrategy;
}

export function addCoordinator(program: Command, cli: Cli): void {
  program
    .command('coordinator')
    .description('drive transactions until stopped')
    .option('--pattern <name>', 'only this pattern; may be repeated (default: all it knows)', patterns)
    .addOption(
      new Option('--expiry <strategy>', 'when deadlines with an upper bound pass')
        .choices(['fixed', 'adaptive'])
        .default('fixed'),
    )
    .addHelpText(
      'after',
      `
Keeps no state of its own: kill it at any moment and start it again, here or elsewhere. Prints one line on stdout
once it has read the logs to their heads. SIGTERM and Ctrl-C end it cleanly.

Examples:
  $ phasor coordinator --server nats://nats-1:4222,nats://nats-2:4222 --creds coordinator.creds
  $ phasor coordinator --pattern saga --log-level debug`,
    )
    .action(
      cli.action<Choices>(async ({ options }) => {
        const logger = cli.logger(options, 'info');
        const nats = await natsOptions(options, logger);
        const { pattern } = options;
        const service = await startCoordinatorService({
          nats,
          ...(pattern === undefined ? {} : { patterns: pattern }),
          expiry: options.expiry,
        });
        const stopped = aborted(cli.signal);
        try {
          await Promise.race([service.ready, service.failed, stopped]);
          if (!cli.signal.aborted) {
            const ready = { ready: true, patterns: service.patterns };
            logger.info({ patterns: service.patterns }, 'coordinator ready');
            if (options.json === true) await cli.out.json(ready);
            else await cli.out.line(`coordinator ready: ${service.patterns.join(', ')}`);
          }
          await Promise.race([service.failed, stopped]);
          logger.info({ reason: cli.interruption.reason }, 'coordinator stops');
        } finally {
          await service.close();
        }
        cli.endedAsAsked();
      }),
    );
}
