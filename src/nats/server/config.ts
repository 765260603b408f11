import { PhasorError } from '../../errors/phasor-error.ts';
import { parseDurationMs } from '../../kernel/duration.ts';
import type { NatsServerOptions } from './options.ts';

export interface RouteConfig {
  readonly clusterName: string;
  readonly port: number;
  readonly peers: readonly number[];
}

export interface ServerConfig {
  readonly options: NatsServerOptions;
  readonly serverName: string;
  /** 127.0.0.1, except inside a container whose port is published to 127.0.0.1. */
  readonly host: string;
  readonly port: number;
  readonly httpPort: number | undefined;
  readonly storeDir: string;
  readonly route: RouteConfig | undefined;
}

/** The text of a nats-server configuration file. */
export function renderConfig(server: ServerConfig): string {
  const { options, host } = server;
  const lines = [
    `listen: "${host}:${server.port}"`,
    `server_name: ${quoted('serverName', server.serverName)}`,
  ];
  if (options.maxPayload !== undefined)
    lines.push(`max_payload: ${positive('maxPayload', options.maxPayload)}`);
  if (server.httpPort !== undefined) lines.push(`http: "${host}:${server.httpPort}"`);
  lines.push('jetstream {', `  store_dir: ${quoted('storeDir', server.storeDir)}`);
  if (options.syncInterval !== undefined)
    lines.push(`  sync_interval: ${syncInterval(options.syncInterval)}`);
  if (options.jetstreamConfig !== undefined) lines.push(options.jetstreamConfig);
  lines.push('}');
  if (server.route !== undefined) lines.push(...routeLines(server.route));
  if (options.config !== undefined) lines.push(options.config);
  return `${lines.join('\n')}\n`;
}

function routeLines(route: RouteConfig): string[] {
  const routes = route.peers.map((port) => `"nats-route://127.0.0.1:${port}"`).join(', ');
  return [
    'cluster {',
    `  name: ${quoted('cluster', route.clusterName)}`,
    `  listen: "127.0.0.1:${route.port}"`,
    `  routes: [${routes}]`,
    '}',
  ];
}

function syncInterval(value: string): string {
  if (value === 'always') return 'always';
  const ms = parseDurationMs(value);
  if (ms === undefined || ms < 1)
    throw invalid('syncInterval', value, "'always' or a duration such as '30s'");
  return `"${ms}ms"`;
}

function positive(option: string, value: number): number {
  if (!Number.isSafeInteger(value) || value < 1) throw invalid(option, String(value), 'a positive integer');
  return value;
}

function quoted(option: string, value: string): string {
  // The configuration format has no escape that every server version reads alike.
  if (/["\\\r\n]/.test(value)) throw invalid(option, value, 'without quotes, backslashes and line breaks');
  return `"${value}"`;
}

function invalid(option: string, value: string, expected: string): PhasorError {
  return new PhasorError('CONFIG_INVALID', `${option} must be ${expected}`, { option, value });
}
