/** The wire protocol: envelopes, plans, bodies, subjects and generated documents. Pure; see docs/wire.md. */
export { digestHex, fnv1a32, shardOf } from '../kernel/hash.ts';
export { isId, isParticipant, isSender, ulidTimeMs } from '../kernel/ids.ts';
export { canonicalJson, jsonProblem, lookupPointer, utf8Length, type Json } from '../kernel/json.ts';
export {
  comparePositions,
  parsePosition,
  parseRun,
  position,
  runId,
  type Position,
  type RunId,
} from '../kernel/position.ts';
export {
  parseCommandSubject,
  parseInputSubject,
  streamOf,
  subjects,
  type CommandAddress,
  type InputAddress,
  type Subject,
} from '../kernel/subjects.ts';
export {
  ANSWERS,
  CLOSE_PHASES,
  OPEN_PHASES,
  OPERATOR_ACTIONS,
  PATTERNS,
  PHASES,
  STATUSES,
  STEP_KINDS,
  UNDO_PHASES,
  type Answer,
  type DeadlineKind,
  type Decision,
  type InputKind,
  type OperatorAction,
  type Pattern,
  type Phase,
  type Status,
  type StepKind,
  type Verdict,
} from '../kernel/vocabulary.ts';
export { decodeBody, encodeEnvelope, joinBody, type Body } from './codec.ts';
export type { Bounds, Compiled, CompiledPlan, CompiledStep, PlanProblem, Policy } from './compiled-plan.ts';
export { deadLetterSchema, type DeadLetterBody } from './dead-letter.ts';
export {
  beginSchema,
  cancelSchema,
  commandSchema,
  deadlineInputSchema,
  decidedSchema,
  enableSchema,
  operatorSchemas,
  outcomeSchema,
  phaseResponseSchema,
  planSchema,
  reportSchema,
  signalSchema,
  type BeginEnvelope,
  type CancelEnvelope,
  type Cause,
  type CommandEnvelope,
  type Deadline,
  type DeadlineEnvelope,
  type DecidedEnvelope,
  type EnableEnvelope,
  type OperatorEnvelopes,
  type OutcomeEnvelope,
  type PhaseResponse,
  type Plan,
  type PlanStep,
  type ReportEnvelope,
  type RetryPolicy,
  type SignalEnvelope,
} from './envelopes.ts';
export {
  parseBegin,
  parseCommand,
  parseDecided,
  parseInput,
  parsePhaseResponse,
  parseReport,
  type InputEnvelope,
  type InputSource,
  type Parsed,
} from './guards.ts';
export {
  ENVELOPE_VERSION,
  MAX_BODY_BYTES,
  MAX_ENVELOPE_BYTES,
  MAX_ENVELOPES,
  MAX_INPUT_BYTES,
  MAX_OUTPUT_BYTES,
  MAX_OUTPUTS_BYTES,
  MAX_PLAN_BYTES,
  MAX_STEPS,
} from './limits.ts';
export { compilePlan, planProblems } from './plan.ts';
export {
  ABORT_POLICY,
  COMMIT_POLICY,
  DEFAULT_DEADLINES,
  MUST_FINISH_POLICY,
  OPEN_POLICY,
  PATTERN_PHASES,
} from './policies.ts';
export {
  queryReplySchema,
  queryRequestSchema,
  type FoundRun,
  type QueryReply,
  type QueryRequest,
} from './query.ts';
export { problemText, schemaProblems } from './schema-problems.ts';
export { asyncApi, jsonSchemas, SCHEMA_NAMES, type JsonSchema, type SchemaName } from './schemas.ts';
