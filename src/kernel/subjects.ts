/**
 * The one place that builds and reads subjects (DESIGN §2). Tokens are validated where they enter the process;
 * `token` is the last line: NATS accepts publishes to wildcards as literal subjects, and a dot shifts tokens.
 */
import { invariant } from './assert.ts';
import { ID_PATTERN, isParticipant, isSender } from './ids.ts';
import {
  COORDINATOR_KINDS,
  OPERATOR_ACTIONS,
  PATTERNS,
  PHASES,
  SENDER_KINDS,
  type InputKind,
  type Pattern,
  type Phase,
} from './vocabulary.ts';

declare const subjectBrand: unique symbol;
export type Subject = string & { readonly [subjectBrand]: true };

function token(value: string): string {
  invariant(ID_PATTERN.test(value), `not a subject token: ${JSON.stringify(value)}`);
  return value;
}
const build = (...tokens: readonly (string | number)[]): Subject => tokens.join('.') as Subject;

const STREAM_NAMES: Readonly<Record<Pattern, string>> = {
  '2pc': 'DTX_2PC_STREAM',
  '3pc': 'DTX_3PC_STREAM',
  saga: 'DTX_SAGA_STREAM',
  '2ps': 'DTX_2PS_STREAM',
  '3ps': 'DTX_3PS_STREAM',
  eventual: 'DTX_05PS_STREAM',
};
export const DEAD_LETTER_STREAM = 'DTX_DEAD_LETTER_STREAM';
export const TIMER_STREAM = 'DTX_TIMER_STREAM';
export const streamOf = (pattern: Pattern): string => STREAM_NAMES[pattern];

export const subjects = {
  /** Where the coordinator commands a participant. */
  command: (pattern: Pattern, participant: string, phase: Phase): Subject =>
    build(pattern, token(participant), phase),
  /** Where anybody appends an input for one shard's coordinator. */
  input: (pattern: Pattern, sender: string, kind: InputKind, shard: number): Subject =>
    build(pattern, token(sender), kind, shard),
  /** Every input of one shard, from any sender: four tokens, so that commands (three) never match. */
  shardInputs: (pattern: Pattern, shard: number): Subject => build(pattern, '*', '*', shard),
  /** Every input of every shard of a pattern. */
  allInputs: (pattern: Pattern): Subject => build(pattern, '*', '*', '*'),
  /** Every command of a pattern. */
  allCommands: (pattern: Pattern): Subject => build(pattern, '*', '*'),
  response: (tx: string, participant: string, phase: Phase | 'outcome'): Subject =>
    build('response', token(tx), token(participant), phase),
  /** Where the caller of a transaction hears how it ended. */
  outcome: (tx: string): Subject => `response.${token(tx)}.coordinator.outcome` as Subject,
  responsesOf: (tx: string): Subject => build('response', token(tx), '>'),
  dead: (pattern: Pattern, participant: string): Subject => build('dead', pattern, token(participant)),
  timer: (pattern: Pattern, shard: number, kind: 'at' | 'due', id: string): Subject =>
    build('timer', pattern, shard, kind, token(id)),
  query: (pattern: Pattern, shard: number): Subject => build('query', pattern, shard),
} as const;

export interface InputAddress {
  readonly pattern: Pattern;
  readonly sender: string;
  readonly kind: InputKind;
  readonly shard: number;
}

const patterns: ReadonlySet<string> = new Set(PATTERNS);
const phases: ReadonlySet<string> = new Set(PHASES);
const senderKinds: ReadonlySet<string> = new Set(SENDER_KINDS);
const coordinatorKinds: ReadonlySet<string> = new Set(COORDINATOR_KINDS);
const operatorKinds: ReadonlySet<string> = new Set(OPERATOR_ACTIONS);

/** Reads an input's subject; undefined when nobody may publish there (Rule 8: the subject names the sender). */
export function parseInputSubject(subject: string): InputAddress | undefined {
  const [pattern, sender, kind, shard, ...rest] = subject.split('.');
  if (pattern === undefined || sender === undefined || kind === undefined || shard === undefined)
    return undefined;
  if (rest.length > 0 || !patterns.has(pattern) || !/^(0|[1-9]\d{0,4})$/.test(shard)) return undefined;
  if (!isSender(sender)) return undefined;
  const kinds =
    sender === 'coordinator' ? coordinatorKinds : sender === 'operator' ? operatorKinds : senderKinds;
  if (!kinds.has(kind)) return undefined;
  return { pattern: pattern as Pattern, sender, kind: kind as InputKind, shard: Number(shard) };
}

export interface CommandAddress {
  readonly pattern: Pattern;
  readonly participant: string;
  readonly phase: Phase;
}

export function parseCommandSubject(subject: string): CommandAddress | undefined {
  const [pattern, participant, phase, ...rest] = subject.split('.');
  if (pattern === undefined || participant === undefined || phase === undefined || rest.length > 0)
    return undefined;
  if (!patterns.has(pattern) || !isParticipant(participant) || !phases.has(phase)) return undefined;
  return { pattern: pattern as Pattern, participant, phase: phase as Phase };
}

export interface ResponseAddress {
  readonly tx: string;
  readonly participant: string;
  readonly phase: Phase | 'outcome';
}

export function parseResponseSubject(subject: string): ResponseAddress | undefined {
  const [root, tx, participant, phase, ...rest] = subject.split('.');
  if (root !== 'response' || tx === undefined || participant === undefined || phase === undefined)
    return undefined;
  if (rest.length > 0 || (phase !== 'outcome' && !phases.has(phase))) return undefined;
  return { tx, participant, phase: phase as Phase | 'outcome' };
}

/** Of a response heard on `responsesOf`: whether a coordinator tells an outcome. */
export const isOutcomeSubject = (subject: string): boolean => subject.endsWith('.coordinator.outcome');
