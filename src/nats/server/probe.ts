import { connect, createServer, type Socket } from 'node:net';

import { PhasorError } from '../../errors/phasor-error.ts';

/** The oldest nats-server Phasor runs on. */
export const MIN_VERSION = '2.12.0';

export interface ServerInfo {
  readonly version: string;
  readonly serverName: string;
  readonly jetstream: boolean;
}

/** `[2, 14, 0]` of `nats-server: v2.14.0` or `2.14.0-dev`; undefined when there is no version in it. */
export function parseVersion(text: string): readonly [number, number, number] | undefined {
  const match = /(\d+)\.(\d+)\.(\d+)/.exec(text);
  return match === null ? undefined : [Number(match[1]), Number(match[2]), Number(match[3])];
}

export function isSupported(version: string): boolean {
  const found = parseVersion(version);
  const least = parseVersion(MIN_VERSION);
  if (found === undefined || least === undefined) return false;
  const differs = found.findIndex((part, at) => part !== least[at]);
  return differs === -1 || (found[differs] ?? 0) > (least[differs] ?? 0);
}

/** Throws SERVER_TOO_OLD below `MIN_VERSION`. */
export function requireSupported(version: string, where: string): void {
  if (isSupported(version)) return;
  throw new PhasorError('SERVER_TOO_OLD', `${where} is nats-server ${version}`, { version, where });
}

/** Connects and reads the INFO line a nats-server greets with, before TLS and authentication. */
export function readInfo(host: string, port: number, timeoutMs: number): Promise<ServerInfo> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    let greeting = '';
    socket.setEncoding('utf8');
    socket.setTimeout(timeoutMs, () => fail(new Error(`no INFO within ${timeoutMs} ms`)));
    socket.on('error', fail);
    socket.on('close', () => reject(new Error('closed before INFO')));
    socket.on('data', (chunk: string) => {
      greeting += chunk;
      if (greeting.length > 65_536) fail(new Error('not a nats-server'));
      if (!greeting.includes('\r\n')) return;
      const info = parseInfo(greeting);
      if (info === undefined) fail(new Error('not a nats-server'));
      else resolve(info);
      socket.destroy();
    });
  });
}

function parseInfo(greeting: string): ServerInfo | undefined {
  const match = /^INFO (\{.*\})\s*\r\n/.exec(greeting);
  if (match?.[1] === undefined) return undefined;
  try {
    const info = JSON.parse(match[1]) as Record<string, unknown>;
    if (typeof info['version'] !== 'string') return undefined;
    return {
      version: info['version'],
      serverName: typeof info['server_name'] === 'string' ? info['server_name'] : '',
      jetstream: info['jetstream'] === true,
    };
  } catch {
    return undefined;
  }
}

const PORT_MIN = 10_000;
const PORT_MAX = 30_000;

/**
 * A port of 127.0.0.1 that nothing listens on right now; the caller must cope with losing it.
 * Below the ephemeral range on purpose: while a killed server is down, a client that reconnects to an ephemeral
 * port can be given that very port as its source and connect to itself, and the server cannot come back.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    if (await canBind(port)) return port;
  }
  throw new PhasorError('NATS_SERVER_START_FAILED', 'found no free port on 127.0.0.1');
}

function canBind(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer((socket: Socket) => socket.destroy());
    probe.once('error', () => resolve(false));
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
