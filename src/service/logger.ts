import { isatty } from 'node:tty';

import { destination, pino, type Logger as PinoLogger } from 'pino';
import pretty from 'pino-pretty';

const STDERR = 2;

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Default: `human` when stderr is a terminal, else `json`. */
  readonly format?: 'human' | 'json';
}

/** Logs to stderr, never to stdout; written before the call returns, so that a crash loses none. */
export function createLogger({ level, format }: LoggerOptions): PinoLogger {
  const options = { level, base: { pid: process.pid } };
  if ((format ?? (isatty(STDERR) ? 'human' : 'json')) === 'json') {
    return pino(options, destination({ dest: STDERR, sync: true }));
  }
  const lines = pretty({
    destination: STDERR,
    sync: true,
    colorize: isatty(STDERR) && process.env['NO_COLOR'] === undefined,
    ignore: 'pid',
    translateTime: 'SYS:HH:MM:ss.l',
  });
  return pino(options, lines);
}
