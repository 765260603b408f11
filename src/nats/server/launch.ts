import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { appendFileSync, closeSync, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

import type { GuardTarget } from './guardian.ts';

const run = promisify(execFile);

/** One run of a server, from its start to its end. */
export interface ServerRun {
  /** The server's process; undefined in a container. */
  readonly pid: number | undefined;
  readonly guardTarget: GuardTarget | undefined;
  /** Resolves with a description of how it ended; never rejects. */
  readonly ended: Promise<string>;
  readonly hasEnded: () => boolean;
  signal(signal: NodeJS.Signals): Promise<void>;
}

export interface LaunchFiles {
  readonly dir: string;
  readonly configFile: string;
  readonly storeDir: string;
  readonly logFile: string;
  readonly onLog: ((line: string) => void) | undefined;
}

export type Launcher = (files: LaunchFiles) => ServerRun;

/** Runs an executable on this machine, in a process group of its own. */
export function processLauncher(binary: string): Launcher {
  return (files) => {
    const child = spawnLogged([binary, '-c', files.configFile], files);
    return {
      ...watchEnd(child),
      pid: child.pid,
      guardTarget: child.pid === undefined ? undefined : { pid: child.pid },
      signal: (signal) => {
        child.kill(signal);
        return Promise.resolve();
      },
    };
  };
}

export interface DockerTarget {
  readonly image: string;
  /** Undefined: the container shares the host's network. */
  readonly publish: readonly number[] | undefined;
}

/** Runs an image of nats-server; configuration and store are mounted at the paths they have here. */
export function dockerLauncher(target: DockerTarget): Launcher {
  return (files) => {
    const container = `phasor-nats-${randomBytes(6).toString('hex')}`;
    const args = ['docker', 'run', '--rm', '--name', container, '--pull', 'missing'];
    // Else the store would belong to root, and removing it would fail.
    if (process.getuid && process.getgid) args.push('--user', `${process.getuid()}:${process.getgid()}`);
    for (const dir of new Set([files.dir, files.storeDir])) args.push('--volume', `${dir}:${dir}`);
    if (target.publish === undefined) args.push('--network', 'host');
    for (const port of target.publish ?? []) args.push('--publish', `127.0.0.1:${port}:${port}`);
    const child = spawnLogged([...args, target.image, '-c', files.configFile], files);
    return {
      ...watchEnd(child),
      pid: undefined,
      guardTarget: { container },
      signal: async (signal) => {
        await run('docker', ['kill', '--signal', signal, container]);
      },
    };
  };
}

/** Whether the daemon has a bridge network to publish ports from; without one only the host's network is left. */
export async function hasBridgeNetwork(env: NodeJS.ProcessEnv): Promise<boolean> {
  try {
    const { stdout } = await run('docker', ['network', 'ls', '--filter', 'driver=bridge', '--quiet'], {
      env,
    });
    return stdout.trim() !== '';
  } catch {
    return false;
  }
}

function spawnLogged(command: readonly string[], files: LaunchFiles): ChildProcess {
  const [file = '', ...args] = command;
  const { onLog, logFile } = files;
  if (onLog === undefined) {
    // Written by the server itself: a stalled parent cannot stall it.
    const log = openSync(logFile, 'a');
    const child = spawn(file, args, { cwd: files.dir, detached: true, stdio: ['ignore', log, log] });
    closeSync(log);
    child.unref();
    return child;
  }
  const child = spawn(file, args, { cwd: files.dir, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  child.unref();
  for (const stream of [child.stdout, child.stderr]) {
    if (stream instanceof Socket) stream.unref();
    createInterface({ input: stream }).on('line', (line) => {
      appendFileSync(logFile, `${line}\n`);
      onLog(line);
    });
  }
  return child;
}

function watchEnd(child: ChildProcess): Pick<ServerRun, 'ended' | 'hasEnded'> {
  let hasEnded = false;
  const ended = new Promise<string>((resolve) => {
    const end = (how: string): void => {
      hasEnded = true;
      resolve(how);
    };
    child.once('error', (error) => end(error.message));
    child.once('exit', (code, signal) => end(signal === null ? `exit code ${code}` : `signal ${signal}`));
  });
  return { ended, hasEnded: () => hasEnded };
}

/** The last lines of a log file; empty when there is none. */
export function tailOf(file: string, lines: number): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}
