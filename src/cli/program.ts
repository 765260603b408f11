import { Command } from 'commander';

import { packageVersion } from '../service/version.ts';
import type { Cli } from './cli.ts';
import { addAudit } from './commands/audit.ts';
import { addCoordinator } from './commands/coordinator.ts';
import { addDev } from './commands/dev.ts';
import { addRun } from './commands/run.ts';
import { addSchemas } from './commands/schemas.ts';
import { addSimulate } from './commands/simulate.ts';
import { addStreams } from './commands/streams.ts';
import { addTx } from './commands/tx.ts';
import { addGlobals } from './globals.ts';

export function buildProgram(cli: Cli): Command {
  const program = new Command('phasor')
    .description(
      'Distributed transactions over NATS JetStream: the log decides, the streams keep every step.',
    )
    .version(packageVersion(), '-V, --version')
    .exitOverride()
    .showSuggestionAfterError()
    .showHelpAfterError('(phasor --help, or phasor <command> --help, shows how)');
  addGlobals(program);
  addDev(program, cli);
  addStreams(program, cli);
  addCoordinator(program, cli);
  addRun(program, cli);
  addTx(program, cli);
  addAudit(program, cli);
  addSchemas(program, cli);
  addSimulate(program, cli);
  program.addHelpText('after', GUIDE);
  return program;
}

const GUIDE = `
First steps:
  $ phasor dev                                  a server and a coordinator for this terminal
  $ export NATS_URL=nats://127.0.0.1:<port>     what it printed, in another terminal
  $ phasor run plans.ndjson                     begin transactions, print their outcomes
  $ phasor tx list                              what there is, and what waits for whom
  $ phasor tx show <id>                         one transaction's story, step by step

In production:
  $ phasor streams apply --replicas 3 --max-bytes 50GiB
  $ phasor coordinator                          as many as you like; one is enough

Exit codes: 0 done; 1 difference found (streams diff, audit, simulate); 64 usage; 65 bad input; 66 no such transaction;
69 no server; 70 a bug; 73 cannot make or change a stream; 74 the log says otherwise; 75 try again;
78 bad configuration; 130 Ctrl-C.`;
