// Goal: which nats-server is used never surprises, and the cache it is installed into cannot be corrupted.
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { startNatsServer } from '../../src/nats/server/index.ts';
import { cacheRoot, ensureInstalled, type InstallTarget } from '../../src/nats/server/install.ts';
import { isSupported } from '../../src/nats/server/probe.ts';
import { resolveServer } from '../../src/nats/server/resolve.ts';

let dir: string;
let notices: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'phasor-test-'));
  notices = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const notice = (line: string): void => void notices.push(line);

/** A directory with an executable `nats-server` that knows nothing but its version. */
function fakeServer(name: string, version: string): { readonly dir: string; readonly file: string } {
  const home = join(dir, name);
  mkdirSync(home);
  const file = join(home, 'nats-server');
  writeFileSync(file, `#!/bin/sh\necho "nats-server: v${version}"\n`);
  chmodSync(file, 0o755);
  return { dir: home, file };
}

describe('order', () => {
  const none = {
    install: () => Promise.reject(new Error('registry unreachable')),
    dockerAnswers: () => Promise.resolve(false),
  };

  it('NATS_URL, then PHASOR_NATS_SERVER, then PATH, then npm, then Docker', async () => {
    const onPath = fakeServer('path', '2.12.0');
    const named = fakeServer('named', '2.14.0');
    const installed = fakeServer('installed', '2.14.0');
    const ways = {
      install: () => Promise.resolve(installed.file),
      dockerAnswers: () => Promise.resolve(true),
    };
    const env: NodeJS.ProcessEnv = {
      NATS_URL: 'nats://127.0.0.1:1',
      PHASOR_NATS_SERVER: named.file,
      PATH: onPath.dir,
    };
    expect(await resolveServer({ env, notice }, ways)).toEqual({ origin: 'url', url: 'nats://127.0.0.1:1' });
    delete env['NATS_URL'];
    expect(await resolveServer({ env, notice }, ways)).toMatchObject({ origin: 'env', binary: named.file });
    delete env['PHASOR_NATS_SERVER'];
    expect(await resolveServer({ env, notice }, ways)).toMatchObject({ origin: 'path', version: '2.12.0' });
    env['PATH'] = '/nonexistent';
    expect(await resolveServer({ env, notice }, ways)).toMatchObject({
      origin: 'npm',
      binary: installed.file,
    });
    expect(notices).toEqual([]);
    const dockerOnly = { ...ways, install: none.install };
    expect(await resolveServer({ env, notice }, dockerOnly)).toMatchObject({ origin: 'docker' });
    expect(notices).toEqual([expect.stringContaining('registry unreachable')]);
  });

  it('passes over a server on the PATH that is too old, and says so', async () => {
    const old = fakeServer('old', '2.11.9');
    const young = fakeServer('young', '2.12.1');
    const env = { PATH: ['relative/dir', old.dir, young.dir].join(delimiter) };
    expect(await resolveServer({ env, notice }, none)).toMatchObject({ origin: 'path', binary: young.file });
    expect(notices).toEqual([expect.stringContaining('2.11.9')]);
  });

  it('never passes over an explicit choice', async () => {
    const old = fakeServer('old', '2.10.0');
    const young = fakeServer('young', '2.14.0');
    const resolve = (path: string): Promise<unknown> =>
      resolveServer({ env: { PHASOR_NATS_SERVER: path, PATH: young.dir }, notice }, none);
    await expect(resolve(old.file)).rejects.toMatchObject({ code: 'SERVER_TOO_OLD' });
    await expect(resolve(join(dir, 'missing'))).rejects.toMatchObject({ code: 'NATS_SERVER_NOT_FOUND' });
  });

  it('lists the choices when there is none', async () => {
    const failure = resolveServer({ env: { PATH: '' }, notice }, none);
    await expect(failure).rejects.toMatchObject({ code: 'NATS_SERVER_NOT_FOUND' });
    for (const choice of ['NATS_URL', 'PHASOR_NATS_SERVER', 'PATH', 'npm', 'Docker']) {
      await expect(failure).rejects.toThrow(choice);
    }
  });

  it('compares versions part by part', () => {
    const supported = ['2.12.0', '2.12.0-RC.1', '2.14.5', '2.100.0', '3.0.0'];
    expect(supported.filter((version) => !isSupported(version))).toEqual([]);
    expect(['2.11.99', '2.9.25', '1.99.0', 'unknown', ''].filter(isSupported)).toEqual([]);
  });
});

