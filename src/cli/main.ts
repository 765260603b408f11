#!/usr/bin/env node
import { setTimeout as delay } from 'node:timers/promises';

import { Cli } from './cli.ts';
import { reportFailure } from './failure.ts';
import { buildProgram } from './program.ts';

/** What a command may take to clean up after it was interrupted. */
const CLEAN_UP_MS = 15_000;

async function main(): Promise<number> {
  const cli = new Cli();
  process.on('uncaughtException', (error) => process.exit(reportFailure(error)));
  const work = buildProgram(cli)
    .parseAsync(process.argv)
    .then(() => cli.exitCode);
  const interrupted = new Promise<void>((resolve) => {
    cli.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  const cutOff = interrupted.then(() => delay(CLEAN_UP_MS)).then(() => cli.exitCode);
  try {
    return await Promise.race([work, cutOff]);
  } catch (error) {
    // What an interrupted command stumbles over is the interruption.
    return cli.signal.aborted ? cli.exitCode : reportFailure(error);
  }
}

const exitCode = await main();
// Whatever still holds the event loop must not keep a finished command alive.
process.stdout.write('', () => process.exit(exitCode));
