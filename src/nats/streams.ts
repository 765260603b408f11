/** Streams as data, made and kept as `streams/` says. Applying twice is the same as applying once. */
import type { NatsConnection } from '@nats-io/nats-core';
import {
  BARRIER_BUCKET_PREFIX,
  METADATA_SHARDS,
  PATTERN_STREAMS,
  SHARED_STREAMS,
  STREAMS,
  barrierBucket,
  type StreamSpec,
} from '../../streams/index.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import { isParticipant } from '../kernel/ids.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import { MAX_SHARDS } from '../protocol/limits.ts';
import {
  callApi,
  refusedByServer,
  requireJetStream,
  streamInfo,
  streamNames,
  type ApiFailure,
  type StreamInfo,
} from './streams-api.ts';
import { serverConfig, type ServerConfig } from './streams-config.ts';
import { configDrift, type FieldDrift } from './streams-drift.ts';

/** What a deployment chooses. Not given: the spec's default for a new stream, and no opinion on an existing one. */
export interface StreamOptions {
  /** 1..5. Default for a new stream: as many as the best of the others has, else 1. */
  readonly replicas?: number;
  /** Default for a new stream: `file`. Memory loses everything with the server: for tests. */
  readonly storage?: 'file' | 'memory';
  /** Shards of each pattern's log, 1..1024, fixed when the stream is made. Default: 4. */
  readonly shards?: number;
  /** `max_bytes` of each pattern stream, at least 1 MiB. Default: 1 GiB. */
  readonly maxBytes?: number;
  /** Only these pattern streams, besides what all patterns share. Default: all six. */
  readonly patterns?: readonly Pattern[];
  /** Barrier buckets of these participants, too. Default: those that exist; workers make their own. */
  readonly participants?: readonly string[];
}

export interface StreamDiff {
  readonly stream: string;
  readonly state: 'missing' | 'same' | 'drift';
  readonly drift: readonly FieldDrift[];
}

export interface StreamChange {
  readonly stream: string;
  readonly action: 'created' | 'updated' | 'unchanged';
  /** What was changed; empty unless updated. */
  readonly changes: readonly FieldDrift[];
}

export interface StreamStatus {
  readonly spec: StreamSpec;
  /** Undefined when the stream is missing. */
  readonly found: FoundStream | undefined;
}

export interface FoundStream {
  readonly messages: number;
  readonly bytes: number;
  /** -1: no limit. */
  readonly maxBytes: number;
  readonly replicas: number;
  readonly storage: string;
  /** Only of a pattern stream. */
  readonly shards?: number;
  readonly consumers: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly created: string;
  readonly leader?: string;
}

interface Plan {
  readonly spec: StreamSpec;
  readonly want: ServerConfig;
  readonly have: StreamInfo | undefined;
  readonly drift: readonly FieldDrift[];
}

/**
 * Makes the streams that are missing and updates what may be updated in place. Refuses as a whole, before it has
 * changed anything, when one change would lose data or break runs.
 *
 * @throws {PhasorError} `STREAM_CHANGE_REFUSED` with stream, field, have and want in `details`; `SERVER_TOO_OLD`;
 *   `JETSTREAM_UNAVAILABLE`; `STREAM_APPLY_FAILED`: the server's own reason (storage, peers, overlapping subjects);
 *   `CONFIG_INVALID`.
 */
export async function applyStreams(
  nc: NatsConnection,
  options: StreamOptions = {},
): Promise<readonly StreamChange[]> {
  const plans = await planStreams(nc, options);
  refuseUnsafe(plans);
  const changes: StreamChange[] = [];
  for (const plan of plans) changes.push(await carryOut(nc, plan));
  return changes;
}

