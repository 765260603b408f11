/** Reading what callers pass: JavaScript checks nothing. */
import { PhasorError } from '../errors/phasor-error.ts';

/**
 * A duration, or its default where it was left out. Infinity is one.
 *
 * @throws {PhasorError} `CONFIG_INVALID`: not a number, or below 0.
 */
export function durationMs(value: unknown, field: string, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value === 'number' && value >= 0) return value;
  throw invalidOption(field, 'must be a number of milliseconds, 0 or more');
}

/** @throws {PhasorError} `CONFIG_INVALID`: not a whole number from 1. */
export function countOf(value: unknown, field: string, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value;
  throw invalidOption(field, 'must be a whole number, 1 or more');
}

/** @throws {PhasorError} `CONFIG_INVALID`: nothing that has fields. */
export function assertOptions(options: unknown, field: string, problem: string): asserts options is object {
  if (typeof options !== 'object' || options === null) throw invalidOption(field, problem);
}

export const invalidOption = (field: string, problem: string): PhasorError =>
  new PhasorError('CONFIG_INVALID', `${field} ${problem}`, { field });