describe('NATS_URL', () => {
  async function greetedWith(greeting: string): Promise<unknown> {
    const listener = createServer((socket) => socket.on('error', () => undefined).end(greeting));
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    const { port } = listener.address() as AddressInfo;
    try {
      return await startNatsServer({ env: { NATS_URL: `nats://127.0.0.1:${port}` } });
    } finally {
      listener.close();
    }
  }
  const info = (fields: object): string => `INFO ${JSON.stringify({ server_name: 'x', ...fields })}\r\n`;

  it('must lead to a server that is new enough and has JetStream', async () => {
    const fine = await greetedWith(info({ version: '2.12.0', jetstream: true }));
    expect(fine).toMatchObject({ managed: false, version: '2.12.0' });
    await expect(greetedWith(info({ version: '2.11.9', jetstream: true }))).rejects.toMatchObject({
      code: 'SERVER_TOO_OLD',
    });
    await expect(greetedWith(info({ version: '2.14.0' }))).rejects.toMatchObject({
      code: 'JETSTREAM_UNAVAILABLE',
    });
    await expect(greetedWith('HTTP/1.1 400 Bad Request\r\n')).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
    });
    await expect(startNatsServer({ env: { NATS_URL: 'nats://127.0.0.1:1' } })).rejects.toMatchObject({
      code: 'CONNECTION_FAILED',
    });
    await expect(startNatsServer({ env: { NATS_URL: 'nats://' } })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it('keeps credentials out of the message', async () => {
    const failure = startNatsServer({ env: { NATS_URL: 'nats://user:secret@127.0.0.1:1' } });
    await expect(failure).rejects.toThrow('127.0.0.1:1');
    await expect(failure).rejects.not.toThrow('secret');
  });
});

describe('cache', () => {
  const CONTENT = 'a server';
  const SHA256 = createHash('sha256').update(CONTENT).digest('hex');
  const home = (): string => join(dir, 'nats-server', '2.14.0-test');
  const context = (): Parameters<typeof ensureInstalled>[0] => ({ env: { PHASOR_CACHE: dir }, notice });

  function target(
    content = CONTENT,
    sha256: string | undefined = SHA256,
  ): InstallTarget & { fetches: number } {
    return {
      platform: 'test',
      sha256,
      fetches: 0,
      fetch(staging) {
        this.fetches += 1;
        const file = join(staging, 'download');
        writeFileSync(file, content);
        return Promise.resolve(file);
      },
    };
  }

  it('installs once', async () => {
    const once = target();
    const file = await ensureInstalled(context(), once);
    expect(readFileSync(file, 'utf8')).toBe(CONTENT);
    expect(await ensureInstalled(context(), once)).toBe(file);
    expect(once.fetches).toBe(1);
    expect(readdirSync(join(dir, 'nats-server'))).toEqual(['2.14.0-test']);
  });

  it('refuses a download with another hash and leaves nothing', async () => {
    await expect(ensureInstalled(context(), target('an impostor'))).rejects.toThrow(SHA256);
    expect(readdirSync(join(dir, 'nats-server'))).toEqual([]);
  });

  it('notices damage, also of equal length, and repairs it', async () => {
    const file = await ensureInstalled(context(), target());
    writeFileSync(file, 'A SERVER');
    const again = target();
    await ensureInstalled(context(), again);
    expect(again.fetches).toBe(1);
    expect(readFileSync(file, 'utf8')).toBe(CONTENT);
    expect(readdirSync(join(dir, 'nats-server'))).toEqual(['2.14.0-test']);
  });

  it('hashes again, and fetches nothing, when only the stamp is lost', async () => {
    await ensureInstalled(context(), target());
    rmSync(join(home(), 'verified.json'));
    const again = target();
    await ensureInstalled(context(), again);
    expect(again.fetches).toBe(0);
    expect(readdirSync(home()).sort()).toEqual(['nats-server', 'verified.json']);
  });

  it('without a pin remembers the hash of what npm delivered, and says that this is all', async () => {
    const unpinned = (): InstallTarget & { fetches: number } => ({ ...target(), sha256: undefined });
    const first = unpinned();
    const file = await ensureInstalled(context(), first);
    expect(notices).toContainEqual(expect.stringContaining('no SHA-256 is pinned for test'));
    writeFileSync(file, 'A SERVER');
    const second = unpinned();
    await ensureInstalled(context(), second);
    expect(second.fetches).toBe(1);
    expect(readFileSync(file, 'utf8')).toBe(CONTENT);
  });

  it('stands many first uses at once, on an empty and on a damaged cache', async () => {
    for (const state of ['empty', 'damaged']) {
      if (state === 'damaged') writeFileSync(join(home(), 'nats-server'), 'A SERVER');
      const files = await Promise.all(Array.from({ length: 12 }, () => ensureInstalled(context(), target())));
      expect(new Set(files)).toEqual(new Set([join(home(), 'nats-server')]));
      expect(readFileSync(join(home(), 'nats-server'), 'utf8')).toBe(CONTENT);
      expect(readdirSync(join(dir, 'nats-server'))).toEqual(['2.14.0-test']);
    }
  });

  it('lies where PHASOR_CACHE, XDG_CACHE_HOME or HOME say', () => {
    expect(cacheRoot({ PHASOR_CACHE: '/a', XDG_CACHE_HOME: '/b', HOME: '/c' })).toBe('/a');
    expect(cacheRoot({ XDG_CACHE_HOME: '/b', HOME: '/c' })).toBe(join('/b', 'phasor'));
    expect(cacheRoot({ HOME: '/c' })).toBe(join('/c', '.cache', 'phasor'));
  });
});
