import { ERRORS, type ErrorCode } from './table.ts';

export type ErrorDetails = Readonly<
  Record<string, string | number | boolean | undefined | readonly string[]>
>;

/**
 * The one error class. `code` is stable and listed in docs/errors.md; `details` says where.
 *
 * @example
 * try { await client.begin(plan); } catch (error) {
 *   if (PhasorError.is(error, 'PLAN_INVALID')) console.error(error.details['field']);
 * }
 */
export class PhasorError extends Error {
  override readonly name = 'PhasorError';
  readonly retryable: boolean;
  readonly hint: string;
  readonly exitCode: number;

  constructor(
    readonly code: ErrorCode,
    readonly what: string,
    readonly details: ErrorDetails = {},
    options?: ErrorOptions,
  ) {
    super(`${code}: ${what}; ${ERRORS[code].hint}`, options);
    const row = ERRORS[code];
    this.retryable = row.retryable;
    this.hint = row.hint;
    this.exitCode = row.exitCode;
  }

  /** Matches by code, never by prototype: it survives two installed copies of this package. */
  static is(error: unknown, code?: ErrorCode): error is PhasorError {
    if (!(error instanceof Error) || error.name !== 'PhasorError' || !('code' in error)) return false;
    return code === undefined || error.code === code;
  }
}