/** What `applyStreams` with the same options would find. Changes nothing; same errors, without refusals. */
export async function diffStreams(
  nc: NatsConnection,
  options: StreamOptions = {},
): Promise<readonly StreamDiff[]> {
  const plans = await planStreams(nc, options);
  return plans.map(({ spec, have, drift }) => ({
    stream: spec.name,
    state: have === undefined ? 'missing' : drift.length === 0 ? 'same' : 'drift',
    drift,
  }));
}

/** Every stream Phasor knows, and the barrier buckets there are, with what the server says of each. */
export async function listStreams(
  nc: NatsConnection,
  options: Pick<StreamOptions, 'patterns'> = {},
): Promise<readonly StreamStatus[]> {
  const plans = await planStreams(nc, options);
  return plans.map(({ spec, have }) => ({ spec, found: have === undefined ? undefined : found(have) }));
}

/** `applyStreams` for tests, the dev server and the demo: memory or file, and nothing to report. */
export async function ensureStreams(nc: NatsConnection, options: StreamOptions = {}): Promise<void> {
  await applyStreams(nc, options);
}

async function planStreams(nc: NatsConnection, options: StreamOptions): Promise<Plan[]> {
  checkOptions(options);
  await requireJetStream(nc);
  if ((options.replicas ?? 1) > 1 && nc.info?.cluster === undefined) {
    // An existing stream takes the number on a single server, and shows it, and has one copy.
    const what = `replicas: ${options.replicas ?? 1} need a cluster, and this server has none`;
    throw new PhasorError('CONFIG_INVALID', what, { option: 'replicas' });
  }
  const specs: { readonly spec: StreamSpec; readonly have: StreamInfo | undefined }[] = [];
  for (const spec of await specsOf(nc, options)) {
    specs.push({ spec, have: await streamInfo(nc, spec.name) });
  }
  // A stream that comes later must not be the weakest of them.
  const most = Math.max(1, ...specs.map(({ have }) => have?.config.num_replicas ?? 1));
  return specs.map(({ spec, have }) => planOf({ spec, have, replicas: most }, options));
}

async function specsOf(nc: NatsConnection, options: StreamOptions): Promise<readonly StreamSpec[]> {
  const { patterns } = options;
  const logs =
    patterns === undefined
      ? PATTERN_STREAMS
      : PATTERN_STREAMS.filter((spec) => patterns.some((pattern) => pattern === spec.pattern));
  const barriers = new Set([...(await existingBarriers(nc)), ...(options.participants ?? [])]);
  return [...logs, ...SHARED_STREAMS, ...[...barriers].sort().map(barrierBucket)];
}

async function existingBarriers(nc: NatsConnection): Promise<string[]> {
  const prefix = `KV_${BARRIER_BUCKET_PREFIX}`;
  const names = await streamNames(nc, '$KV.>');
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .filter(isParticipant);
}

function checkOptions({ replicas, shards, maxBytes, participants = [] }: StreamOptions): void {
  const inRange = (option: string, value: number | undefined, bounds: readonly [number, number]): void => {
    const [least, most] = bounds;
    if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return;
    throw new PhasorError('CONFIG_INVALID', `${option}: ${value} is not within ${least}..${most}`, {
      option,
    });
  };
  inRange('replicas', replicas, [1, 5]);
  inRange('shards', shards, [1, MAX_SHARDS]);
  inRange('max-bytes', maxBytes, [1_048_576, Number.MAX_SAFE_INTEGER]);
  const bad = participants.find((name) => !isParticipant(name));
  if (bad === undefined) return;
  const what = `participant: ${JSON.stringify(bad)} does not match [a-z][a-z0-9-]{0,31} or is reserved`;
  throw new PhasorError('CONFIG_INVALID', what, { option: 'participant' });
}

interface Found {
  readonly spec: StreamSpec;
  readonly have: StreamInfo | undefined;
  /** Of a new stream, unless chosen. */
  readonly replicas: number;
}

