/** JSON Schemas (draft 7) and an AsyncAPI 3 document, generated from the zod schemas in use. */
import { z } from 'zod';
import { PATTERNS, PHASES } from '../kernel/vocabulary.ts';
import { ID_PATTERN, PARTICIPANT_PATTERN } from '../kernel/ids.ts';
import { deadLetterSchema } from './dead-letter.ts';
import * as envelopes from './envelopes.ts';
import { MAX_BODY_BYTES, MAX_ENVELOPES } from './limits.ts';
import { queryReplySchema, queryRequestSchema } from './query.ts';

export type JsonSchema = Readonly<Record<string, unknown>>;

const operator = envelopes.operatorSchemas;
const SOURCES = {
  begin: envelopes.beginSchema,
  plan: envelopes.planSchema,
  command: envelopes.commandSchema,
  report: envelopes.reportSchema,
  deadline: envelopes.deadlineInputSchema,
  decided: envelopes.decidedSchema,
  signal: envelopes.signalSchema,
  cancel: envelopes.cancelSchema,
  'operator-retry': operator.retry,
  'operator-skip': operator.skip,
  'operator-resolve': operator.resolve,
  'operator-force': operator.force,
  'operator-kill': operator.kill,
  'operator-cancel': operator.cancel,
  'operator-signal': operator.signal,
  'operator-recover': operator.recover,
  enable: envelopes.enableSchema,
  outcome: envelopes.outcomeSchema,
  'phase-response': envelopes.phaseResponseSchema,
  'dead-letter': deadLetterSchema,
  'query-request': queryRequestSchema,
  'query-reply': queryReplySchema,
} as const satisfies Readonly<Record<string, z.ZodType>>;

export type SchemaName = keyof typeof SOURCES;
export const SCHEMA_NAMES = Object.keys(SOURCES) as readonly SchemaName[];

/** The zod schema that a generated one comes from. */
export const schemaOf = (name: SchemaName): z.ZodType => SOURCES[name];

/**
 * One JSON Schema for each kind of envelope, by name. What JSON Schema cannot say (sizes in bytes, numbers inside free
 * JSON, fields that require each other) stands in `description` and is checked by Phasor.
 */
export function jsonSchemas(): Readonly<Record<SchemaName, JsonSchema>> {
  const entries = SCHEMA_NAMES.map((name) => [
    name,
    { title: name, ...z.toJSONSchema(SOURCES[name], { target: 'draft-7' }) },
  ]);
  return Object.fromEntries(entries) as Record<SchemaName, JsonSchema>;
}

interface Family {
  readonly address: string;
  readonly publishers: string;
  readonly readers: string;
  /** Envelopes that its bodies are arrays of. */
  readonly carries: readonly SchemaName[];
  /** One object instead of an array. */
  readonly single?: boolean;
  /** What a client or participant does here; nothing where only coordinators and operators act. */
  readonly use?: 'send' | 'receive';
}

const OPERATOR_INPUTS = SCHEMA_NAMES.filter((name) => name.startsWith('operator-'));

const FAMILIES: Readonly<Record<string, Family>> = {
  command: {
    address: '{pattern}.{participant}.{phase}',
    publishers: 'coordinators',
    readers: "the participant's two durable pull consumers",
    carries: ['command'],
    use: 'receive',
  },
  begin: {
    address: '{pattern}.{sender}.begin.{shard}',
    publishers: 'clients; as sender "coordinator" coordinators, for children',
    readers: "the shard's coordinator",
    carries: ['begin'],
    use: 'send',
  },
  report: {
    address: '{pattern}.{sender}.report.{shard}',
    publishers: 'participants; as sender "coordinator" coordinators, for children',
    readers: "the shard's coordinator",
    carries: ['report'],
    use: 'send',
  },
  signal: {
    address: '{pattern}.{sender}.signal.{shard}',
    publishers: 'clients and participants that the begin allows',
    readers: "the shard's coordinator",
    carries: ['signal'],
    use: 'send',
  },
  cancel: {
    address: '{pattern}.{sender}.cancel.{shard}',
    publishers: 'clients and participants that the begin allows; coordinators',
    readers: "the shard's coordinator",
    carries: ['cancel'],
    use: 'send',
  },
  coordinator: {
    address: '{pattern}.coordinator.{kind}.{shard}',
    publishers: 'coordinators only; kind is deadline, decided or enable',
    readers: "the shard's coordinator, auditors",
    carries: ['deadline', 'decided', 'enable'],
  },
  operator: {
    address: '{pattern}.operator.{action}.{shard}',
    publishers: 'operators only, with a reason',
    readers: "the shard's coordinator, auditors",
    carries: OPERATOR_INPUTS,
  },
  outcome: {
    address: 'response.{tx}.coordinator.outcome',
    publishers: 'coordinators; core NATS, not stored',
    readers: 'whoever waits for the transaction',
    carries: ['outcome'],
    use: 'receive',
  },
  response: {
    address: 'response.{tx}.{participant}.{phase}',
    publishers: 'participants, when the command says reply; core NATS, not stored',
    readers: 'whoever waits for the transaction',
    carries: ['phase-response'],
    use: 'send',
  },
  dead: {
    address: 'dead.{pattern}.{participant}',
    publishers: 'whoever could not process an envelope',
    readers: 'operators',
    carries: ['dead-letter'],
    single: true,
    use: 'send',
  },
  query: {
    address: 'query.{pattern}.{shard}',
    publishers: 'anyone allowed to ask; request/reply over core NATS',
    readers: "the shard's coordinator, which answers with query-reply",
    carries: ['query-request'],
    single: true,
    use: 'send',
  },
};

