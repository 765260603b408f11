/** Field by field: how a stream on the server differs from its spec, and whether that may be changed in place. */
import { METADATA_DEDUP_WINDOW, METADATA_SHARDS } from '../../streams/index.ts';
import type { ServerConfig } from './streams-config.ts';

export interface FieldDrift {
  readonly field: string;
  /** As text, in the server's words; `-` when absent. */
  readonly have: string;
  readonly want: string;
  /** `refuse`: changing it in place would lose data or break runs; `why` says which. */
  readonly verdict: 'update' | 'refuse';
  readonly why?: string;
}

export interface Existing {
  readonly config: ServerConfig;
  readonly state: { readonly messages: number; readonly bytes: number };
}

type Rule = (have: ServerConfig, want: ServerConfig, used: Existing['state']) => FieldDrift | undefined;
type Key = keyof ServerConfig;

const show = (value: unknown): string =>
  value === undefined || value === null ? '-' : typeof value === 'string' ? value : JSON.stringify(value);

interface Drift {
  readonly field: string;
  readonly have: unknown;
  readonly want: unknown;
  /** Why it must not be changed; undefined: it may. */
  readonly why?: string | undefined;
}
const drift = ({ field, have, want, why }: Drift): FieldDrift => ({
  field,
  have: show(have),
  want: show(want),
  ...(why === undefined ? { verdict: 'update' } : { verdict: 'refuse', why }),
});

/** A field with a server default where Phasor wants exactly one value. */
const exact =
  (field: Key, absent: unknown, why?: string): Rule =>
  (have, want) => {
    const [left, right] = [have[field] ?? absent, want[field] ?? absent];
    return left === right ? undefined : drift({ field, have: left, want: right, why });
  };

const NEVER_TAKEN_BACK = 'the server never takes this back; make the stream anew';
/** A flag the server lets be raised but never lowered. */
const latch =
  (field: Key): Rule =>
  (have, want) => {
    const [left, right] = [have[field] ?? false, want[field] ?? false];
    if (left === right) return undefined;
    return drift({ field, have: left, want: right, why: right === false ? NEVER_TAKEN_BACK : undefined });
  };

/** A limit where -1 or 0 means none: raising is safe, lowering only while nothing would fall out. */
const limit =
  (field: Key, lowering: (want: number, used: Existing['state']) => string | undefined): Rule =>
  (have, want, used) => {
    const [left, right] = [Number(have[field] ?? 0), Number(want[field] ?? 0)];
    const reach = (value: number): number => (value <= 0 ? Infinity : value);
    if (reach(left) === reach(right)) return undefined;
    const why = reach(right) < reach(left) ? lowering(right, used) : undefined;
    return drift({ field, have: left, want: right, why });
  };

const absent =
  (field: Key, why: string): Rule =>
  (have) => {
    const value = have[field];
    const none =
      value === undefined ||
      value === null ||
      value === false ||
      (Array.isArray(value) && value.length === 0);
    return none ? undefined : drift({ field, have: value, want: undefined, why });
  };

function subjectsRule(have: ServerConfig, want: ServerConfig): FieldDrift | undefined {
  const [left, right] = [[...(have.subjects ?? [])].sort(), [...(want.subjects ?? [])].sort()];
  if (show(left) === show(right)) return undefined;
  const removed = left.some((subject) => !right.includes(subject));
  const why = removed ? 'what is published to a removed subject would be lost' : undefined;
  return drift({ field: 'subjects', have: left, want: right, why });
}

const FIXED_METADATA: Readonly<Record<string, string>> = {
  [METADATA_SHARDS]: 'begins and commands carry the number of shards: open runs would move to another shard',
  [METADATA_DEDUP_WINDOW]: 'it is part of the fold: verdicts on own ids would change on replay',
};

function metadataDrift(have: ServerConfig, want: ServerConfig): FieldDrift[] {
  return Object.entries(want.metadata ?? {}).flatMap(([key, value]) => {
    const current = have.metadata?.[key];
    if (current === value) return [];
    return [drift({ field: `metadata.${key}`, have: current, want: value, why: FIXED_METADATA[key] })];
  });
}

const RULES: readonly Rule[] = [
  // First what makes it another kind of stream: everything else follows from that.
  absent('sealed', 'a sealed stream takes no messages and cannot be opened again; make it anew'),
  absent('allow_msg_counter', NEVER_TAKEN_BACK),
  absent('mirror', 'a mirror takes no messages of its own'),
  absent('sources', 'messages of other streams in a log: remove them by hand, knowing what they did'),
  absent('subject_transform', 'messages are stored under other subjects than they were published to'),
  exact('description', ''),
  subjectsRule,
  exact('retention', 'limits', 'another retention would drop what has been read'),
  exact('storage', 'file', 'the server cannot move a stream to other storage; make it anew'),
  exact('discard', 'old', 'the discard policy decides what a full stream loses'),
  exact('num_replicas', 1),
  limit('max_bytes', (want, used) =>
    used.bytes > want ? `it holds ${used.bytes} bytes: the stream would be full` : undefined,
  ),
  limit('max_msg_size', () => undefined),
  limit('max_msgs', (want, used) =>
    used.messages > want ? `it holds ${used.messages} messages: the stream would be full` : undefined,
  ),
  limit('max_msgs_per_subject', (_, used) =>
    used.messages > 0 ? 'older messages of a subject would be removed' : undefined,
  ),
  limit('max_age', () => 'messages older than that would be removed'),
  exact(
    'duplicate_window',
    0,
    'the fold judges fresh ids by it: another window would change verdicts on replay',
  ),
  latch('deny_delete'),
  latch('deny_purge'),
  exact('allow_direct', false),
  exact('allow_rollup_hdrs', false),
  latch('allow_msg_ttl'),
  latch('allow_msg_schedules'),
  exact('allow_atomic', false),
  exact('no_ack', false),
  exact('discard_new_per_subject', false),
  exact('allow_batched', false),
  (have) =>
    have.persist_mode === 'async'
      ? drift({
          field: 'persist_mode',
          have: 'async',
          want: 'default',
          why: 'it acknowledges before it writes, and cannot be changed; make the stream anew',
        })
      : undefined,
];

/** What the server added by itself, and metadata that others put there, is no drift. */
export function configDrift(existing: Existing, want: ServerConfig): readonly FieldDrift[] {
  const found = RULES.flatMap((rule) => rule(existing.config, want, existing.state) ?? []);
  return [...found, ...metadataDrift(existing.config, want)];
}
