/** What a stream or bucket promises, for whoever operates it. */
export interface StreamContract {
  readonly writer: string;
  readonly readers: string;
  readonly retention: string;
  readonly limits: string;
  readonly why: string;
}

/** What publishers may do to the stream through headers and the JetStream API. */
export interface StreamFlags {
  /** Refuses the deletion of single messages. The server never takes this back. */
  readonly denyDelete: boolean;
  /** Refuses purges. The server never takes this back. */
  readonly denyPurge: boolean;
  /** Any replica answers reads of single messages, possibly a moment behind; else only the leader does. */
  readonly allowDirect: boolean;
  /** `Nats-Rollup`: a publisher may replace a subject's, or the whole stream's, messages. */
  readonly allowRollup: boolean;
  /** `Nats-TTL`: a publisher may give a message a life of its own. The server never takes this back. */
  readonly allowMsgTtl: boolean;
  /** `Nats-Schedule`: a publisher may have the server publish later. The server never takes this back. */
  readonly allowMsgSchedules: boolean;
  /** `Nats-Batch-*`: atomic batches. */
  readonly allowAtomic: boolean;
}

/** One stream as data: applied and drift-checked by `phasor streams`. */
export interface StreamSpec {
  readonly name: string;
  readonly kind: 'pattern' | 'dead-letters' | 'timers' | 'bucket';
  /** The pattern whose log this is; only with kind `pattern`. */
  readonly pattern?: string;
  /** The bucket's name for KV clients; only with kind `bucket`. */
  readonly bucket?: string;
  readonly description: string;
  readonly subjects: readonly string[];
  readonly retention: 'limits';
  /** Default storage; `--storage` overrides it when the stream is made. */
  readonly storage: 'file';
  /** What happens to a message that would exceed a limit: `new` refuses it, `old` drops the oldest ones. */
  readonly discard: 'new' | 'old';
  /** -1: no limit. */
  readonly maxBytes: number;
  /** Body and headers of one message; -1: the server's `max_payload` alone. */
  readonly maxMsgSize: number;
  /** -1: no limit. */
  readonly maxMsgs: number;
  /** -1: no limit. */
  readonly maxMsgsPerSubject: number;
  /** 0: no limit. */
  readonly maxAgeMs: number;
  /** Within this time the server stores one `Nats-Msg-Id` once. */
  readonly duplicateWindowMs: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly flags: StreamFlags;
  readonly contract: StreamContract;
}
