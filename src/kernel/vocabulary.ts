/** The closed lists of DESIGN §1 and §3: every enum on the wire, once. */
export const PATTERNS = ['2pc', '3pc', 'saga', '2ps', '3ps', 'eventual'] as const;
export type Pattern = (typeof PATTERNS)[number];

export const PHASES = [
  'prepare',
  'precommit',
  'commit',
  'commit-one-phase',
  'abort',
  'reserve',
  'validate',
  'verify',
  'execute',
  'compensate',
  'cancel',
  'release',
  'confirm',
] as const;
export type Phase = (typeof PHASES)[number];

/** Phases that begin work; carried by the *open* consumer. */
export const OPEN_PHASES = [
  'prepare',
  'commit-one-phase',
  'reserve',
  'validate',
  'verify',
  'execute',
] as const;
/** Phases that finish or undo work; carried by the *close* consumer, so that they never queue behind new work. */
export const CLOSE_PHASES = [
  'precommit',
  'commit',
  'abort',
  'compensate',
  'cancel',
  'release',
  'confirm',
] as const;
/** Phases that take an earlier act back. */
export const UNDO_PHASES = ['abort', 'compensate', 'cancel', 'release'] as const;

const open: ReadonlySet<string> = new Set(OPEN_PHASES);
const undo: ReadonlySet<string> = new Set(UNDO_PHASES);
export const isOpenPhase = (phase: Phase): boolean => open.has(phase);
export const isUndoPhase = (phase: Phase): boolean => undo.has(phase);

export const ANSWERS = [
  'done',
  'read-only',
  'refused',
  'retry',
  'unknown',
  'heuristic',
  'terminated',
  'conflict',
  'stale',
] as const;
export type Answer = (typeof ANSWERS)[number];

export const STEP_KINDS = ['compensatable', 'pivot', 'retriable'] as const;
export type StepKind = (typeof STEP_KINDS)[number];

export const DEADLINE_KINDS = [
  'attempt',
  'backoff',
  'phase',
  'step',
  'run',
  'start',
  'gate',
  'reservation',
] as const;
export type DeadlineKind = (typeof DEADLINE_KINDS)[number];

export const STATUSES = [
  'committed',
  'aborted',
  'completed',
  'compensated',
  'cancelled',
  'mixed',
  'killed',
  'resolved',
  'dead',
  'refused',
  'mismatch',
] as const;
/** How a run ended. */
export type Status = (typeof STATUSES)[number];

export const DECISIONS = ['commit', 'abort', 'undo'] as const;
export type Decision = (typeof DECISIONS)[number];

export const VERDICTS = ['admit', 'duplicate', 'mismatch', 'refused'] as const;
export type Verdict = (typeof VERDICTS)[number];

export const OPERATOR_ACTIONS = [
  'retry',
  'skip',
  'resolve',
  'force',
  'kill',
  'cancel',
  'signal',
  'recover',
] as const;
export type OperatorAction = (typeof OPERATOR_ACTIONS)[number];

/** Kinds that a client or participant may append. */
export const SENDER_KINDS = ['begin', 'report', 'signal', 'cancel'] as const;
/** Kinds that only a coordinator may append. */
export const COORDINATOR_KINDS = ['begin', 'report', 'cancel', 'deadline', 'decided', 'enable'] as const;
export type InputKind = (typeof SENDER_KINDS)[number] | (typeof COORDINATOR_KINDS)[number] | OperatorAction;
