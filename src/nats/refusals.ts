import { PhasorError } from '../errors/phasor-error.ts';
import type { ErrorDetails } from '../errors/phasor-error.ts';
import type { ApiError } from './pub-ack.ts';

export const NO_MESSAGE = 10037;
export const CONSUMER_NOT_FOUND = 10014;
export const CONSUMER_NAME_TAKEN: readonly number[] = [10013, 10105, 10148];
export const STREAM_NAME_TAKEN = 10058;
/** A guard did not hold; on replicated streams the second also means "another write is under way". */
export const WRONG_LAST_SEQUENCE: readonly number[] = [10071, 10164];
const STREAM_NOT_FOUND = 10059;
const NOT_ENABLED: readonly number[] = [10039, 10076];
/**
 * Nothing was stored, and the same call may succeed a moment later: JetStream without a leader, short of resources
 * or overrun by requests, or a message with the same id still being stored.
 */
const TRANSIENT: readonly number[] = [10008, 10023, 10158, 10163, 10167];

export interface Refused {
  readonly what: string;
  readonly details: ErrorDetails;
  /** For everything that has no code of its own. */
  readonly otherwise: 'PUBLISH_REFUSED' | 'REQUEST_REFUSED';
}

/** A definite no of the server: the message is not stored, the request not carried out. */
export function refusal(error: ApiError, { what, details, otherwise }: Refused): PhasorError {
  const known = { ...details, errCode: error.errCode };
  const text = `${what}: ${error.description} (${error.errCode})`;
  if (error.errCode === STREAM_NOT_FOUND) return new PhasorError('STREAM_MISSING', text, known);
  if (NOT_ENABLED.includes(error.errCode)) return new PhasorError('JETSTREAM_UNAVAILABLE', text, known);
  if (TRANSIENT.includes(error.errCode)) return new PhasorError('CONNECTION_FAILED', text, known);
  return new PhasorError(otherwise, text, known);
}
