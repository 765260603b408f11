/** A `StreamSpec` in nats-server's own words: snake_case, nanoseconds. */
import type { StreamSpec } from '../../streams/index.ts';

const NS_PER_MS = 1_000_000;

/** The fields of a stream's configuration that Phasor sets or looks at; others the server adds by itself. */
export interface ServerConfig {
  readonly name: string;
  readonly description?: string;
  readonly subjects?: readonly string[];
  readonly retention: string;
  readonly storage: string;
  readonly discard: string;
  readonly num_replicas: number;
  readonly max_bytes: number;
  readonly max_msg_size?: number;
  readonly max_msgs: number;
  readonly max_msgs_per_subject: number;
  readonly max_age: number;
  readonly duplicate_window?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly deny_delete?: boolean;
  readonly deny_purge?: boolean;
  readonly allow_direct?: boolean;
  readonly allow_rollup_hdrs?: boolean;
  readonly allow_msg_ttl?: boolean;
  readonly allow_msg_schedules?: boolean;
  readonly allow_atomic?: boolean;
  /** Never set by Phasor; each breaks a promise when present. */
  readonly no_ack?: boolean;
  readonly sealed?: boolean;
  readonly discard_new_per_subject?: boolean;
  readonly allow_msg_counter?: boolean;
  readonly allow_batched?: boolean;
  readonly persist_mode?: string;
  readonly mirror?: unknown;
  readonly sources?: readonly unknown[] | null;
  readonly subject_transform?: unknown;
}

export interface ConfigChoices {
  readonly replicas?: number | undefined;
  readonly storage?: 'file' | 'memory' | undefined;
  /** Only for pattern streams. */
  readonly maxBytes?: number | undefined;
  /** Only for pattern streams. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** The configuration to create a stream with; what is not chosen is as the spec says, with one replica. */
export function serverConfig(spec: StreamSpec, choices: ConfigChoices = {}): ServerConfig {
  const own = spec.kind === 'pattern' ? choices : {};
  return {
    name: spec.name,
    description: spec.description,
    subjects: spec.subjects,
    retention: spec.retention,
    storage: choices.storage ?? spec.storage,
    discard: spec.discard,
    num_replicas: choices.replicas ?? 1,
    max_bytes: own.maxBytes ?? spec.maxBytes,
    max_msg_size: spec.maxMsgSize,
    max_msgs: spec.maxMsgs,
    max_msgs_per_subject: spec.maxMsgsPerSubject,
    max_age: spec.maxAgeMs * NS_PER_MS,
    duplicate_window: spec.duplicateWindowMs * NS_PER_MS,
    metadata: { ...spec.metadata, ...own.metadata },
    deny_delete: spec.flags.denyDelete,
    deny_purge: spec.flags.denyPurge,
    allow_direct: spec.flags.allowDirect,
    allow_rollup_hdrs: spec.flags.allowRollup,
    allow_msg_ttl: spec.flags.allowMsgTtl,
    allow_msg_schedules: spec.flags.allowMsgSchedules,
    allow_atomic: spec.flags.allowAtomic,
  };
}