function planOf({ spec, have, replicas: most }: Found, options: StreamOptions): Plan {
  const { replicas, storage, maxBytes, shards } = options;
  const metadata = shards === undefined ? undefined : { [METADATA_SHARDS]: String(shards) };
  if (have === undefined) {
    return {
      spec,
      have,
      drift: [],
      want: serverConfig(spec, { replicas: replicas ?? most, storage, maxBytes, metadata }),
    };
  }
  // No opinion: what the deployment once chose stays.
  const kept = have.config;
  const keptShards = kept.metadata?.[METADATA_SHARDS];
  const want = serverConfig(spec, {
    replicas: replicas ?? kept.num_replicas,
    storage: storage ?? (kept.storage === 'memory' ? 'memory' : 'file'),
    maxBytes: maxBytes ?? kept.max_bytes,
    metadata: metadata ?? (isCount(keptShards) ? { [METADATA_SHARDS]: keptShards } : undefined),
  });
  return { spec, have, want, drift: configDrift(have, want) };
}

const isCount = (text: string | undefined): text is string =>
  text !== undefined && /^[1-9]\d{0,3}$/.test(text);

function refuseUnsafe(plans: readonly Plan[]): void {
  const refused = plans.flatMap(({ spec, drift }) =>
    drift.filter(({ verdict }) => verdict === 'refuse').map((each) => ({ stream: spec.name, ...each })),
  );
  const [first] = refused;
  if (first === undefined) return;
  const lines = refused.map(
    ({ stream, field, have, want, why }) => `${stream}: ${field} is ${have}, wanted ${want} (${why ?? ''})`,
  );
  const others = lines.length === 1 ? '' : `; and ${lines.length - 1} more, see \`phasor streams diff\``;
  throw new PhasorError('STREAM_CHANGE_REFUSED', `nothing was changed; ${lines[0] ?? ''}${others}`, {
    stream: first.stream,
    field: first.field,
    have: first.have,
    want: first.want,
    refused: lines,
  });
}

async function carryOut(nc: NatsConnection, plan: Plan): Promise<StreamChange> {
  const { spec, want, have, drift } = plan;
  if (have === undefined) {
    await send(nc, 'CREATE', want);
    return { stream: spec.name, action: 'created', changes: [] };
  }
  if (drift.length === 0) return { stream: spec.name, action: 'unchanged', changes: [] };
  // Settings that are nobody's business here (placement, compression) and foreign metadata stay as they are.
  const metadata = { ...have.config.metadata, ...want.metadata };
  await send(nc, 'UPDATE', { ...have.config, ...want, metadata });
  return { stream: spec.name, action: 'updated', changes: drift };
}

/** Creating what was created meanwhile with the same settings succeeds: the server compares. */
async function send(nc: NatsConnection, verb: 'CREATE' | 'UPDATE', config: ServerConfig): Promise<void> {
  const answer = await callApi(nc, `STREAM.${verb}.${config.name}`, config);
  if (!answer.ok) throw explain(config.name, answer.error);
}

const SUBJECTS_OVERLAP = 10065;

function explain(stream: string, error: ApiFailure): PhasorError {
  if (error.err_code !== SUBJECTS_OVERLAP) return refusedByServer(stream, error);
  const spec = STREAMS.find(({ name }) => name === stream);
  const description = `${error.description}: another stream already takes ${spec?.subjects.join(' or ') ?? ''}`;
  return refusedByServer(stream, { ...error, description });
}

function found({ config, state, created, cluster }: StreamInfo): FoundStream {
  const shards = config.metadata?.[METADATA_SHARDS];
  return {
    messages: state.messages,
    bytes: state.bytes,
    maxBytes: config.max_bytes,
    replicas: config.num_replicas,
    storage: config.storage,
    ...(isCount(shards) ? { shards: Number(shards) } : {}),
    consumers: state.consumer_count,
    firstSeq: state.first_seq,
    lastSeq: state.last_seq,
    created,
    ...(cluster?.leader === undefined ? {} : { leader: cluster.leader }),
  };
}
