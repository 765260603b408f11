/** What the ports that pull share, whatever carries the pulls: the connection as they see it, and one inbox of pulls. */
export type ConnectionState = 'connected' | 'disconnected' | 'closed';

export interface Link {
  readonly state: ConnectionState;
  /** Returns the way to stop listening. */
  onState(listener: (state: ConnectionState) => void): () => void;
  /** Resolves when there is a connection. @throws {PhasorError} `CLOSED`, `CONNECTION_FAILED`. */
  connected(timeoutMs: number): Promise<void>;
}

export interface PullRequest {
  readonly messages: number;
  /** Without it: no bound. */
  readonly bytes?: number;
}

/** A pull that ended before it was filled: `messages` of it will not come. */
export interface ShortPull {
  readonly messages: number;
  readonly why: 'expired' | 'too-big' | 'other';
}

export interface Pulls {
  /** What may still come without being asked again. */
  readonly outstanding: number;
  send(request: PullRequest): void;
  /** Stops at once. */
  close(): void;
  /** Takes the interest away and hands out what was sent until then. */
  drain(): Promise<void>;
}
