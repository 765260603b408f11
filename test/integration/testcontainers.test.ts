// Goal: where a Docker daemon answers, both ways to run nats-server in a container really store messages.
// Method: no registry is needed; the image is built from the executable that this machine resolves.
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { type NatsServerHandle, startNatsServer } from '../../src/nats/server/index.ts';
import { startManaged } from '../../src/nats/server/managed.ts';
import { eventually } from '../kit/eventually.ts';
import { testNats } from '../kit/nats.ts';

const reason = whyNot();

const IMAGE = `phasor-test-nats:${process.pid}`;

/** Undefined when a daemon answers that can run an image made of this machine's executables. */
function whyNot(): string | undefined {
  if (process.platform !== 'linux') return `an image cannot be made of a ${process.platform} executable`;
  const answer = spawnSync('docker', ['info', '--format', '{{.ServerVersion}}'], {
    timeout: 10_000,
    encoding: 'utf8',
  });
  if (answer.error !== undefined) return `docker: ${answer.error.message}`;
  if (answer.status === 0) return undefined;
  return `docker info: ${answer.stderr.trim().split('\n').at(-1) ?? 'failed'}`;
}

/** Executables that are not static bring their C library and loader along. */
function librariesOf(binary: string): string[] {
  const { stdout } = spawnSync('ldd', [binary], { encoding: 'utf8' });
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].flatMap((match) => match[1] ?? []);
}

function buildImage(binary: string): void {
  const context = mkdtempSync(join(tmpdir(), 'phasor-image-'));
  try {
    const root = join(context, 'root');
    mkdirSync(root);
    copyFileSync(realpathSync(binary), join(root, 'nats-server'));
    for (const library of librariesOf(binary)) {
      mkdirSync(join(root, dirname(library)), { recursive: true });
      copyFileSync(realpathSync(library), join(root, library));
    }
    const lines = ['FROM scratch', 'COPY root /', 'ENTRYPOINT ["/nats-server"]', ''];
    writeFileSync(join(context, 'Dockerfile'), lines.join('\n'));
    execFileSync('docker', ['build', '--quiet', '--tag', IMAGE, context], { stdio: 'pipe', timeout: 60_000 });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
}

async function readBack(server: NatsServerHandle): Promise<string | undefined> {
  const nc = await connect({ servers: server.url, reconnect: false });
  try {
    const manager = await jetstreamManager(nc);
    return (await manager.streams.getMessage('BOX', { last_by_subj: 'box' }))?.string();
  } finally {
    await nc.close();
  }
}

async function store(server: NatsServerHandle, text: string): Promise<void> {
  const nc = await connect({ servers: server.url, reconnect: false });
  try {
    await (await jetstreamManager(nc)).streams.add({ name: 'BOX', subjects: ['box'] });
    await jetstream(nc).publish('box', text);
  } finally {
    await nc.close();
  }
}

function containers(filter: string): string[] {
  const out = execFileSync('docker', ['ps', '--all', '--filter', filter, '--format', '{{.ID}}'], {
    encoding: 'utf8',
  });
  return out.split('\n').filter((line) => line !== '');
}

describe('nats-server in a container', () => {
  beforeAll(async () => {
    if (reason !== undefined) return;
    const server = await startNatsServer({ env: { ...process.env, NATS_URL: '' } });
    const { binary } = server;
    await server.stop();
    buildImage(binary);
    vi.stubEnv('PHASOR_TEST_NATS', 'testcontainers');
    vi.stubEnv('PHASOR_TEST_NATS_IMAGE', IMAGE);
    // The image of the reaper would have to be pulled.
    vi.stubEnv('TESTCONTAINERS_RYUK_DISABLED', 'true');
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    if (reason === undefined) spawnSync('docker', ['image', 'rm', '--force', IMAGE]);
  });

  it('testcontainers: stores, survives kill -9 and restart on the same port, goes away', async ({ skip }) => {
    skip(reason !== undefined, reason);
    const server = await testNats({ syncInterval: 'always' });
    try {
      expect(server).toMatchObject({ origin: 'docker', binary: IMAGE, managed: true });
      expect(containers(`ancestor=${IMAGE}`)).toHaveLength(1);
      await store(server, 'through testcontainers');
      expect(await readBack(server)).toBe('through testcontainers');
      const { url } = server;
      await server.kill();
      expect(server.running).toBe(false);
      await expect(connect({ servers: url, reconnect: false })).rejects.toThrow();
      await server.restart();
      expect(server.url).toBe(url);
      expect(await readBack(server)).toBe('through testcontainers');
    } finally {
      await server.stop();
    }
    expect(containers(`ancestor=${IMAGE}`)).toEqual([]);
  });

  it('docker run, the last resort of startNatsServer: likewise', async ({ skip }) => {
    skip(reason !== undefined, reason);
    const server = await startManaged({ origin: 'docker', image: IMAGE }, {});
    try {
      expect(server).toMatchObject({ origin: 'docker', binary: IMAGE, pid: undefined });
      await store(server, 'through docker run');
      await server.kill();
      await server.restart();
      expect(await readBack(server)).toBe('through docker run');
      await server.suspend();
      await server.resume();
    } finally {
      await server.stop();
    }
    await eventually(() => containers(`ancestor=${IMAGE}`).length === 0, {
      what: 'the removal of the container',
    });
  });
});
