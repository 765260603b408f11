import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Servers must not outlive this process, however it ends. Two guards, and no signal handlers, so that nothing
 * stands between a signal and the program's own handling of it:
 *
 * 1. an `exit` hook, for every end that Node sees;
 * 2. a watchdog process, one `sh` per server, that holds the other end of a pipe: when this process is gone, also by
 *    an unhandled SIGINT or by SIGKILL, the pipe closes, and it kills the server and removes the directory.
 *
 * Both children lead process groups of their own: Ctrl-C reaches only the program, which may still need its server.
 */
export interface Guardian {
  /** The server's own temp directory. */
  readonly dir: string;
  /** Must be called with each new process, and with undefined once it is known to have ended. */
  watch(target: GuardTarget | undefined): void;
  /** Ends the watch and removes the directory. The server must have ended. */
  release(): void;
}

export type GuardTarget = { readonly pid: number } | { readonly container: string };

const PREFIX = 'phasor-nats-';
const TARGET_FILE = 'target';

/** Each line on stdin replaces the target: `p <pid>`, `c <container>`, `-`; `release` ends it without acting. */
const SH_WATCHDOG = `
kind=-; id=
while read -r a b; do
  [ "$a" = release ] && exit 0
  kind=$a; id=$b
done
[ "$kind" = p ] && kill -9 "$id"
[ "$kind" = c ] && docker rm -f "$id"
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
`;

/** The same for systems without sh. */
const NODE_WATCHDOG = `
const [dir] = process.argv.slice(1);
let kind = '-', id = '', text = '';
process.stdin.on('data', (chunk) => {
  text += chunk;
  const lines = text.split('\\n');
  text = lines.pop();
  for (const line of lines) {
    if (line === 'release') process.exit(0);
    [kind, id] = line.split(' ');
  }
});
process.stdin.on('end', () => {
  try {
    if (kind === 'p') process.kill(Number(id), 'SIGKILL');
    if (kind === 'c') require('node:child_process').spawnSync('docker', ['rm', '-f', id]);
  } catch {}
  require('node:fs').rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});
`;

class ProcessGuardian implements Guardian {
  readonly dir: string;
  private target: GuardTarget | undefined;
  private watchdog: ChildProcess | undefined;

  constructor() {
    sweepOnce();
    this.dir = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
    writeFileSync(join(this.dir, 'owner.json'), JSON.stringify(self()));
    guardians.add(this);
    if (!hooked) process.on('exit', endAll);
    hooked = true;
    this.startWatchdog(process.platform === 'win32' ? 'node' : 'sh');
  }

  watch(target: GuardTarget | undefined): void {
    this.target = target;
    this.tell(describe(target));
    if (target !== undefined) writeFileSync(join(this.dir, TARGET_FILE), describe(target));
  }

  release(): void {
    guardians.delete(this);
    this.target = undefined;
    this.tell('release');
    this.watchdog = undefined;
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  end(): void {
    if (this.target !== undefined) killNow(this.target);
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }

  private tell(line: string): void {
    this.watchdog?.stdin?.write(`${line}\n`);
  }

  private startWatchdog(kind: 'sh' | 'node'): void {
    const command = kind === 'sh' ? 'sh' : process.execPath;
    const args =
      kind === 'sh' ? ['-c', SH_WATCHDOG, 'phasor-watchdog', this.dir] : ['-e', NODE_WATCHDOG, this.dir];
    const child = spawn(command, args, {
      detached: true,
      cwd: tmpdir(),
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.watchdog = child;
    child.unref();
    if (child.stdin instanceof Socket) child.stdin.unref();
    // A dead watchdog only weakens the guard; the server itself is fine.
    child.stdin.on('error', () => undefined);
    child.on('error', () => {
      if (kind === 'node' || this.watchdog !== child) return;
      this.startWatchdog('node');
      this.tell(describe(this.target));
    });
  }
}

const guardians = new Set<ProcessGuardian>();
let hooked = false;

/** Makes a temp directory and guards what will run in it. */
export function createGuardian(): Guardian {
  return new ProcessGuardian();
}

function endAll(): void {
  for (const guardian of guardians) guardian.end();
}

function describe(target: GuardTarget | undefined): string {
  if (target === undefined) return '-';
  return 'pid' in target ? `p ${target.pid}` : `c ${target.container}`;
}

function killNow(target: GuardTarget): void {
  if ('container' in target) {
    spawnSync('docker', ['rm', '-f', target.container], { stdio: 'ignore', timeout: 5_000 });
    return;
  }
  try {
    process.kill(target.pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

interface Owner {
  readonly pid: number;
  /** Process ids mean something only here: /tmp may be shared between machines and containers. */
  readonly scope: string;
}

function self(): Owner {
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    // Not Linux: the host name alone must do.
  }
  return { pid: process.pid, scope: `${hostname()} ${namespace}` };
}

let swept = false;

/** Ends and removes what dead processes left behind when their watchdog was killed too, or the machine went down. */
function sweepOnce(): void {
  if (swept) return;
  swept = true;
  const { scope } = self();
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(PREFIX)) continue;
    const dir = join(tmpdir(), name);
    try {
      const owner = JSON.parse(readFileSync(join(dir, 'owner.json'), 'utf8')) as Owner;
      if (owner.scope !== scope || isAlive(owner.pid)) continue;
      killOrphan(dir);
      rmSync(dir, { recursive: true, force: true });
    } catch {
      // Not ours to read, or being removed by somebody else.
    }
  }
}

/** A process id may have been given to somebody else: only a process that names the directory is the orphan. */
function killOrphan(dir: string): void {
  try {
    const [kind, pid] = readFileSync(join(dir, TARGET_FILE), 'utf8').split(' ');
    if (kind === 'p' && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(dir))
      killNow({ pid: Number(pid) });
  } catch {
    // It has ended, or this is not Linux.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
