/**
 * Schema checks at every edge. What passes by the thousand is accepted by hand-written guards (hot-guards.ts); for
 * everything else, and for every refusal, the zod schemas decide.
 */
import type { InputKind, OperatorAction } from '../kernel/vocabulary.ts';
import * as envelopes from './envelopes.ts';
import type {
  BeginEnvelope,
  CommandEnvelope,
  DecidedEnvelope,
  OutcomeEnvelope,
  PhaseResponse,
  ReportEnvelope,
} from './envelopes.ts';
import { isCommand, isDecided, isOutcome, isPlainBegin, isReport } from './hot-guards.ts';
import { problemText, schemaProblems } from './schema-problems.ts';

export type Parsed<T> =
  { readonly ok: true; readonly envelope: T } | { readonly ok: false; readonly problem: string };

export interface InputSource {
  readonly kind: InputKind;
  readonly sender: 'participant' | 'coordinator' | 'operator';
}

/** Any envelope that can stand in a log. */
export type InputEnvelope =
  | BeginEnvelope
  | ReportEnvelope
  | DecidedEnvelope
  | envelopes.DeadlineEnvelope
  | envelopes.SignalEnvelope
  | envelopes.CancelEnvelope
  | envelopes.EnableEnvelope
  | envelopes.OperatorEnvelopes[OperatorAction];

const accepted = <T>(value: unknown): Parsed<T> => ({ ok: true, envelope: value as T });
const refused = (problem: string): { readonly ok: false; readonly problem: string } => ({
  ok: false,
  problem,
});

type Schema = (typeof SCHEMAS)[keyof typeof SCHEMAS] | (typeof OPERATOR_SCHEMAS)[OperatorAction];
const SCHEMAS = {
  begin: envelopes.beginSchema,
  command: envelopes.commandSchema,
  report: envelopes.reportSchema,
  decided: envelopes.decidedSchema,
  deadline: envelopes.deadlineInputSchema,
  signal: envelopes.signalSchema,
  cancel: envelopes.cancelSchema,
  enable: envelopes.enableSchema,
  response: envelopes.phaseResponseSchema,
  outcome: envelopes.outcomeSchema,
} as const;
const OPERATOR_SCHEMAS = envelopes.operatorSchemas;

function check<T>(schema: Schema, value: unknown): Parsed<T> {
  const result = schema.safeParse(value);
  if (result.success) return accepted(value);
  const [problem] = schemaProblems(result.error, value);
  return refused(problem === undefined ? 'does not follow its schema' : problemText(problem));
}

/**
 * Checks a command as a participant received it.
 *
 * @param bodyBytes Bytes of the body it came in: sizes that cannot exceed a cap are not measured. Default: unknown.
 */
export function parseCommand(value: unknown, bodyBytes = Infinity): Parsed<CommandEnvelope> {
  return isCommand(value, bodyBytes) ? accepted(value) : check(SCHEMAS.command, value);
}

export function parseReport(value: unknown, bodyBytes = Infinity): Parsed<ReportEnvelope> {
  return isReport(value, bodyBytes) ? accepted(value) : check(SCHEMAS.report, value);
}

/** Checks what a participant tells whoever waits: a report that also names its pattern. */
export function parsePhaseResponse(value: unknown): Parsed<PhaseResponse> {
  return check(SCHEMAS.response, value);
}

/** Checks what a coordinator tells whoever waits. */
export function parseOutcome(value: unknown, bodyBytes = Infinity): Parsed<OutcomeEnvelope> {
  return isOutcome(value, bodyBytes) ? accepted(value) : check(SCHEMAS.outcome, value);
}

export function parseDecided(value: unknown): Parsed<DecidedEnvelope> {
  return isDecided(value) ? accepted(value) : check(SCHEMAS.decided, value);
}

export function parseBegin(value: unknown, bodyBytes = Infinity): Parsed<BeginEnvelope> {
  return isPlainBegin(value, bodyBytes) ? accepted(value) : check(SCHEMAS.begin, value);
}

/** Checks one input of a log by what its subject says it is; the value itself is returned, not a copy. */
export function parseInput(source: InputSource, value: unknown, bodyBytes = Infinity): Parsed<InputEnvelope> {
  const { kind, sender } = source;
  if (sender === 'operator') {
    return isOperatorAction(kind) ? check(OPERATOR_SCHEMAS[kind], value) : nobody(source);
  }
  switch (kind) {
    case 'begin':
      return parseBegin(value, bodyBytes);
    case 'report':
      return parseReport(value, bodyBytes);
    case 'cancel':
      return check(SCHEMAS.cancel, value);
    case 'signal':
      return sender === 'participant' ? check(SCHEMAS.signal, value) : nobody(source);
    case 'deadline':
    case 'enable':
      return sender === 'coordinator' ? check(SCHEMAS[kind], value) : nobody(source);
    case 'decided':
      return sender === 'coordinator' ? parseDecided(value) : nobody(source);
    default:
      return nobody(source);
  }
}

const isOperatorAction = (kind: InputKind): kind is OperatorAction => Object.hasOwn(OPERATOR_SCHEMAS, kind);
const nobody = ({ kind, sender }: InputSource): Parsed<never> =>
  refused(`${kind} cannot come from a ${sender}`);