const PARAMETERS: Readonly<Record<string, JsonSchema>> = {
  pattern: { enum: [...PATTERNS] },
  phase: { enum: [...PHASES] },
  participant: { description: `Service role, ${PARTICIPANT_PATTERN.source}` },
  sender: { description: `Service role of the sender, ${PARTICIPANT_PATTERN.source}` },
  shard: { description: 'FNV-1a-32 of the UTF-8 bytes of tx, modulo shards' },
  tx: { description: `Transaction, ${ID_PATTERN.source}` },
  kind: { enum: ['deadline', 'decided', 'enable'] },
  action: { enum: OPERATOR_INPUTS.map((name) => name.slice('operator-'.length)) },
};

/** An AsyncAPI 3.0 document of the wire, as a client or participant sees it. */
export function asyncApi(): JsonSchema {
  const families = Object.entries(FAMILIES);
  const replyChannel = { address: null, messages: { 'query-reply': reference('messages', 'query-reply') } };
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Phasor wire protocol',
      version: '1.0.0',
      description: `Every body is a JSON array of 1 to ${MAX_ENVELOPES} envelopes, at most ${MAX_BODY_BYTES} bytes.`,
    },
    defaultContentType: 'application/json',
    channels: {
      ...Object.fromEntries(families.map(([name, family]) => [name, channelOf(family)])),
      queryReply: replyChannel,
    },
    operations: Object.fromEntries(
      families.flatMap(([name, family]) =>
        family.use === undefined ? [] : [[`${family.use}-${name}`, operationOf(name, family.use)]],
      ),
    ),
    components: { messages: messages(), schemas: embedded() },
  };
}

const reference = (part: 'schemas' | 'messages', name: string): JsonSchema => ({
  $ref: `#/components/${part}/${name}`,
});

function channelOf(family: Family): JsonSchema {
  const names = [...family.address.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '');
  return {
    address: family.address,
    description: `Published by ${family.publishers}. Read by ${family.readers}.`,
    'x-publishers': family.publishers,
    'x-readers': family.readers,
    ...(names.length === 0
      ? {}
      : { parameters: Object.fromEntries(names.map((name) => [name, PARAMETERS[name]])) }),
    messages: Object.fromEntries(family.carries.map((name) => [name, reference('messages', name)])),
  };
}

function operationOf(channel: string, action: 'send' | 'receive'): JsonSchema {
  const operation = { action, channel: { $ref: `#/channels/${channel}` } };
  return channel === 'query'
    ? { ...operation, reply: { channel: { $ref: '#/channels/queryReply' } } }
    : operation;
}

/** AsyncAPI names the dialect itself (draft 7 is its default). */
function embedded(): JsonSchema {
  return Object.fromEntries(
    Object.entries(jsonSchemas()).map(([name, { $schema: _, ...schema }]) => [name, schema]),
  );
}

function messages(): JsonSchema {
  const single = new Set<SchemaName>(['query-reply']);
  for (const family of Object.values(FAMILIES)) {
    if (family.single === true) family.carries.forEach((name) => single.add(name));
  }
  const entries = SCHEMA_NAMES.filter((name) => name !== 'plan').map((name) => {
    const one = reference('schemas', name);
    const payload = single.has(name)
      ? one
      : { type: 'array', minItems: 1, maxItems: MAX_ENVELOPES, items: one };
    return [name, { name, contentType: 'application/json', payload }];
  });
  return Object.fromEntries(entries) as JsonSchema;
}
