/** One row per code: the single source for retry policy, CLI exit code, hint and docs/errors.md. Sorted by code. */
export const ERRORS = {
  BARRIER_RECORD_INVALID: {
    retryable: false,
    exitCode: 65,
    hint: 'something else wrote to the barrier bucket: remove that record once the step is known to be settled',
  },
  CLOSED: { retryable: false, exitCode: 70, hint: 'this client, worker or coordinator has been closed' },
  CONFIG_INVALID: { retryable: false, exitCode: 78, hint: 'correct the named option' },
  CONNECTION_FAILED: {
    retryable: true,
    exitCode: 69,
    hint: 'is nats-server running and reachable at this URL?',
  },
  ENVELOPE_INVALID: { retryable: false, exitCode: 65, hint: 'the envelope does not follow docs/wire.md' },
  FOLD_FAILED: { retryable: false, exitCode: 70, hint: 'a bug: keep the stream and report it' },
  ID_INVALID: { retryable: false, exitCode: 65, hint: 'ids match [A-Za-z0-9_-]{1,64}' },
  INPUT_UNREADABLE: { retryable: false, exitCode: 66, hint: 'name a readable file, or - for stdin' },
  JETSTREAM_UNAVAILABLE: { retryable: false, exitCode: 69, hint: 'start nats-server with JetStream (-js)' },
  LOG_DIVERGED: {
    retryable: false,
    exitCode: 74,
    hint: 'the stream no longer holds what was read from it: restore it or append operator.recover',
  },
  NATS_SERVER_NOT_FOUND: {
    retryable: false,
    exitCode: 69,
    hint: 'set NATS_URL or PHASOR_NATS_SERVER, or install nats-server',
  },
  NATS_SERVER_START_FAILED: { retryable: true, exitCode: 69, hint: 'see the tail of its log' },
  OUTCOME_TIMEOUT: {
    retryable: true,
    exitCode: 75,
    hint: 'the transaction goes on; ask again with describe()',
  },
  PAYLOAD_TOO_LARGE: { retryable: false, exitCode: 65, hint: 'pass large data by reference' },
  PLAN_INVALID: { retryable: false, exitCode: 65, hint: 'correct the named field of the plan' },
  PUBLISH_REFUSED: { retryable: false, exitCode: 74, hint: 'the stream refused the message' },
  REQUEST_REFUSED: { retryable: false, exitCode: 74, hint: 'the server refused the JetStream request' },
  SERVER_TOO_OLD: { retryable: false, exitCode: 69, hint: 'Phasor needs nats-server 2.12 or newer' },
  STREAM_APPLY_FAILED: {
    retryable: false,
    exitCode: 73,
    hint: 'nats-server refused to make or change the stream',
  },
  STREAM_CHANGE_REFUSED: { retryable: false, exitCode: 73, hint: 'the change would lose data or break runs' },
  STREAM_MISMATCH: { retryable: false, exitCode: 78, hint: 'the stream was made with other settings' },
  STREAM_MISSING: { retryable: false, exitCode: 69, hint: 'run `phasor streams apply` once' },
  TIMEOUT: {
    retryable: true,
    exitCode: 75,
    hint: 'no answer in time; the operation may or may not have happened',
  },
  TOO_MANY_SUBSCRIPTIONS: {
    retryable: true,
    exitCode: 75,
    hint: 'await some outcomes first, or raise the bound',
  },
  TX_NOT_FOUND: { retryable: false, exitCode: 66, hint: '`phasor tx list` shows what there is' },
  VERSION_UNKNOWN: {
    retryable: false,
    exitCode: 78,
    hint: 'a newer machine version was enabled: upgrade this coordinator',
  },
} as const satisfies Readonly<Record<string, ErrorRow>>;

export interface ErrorRow {
  /** Whether the same call may succeed later without change. */
  readonly retryable: boolean;
  /** Exit code of the CLI (sysexits.h). */
  readonly exitCode: number;
  readonly hint: string;
}

export type ErrorCode = keyof typeof ERRORS;
