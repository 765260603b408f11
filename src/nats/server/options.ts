/** Where the running server came from, in the order in which it is looked for. */
export type NatsServerOrigin = 'url' | 'env' | 'path' | 'npm' | 'docker';

export interface NatsServerOptions {
  /** JetStream's directory; it outlives the server. Default: a temp directory of its own, removed at `stop()`. */
  readonly storeDir?: string;
  /** Client port on 127.0.0.1, 1..65535. Default: a free one, never 4222. */
  readonly port?: number;
  /** When file storage is fsynced: `'always'` or a duration such as `'2m'`. Default: the server's, 2 minutes. */
  readonly syncInterval?: 'always' | (string & {});
  /** Default: a fresh unique name. Two servers of one process must not share a name. */
  readonly serverName?: string;
  /** Largest message in bytes. Default: the server's, 1 MiB. */
  readonly maxPayload?: number;
  /** Extra nats-server configuration, at the top level of the file. */
  readonly config?: string;
  /** Extra nats-server configuration, inside the `jetstream` block (limits, domain). */
  readonly jetstreamConfig?: string;
  /** Serves HTTP monitoring on 127.0.0.1; see `httpUrl` of the handle. Default: false. */
  readonly monitor?: boolean;
  /** The server's log is appended here. Default: a file in its temp directory, removed with it. */
  readonly logFile?: string;
  /** Called with each line of the server's log. */
  readonly onLog?: (line: string) => void;
  /** Called when the server ends without `stop()`, `kill()` or `restart()` having asked for it. */
  readonly onUnexpectedExit?: (what: string) => void;
  /** Phasor's own remarks (what is being installed, what was passed over and why). Default: stderr. */
  readonly onNotice?: (line: string) => void;
  /** How long the server may take until it accepts connections, in milliseconds. Default: 30_000; Docker: 120_000. */
  readonly readyTimeoutMs?: number;
  /** Read for NATS_URL, PHASOR_NATS_SERVER, PATH, PHASOR_CACHE, XDG_CACHE_HOME. Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
}

/** A nats-server that this process started, or the one at NATS_URL, which it only borrows. */
export interface NatsServerHandle {
  /** To connect to. With NATS_URL: its value, unchanged. */
  readonly url: string;
  readonly port: number;
  /** Changes with `restart()`; undefined while stopped, and where the process is not ours (NATS_URL, Docker). */
  readonly pid: number | undefined;
  /** Undefined with NATS_URL. */
  readonly storeDir: string | undefined;
  readonly serverName: string;
  readonly origin: NatsServerOrigin;
  /** Path of the executable, the Docker image, or the URL. */
  readonly binary: string;
  readonly version: string;
  /** HTTP monitoring, only with `monitor: true`. */
  readonly httpUrl: string | undefined;
  /** False with NATS_URL: then `stop()` does nothing and the other verbs are refused with CONFIG_INVALID. */
  readonly managed: boolean;
  readonly running: boolean;
  /** The last lines of the server's log. */
  logTail(lines?: number): string;
  /** Asks it to end, kills it after 5 s, removes its own temp directory. Safe to call again. */
  stop(): Promise<void>;
  /** Sends a signal (default SIGKILL); for one that ends the process, resolves once it has ended. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port and store, after a graceful end if it still runs. */
  restart(): Promise<void>;
  /** SIGSTOP; resolves once the process stands still (where /proc tells). Its connections stay open. */
  suspend(): Promise<void>;
  /** SIGCONT. */
  resume(): Promise<void>;
}

export interface NatsClusterOptions extends Omit<
  NatsServerOptions,
  'port' | 'serverName' | 'logFile' | 'onLog' | 'onUnexpectedExit' | 'monitor'
> {
  /** Number of servers, 1..9. Default: 3. */
  readonly size?: number;
  /** Called with each line of each server's log. */
  readonly onLog?: (line: string, serverName: string) => void;
}

export interface NatsClusterHandle {
  /** All servers, separated by commas; see `urls` for clients that want a list. */
  readonly url: string;
  readonly urls: readonly string[];
  readonly servers: readonly NatsServerHandle[];
  readonly version: string;
  /** Resolves once a meta leader answers through every running server. Rejects with NATS_SERVER_START_FAILED. */
  ready(timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
}
