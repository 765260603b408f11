import { PhasorError } from '../../errors/phasor-error.ts';
import type { NatsServerHandle } from './options.ts';
import { readInfo, requireSupported, type ServerInfo } from './probe.ts';

const GREETING_TIMEOUT_MS = 10_000;

/** A handle on the server at NATS_URL: checked for its version and JetStream, never started or stopped. */
export async function borrowServer(url: string): Promise<NatsServerHandle> {
  const first = addressOf(url);
  const info = first.greets ? await greeting(first) : undefined;
  const refuse = (verb: string): Promise<never> =>
    Promise.reject(
      new PhasorError('CONFIG_INVALID', `cannot ${verb} the server at NATS_URL: it is not ours`, { verb }),
    );
  return {
    url,
    port: first.port,
    pid: undefined,
    storeDir: undefined,
    serverName: info?.serverName ?? '',
    origin: 'url',
    binary: `${first.host}:${first.port}`,
    version: info?.version ?? '',
    httpUrl: undefined,
    managed: false,
    running: true,
    logTail: () => '',
    stop: () => Promise.resolve(),
    kill: () => refuse('kill'),
    restart: () => refuse('restart'),
    suspend: () => refuse('suspend'),
    resume: () => refuse('resume'),
  };
}

interface Address {
  readonly host: string;
  readonly port: number;
  /** Over WebSocket a server greets only after the upgrade: such a URL is left to the client. */
  readonly greets: boolean;
}

/** The first of the servers in a comma-separated list. */
function addressOf(url: string): Address {
  const first = url.split(',')[0]?.trim() ?? '';
  try {
    const parsed = new URL(first.includes('://') ? first : `nats://${first}`);
    const host = parsed.hostname.replace(/^\[|\]$/g, '');
    if (host === '') throw new Error('no host');
    const greets = !parsed.protocol.startsWith('ws');
    return { host, port: Number(parsed.port || '4222'), greets };
  } catch (error) {
    throw new PhasorError(
      'CONFIG_INVALID',
      'NATS_URL is not a URL',
      { option: 'NATS_URL' },
      { cause: error },
    );
  }
}

async function greeting(at: Address): Promise<ServerInfo> {
  const where = `${at.host}:${at.port}`;
  let info: ServerInfo;
  try {
    info = await readInfo(at.host, at.port, GREETING_TIMEOUT_MS);
  } catch (error) {
    throw new PhasorError(
      'CONNECTION_FAILED',
      `NATS_URL: ${where}: ${String(error)}`,
      { where },
      { cause: error },
    );
  }
  requireSupported(info.version, `NATS_URL (${where})`);
  if (info.jetstream) return info;
  throw new PhasorError('JETSTREAM_UNAVAILABLE', `NATS_URL: ${where} runs without JetStream`, { where });
}
