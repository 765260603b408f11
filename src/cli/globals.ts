import { readFile } from 'node:fs/promises';

import { Option, type Command } from 'commander';

import { PhasorError } from '../errors/phasor-error.ts';
import type { NatsOptions } from '../nats/connection.ts';
import type { Logger } from '../ports/telemetry.ts';
import { LOG_LEVELS, type LogLevel } from '../service/logger.ts';

export const DEFAULT_SERVER = 'nats://127.0.0.1:4222';

/** Options of every command. */
export interface Globals {
  readonly server?: string;
  readonly creds?: string;
  readonly nkey?: string;
  readonly user?: string;
  readonly passwordFile?: string;
  readonly logLevel?: LogLevel;
  readonly json?: boolean;
}

export function addGlobals(program: Command): void {
  program
    .option(
      '-s, --server <url>',
      `NATS server; several separated by commas (env NATS_URL; ${DEFAULT_SERVER})`,
    )
    .option('--creds <file>', 'credentials file (JWT and nkey)')
    .option('--nkey <file>', 'file with an nkey seed')
    .option('--user <name>', 'user name, with --password-file')
    .option('--password-file <file>', 'file with the password: secrets never stand in arguments')
    .addOption(new Option('--log-level <level>', 'least level of logs on stderr').choices(LOG_LEVELS))
    .option('--json', 'results on stdout as JSON, for programs');
}

/** @throws {PhasorError} `CONFIG_INVALID`: options that contradict each other, or a file that cannot be read. */
export async function natsOptions(globals: Globals, logger: Logger): Promise<NatsOptions> {
  const { server, creds, nkey, user, passwordFile } = globals;
  if (server?.includes('@') === true) {
    throw invalid(
      'server',
      'credentials in arguments can be read by anyone: use NATS_URL or --password-file',
    );
  }
  const ways = [creds, nkey, user].filter((way) => way !== undefined);
  if (ways.length > 1) throw invalid('creds', 'give only one of --creds, --nkey and --user');
  if ((user === undefined) !== (passwordFile === undefined)) {
    throw invalid('user', '--user and --password-file go together');
  }
  return {
    url: serverUrl(globals),
    logger,
    ...(creds === undefined ? {} : { credsFile: creds }),
    ...(nkey === undefined ? {} : { nkeyFile: nkey }),
    ...(user === undefined || passwordFile === undefined
      ? {}
      : { user, password: await readPassword(passwordFile) }),
  };
}

export function serverUrl(globals: Globals): string {
  const fromEnvironment = process.env['NATS_URL'];
  return globals.server ?? (fromEnvironment === '' ? undefined : fromEnvironment) ?? DEFAULT_SERVER;
}

async function readPassword(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new PhasorError('CONFIG_INVALID', `cannot read ${file}`, { option: 'password-file' }, { cause });
  }
  const password = text.replace(/\r?\n$/, '');
  if (password === '') throw invalid('password-file', `${file} is empty`);
  return password;
}

function invalid(option: string, what: string): PhasorError {
  return new PhasorError('CONFIG_INVALID', what, { option });
}
