import { CommanderError, InvalidArgumentError } from 'commander';

import { PhasorError } from '../errors/phasor-error.ts';
import { printable } from './output.ts';

const EXIT_USAGE = 64;
const EXIT_SOFTWARE = 70;

/** Says on stderr what went wrong, without a stack if it is a known kind of failure; returns the exit code. */
export function reportFailure(error: unknown): number {
  if (error instanceof InvalidArgumentError) {
    // Of what was given but could be judged only in use: of options, commander has said it already.
    process.stderr.write(`error: ${printable(error.message)}\n`);
    return EXIT_USAGE;
  }
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (PhasorError.is(error)) {
    // What lies in several lines, as the tail of a server's log, stays readable; no line of it can pass for another.
    const lines = error.message.split('\n').map(printable);
    process.stderr.write(`phasor: ${lines.join('\n  ')}\n`);
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`phasor: unexpected failure, please report it: ${text}\n`);
  return EXIT_SOFTWARE;
}
