// Goal: an embedded nats-server dies with its parent, however that ends, and not before it.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { startNatsServer } from '../../src/nats/server/index.ts';
import { eventually } from '../kit/eventually.ts';
import { type NodeProcess, spawnNode } from '../kit/exec.ts';

const BUILT = new URL('../../dist/src/nats/server/index.js', import.meta.url);

/** Starts a server, prints what the test needs, then does what its argument says. */
const PARENT = `
import { connect } from 'node:net';
import { startNatsServer } from ${JSON.stringify(BUILT.href)};

const server = await startNatsServer({ onNotice: () => undefined });
console.log('ready ' + JSON.stringify({ pid: server.pid, storeDir: server.storeDir }));

const endings = {
  drain: () => undefined,
  exit: () => process.exit(3),
  throw: () => setImmediate(() => { throw new Error('uncaught on purpose'); }),
  wait: () => setInterval(() => undefined, 1_000),
  graceful: () => {
    const waiting = setInterval(() => undefined, 1_000);
    process.once('SIGINT', () => {
      clearInterval(waiting);
      // Long after the signal has reached the whole process group, the server must still answer.
      setTimeout(() => {
        const socket = connect(server.port, '127.0.0.1');
        socket.on('error', (error) => console.log('lost ' + error.message));
        socket.once('data', async (greeting) => {
          console.log('answered ' + String(greeting).slice(0, 4));
          socket.destroy();
          await server.stop();
        });
      }, 200);
    });
    console.log('armed');
  },
};
endings[process.argv[2]]();
`;

interface Started {
  readonly pid: number;
  readonly storeDir: string;
}

let dir: string;
let script: string;
let binary: string;
beforeAll(async () => {
  if (!existsSync(fileURLToPath(BUILT))) throw new Error('dist is missing: npm run build');
  dir = mkdtempSync(join(tmpdir(), 'phasor-test-'));
  script = join(dir, 'parent.mjs');
  writeFileSync(script, PARENT);
  const server = await startNatsServer({ env: { ...process.env, NATS_URL: '' } });
  binary = server.binary;
  await server.stop();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function parent(ending: string, env: NodeJS.ProcessEnv = {}): Promise<[NodeProcess, Started]> {
  const child = spawnNode(script, [ending], {
    env: { NATS_URL: undefined, PHASOR_NATS_SERVER: binary, ...env },
  });
  const line = await child.waitForLine('ready ', 30_000);
  const started = JSON.parse(line.slice('ready '.length)) as Started;
  return [child, started];
}

/** A zombie is dead; whether somebody collects it is not the server's business. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const stat = `/proc/${pid}/stat`;
  return !existsSync(stat) || !readFileSync(stat, 'utf8').includes(') Z ');
}

async function nothingIsLeft({ pid, storeDir }: Started): Promise<void> {
  await eventually(() => !isRunning(pid), { what: `the end of nats-server ${pid}` });
  await eventually(() => !existsSync(join(storeDir, '..')), { what: `the removal of ${storeDir}` });
}

describe('without stop()', () => {
  it('a parent that has nothing left to do ends, and its server with it', async () => {
    const [child, started] = await parent('drain');
    expect(await child.waitForExit()).toEqual({ code: 0, signal: null });
    await nothingIsLeft(started);
  });

  it('process.exit()', async () => {
    const [child, started] = await parent('exit');
    expect(await child.waitForExit()).toEqual({ code: 3, signal: null });
    await nothingIsLeft(started);
  });

  it('an uncaught exception', async () => {
    const [child, started] = await parent('throw');
    expect(await child.waitForExit()).toEqual({ code: 1, signal: null });
    expect(child.result().stderr).toContain('uncaught on purpose');
    await nothingIsLeft(started);
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const)(
    '%s, whose effect is not changed',
    async (signal) => {
      const [child, started] = await parent('wait');
      expect(isRunning(started.pid)).toBe(true);
      child.kill(signal);
      expect(await child.waitForExit()).toEqual({ code: null, signal });
      await nothingIsLeft(started);
    },
  );

  it('SIGKILL, where there is no sh to watch', async () => {
    const [child, started] = await parent('wait', { PATH: join(dir, 'empty') });
    child.kill('SIGKILL');
    await child.waitForExit();
    await nothingIsLeft(started);
  });
});

describe('Ctrl-C', () => {
  it('reaches the program alone, which can still use its server', async () => {
    const [child, started] = await parent('graceful');
    await child.waitForLine('armed');
    // What a terminal does: the signal goes to the whole foreground process group.
    process.kill(-child.pid, 'SIGINT');
    expect(await child.waitForExit()).toEqual({ code: 0, signal: null });
    expect(child.lines()).toContain('answered INFO');
    await nothingIsLeft(started);
  });
});

describe('a directory left by a dead parent', () => {
  it('is removed by the next start, unless its owner may live', async () => {
    const own = join(dir, 'tmp');
    const scope = `${hostname()} ${process.platform === 'linux' ? readlinkSync('/proc/self/ns/pid') : ''}`;
    const gone = spawnNode('-e', ['0']);
    const deadPid = gone.pid;
    await gone.waitForExit();
    const owners = {
      dead: { pid: deadPid, scope },
      alive: { pid: process.pid, scope },
      elsewhere: { pid: deadPid, scope: 'another machine' },
    };
    for (const [name, owner] of Object.entries(owners)) {
      mkdirSync(join(own, `phasor-nats-${name}`), { recursive: true });
      writeFileSync(join(own, `phasor-nats-${name}`, 'owner.json'), JSON.stringify(owner));
    }
    // Not killed with its owner: only its command line, which names the directory, tells that it belongs to it.
    const orphan = spawnNode('-e', ['setInterval(() => {}, 1000)', join(own, 'phasor-nats-dead')]);
    const bystander = spawnNode('-e', ['setInterval(() => {}, 1000)']);
    writeFileSync(join(own, 'phasor-nats-dead', 'target'), `p ${orphan.pid}`);
    mkdirSync(join(own, 'phasor-nats-reused'));
    writeFileSync(join(own, 'phasor-nats-reused', 'owner.json'), JSON.stringify(owners.dead));
    writeFileSync(join(own, 'phasor-nats-reused', 'target'), `p ${bystander.pid}`);

    const [child, started] = await parent('exit', { TMPDIR: own });
    await child.waitForExit();
    expect(await orphan.waitForExit()).toEqual({ code: null, signal: 'SIGKILL' });
    expect(bystander.exit).toBeUndefined();
    expect(existsSync(join(own, 'phasor-nats-reused'))).toBe(false);
    const left = Object.keys(owners).filter((name) => existsSync(join(own, `phasor-nats-${name}`)));
    expect(left).toEqual(['alive', 'elsewhere']);
    expect(started.storeDir.startsWith(own)).toBe(true);
  });
});
