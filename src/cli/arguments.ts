/** Reading option values; what cannot be read is a usage error that names the option. */
import { InvalidArgumentError } from 'commander';

import { parseDurationMs } from '../kernel/duration.ts';
import { isId, isParticipant } from '../kernel/ids.ts';
import { PATTERNS, type Pattern } from '../kernel/vocabulary.ts';

const known: ReadonlySet<string> = new Set(PATTERNS);

/** For options that may be given several times. */
export const patterns = (text: string, before: readonly Pattern[] = []): readonly Pattern[] => {
  if (!known.has(text)) throw new InvalidArgumentError(`Patterns are ${PATTERNS.join(', ')}.`);
  return [...before, text as Pattern];
};

export const participants = (text: string, before: readonly string[] = []): readonly string[] => {
  if (!isParticipant(text)) throw new InvalidArgumentError('Participants match [a-z][a-z0-9-]{0,31}.');
  return [...before, text];
};

export function sender(text: string): string {
  if (!isParticipant(text)) throw new InvalidArgumentError('Services match [a-z][a-z0-9-]{0,31}.');
  return text;
}

export function txId(text: string): string {
  if (!isId(text)) throw new InvalidArgumentError('Ids match [A-Za-z0-9_-]{1,64}.');
  return text;
}

export function signalName(name: string): string {
  if (!isId(name)) throw new InvalidArgumentError('Names of signals match [A-Za-z0-9_-]{1,64}.');
  return name;
}

/** What a person writes: not only blanks, at most so many characters. */
export const text =
  (most: number) =>
  (given: string): string => {
    const trimmed = given.trim();
    if (trimmed !== '' && trimmed.length <= most) return trimmed;
    throw new InvalidArgumentError(`Write 1 to ${most} characters, not only blanks.`);
  };

export const integer =
  (least: number, most: number) =>
  (text: string): number => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`It must be an integer from ${least} to ${most}.`);
  };

const UNITS: Readonly<Record<string, number>> = {
  ...{ b: 1, k: 2 ** 10, kib: 2 ** 10, m: 2 ** 20, mib: 2 ** 20, g: 2 ** 30, gib: 2 ** 30 },
  ...{ t: 2 ** 40, tib: 2 ** 40, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 },
};

/** `2GiB`, `500MB`, `1048576`. */
export function bytes(text: string): number {
  const match = /^(\d{1,15})\s?([a-z]{0,3})$/i.exec(text);
  const unit = UNITS[(match?.[2] ?? '').toLowerCase() || 'b'];
  if (match?.[1] === undefined || unit === undefined) {
    throw new InvalidArgumentError('Write bytes as 1048576, 500MB or 2GiB.');
  }
  return Number(match[1]) * unit;
}

export function duration(text: string): number {
  const ms = parseDurationMs(text);
  if (ms !== undefined && ms > 0) return ms;
  throw new InvalidArgumentError('Write a duration as 1500ms, 30s, 5m, 24h or 7d.');
}

/** A point in time as ms since the epoch: an age (`15m`: that long ago) or a date (`2026-01-31T08:00:00Z`). */
export function since(text: string): number {
  const age = parseDurationMs(text);
  if (age !== undefined) return Date.now() - age;
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  if (Number.isFinite(at)) return at;
  throw new InvalidArgumentError('Write an age as 15m or 24h, or a time as 2026-01-31T08:00:00Z.');
}

export function label(text: string, before: readonly Label[] = []): readonly Label[] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('Write a label as key=value.');
  return [...before, { key: text.slice(0, at), value: text.slice(at + 1) }];
}

export interface Label {
  readonly key: string;
  readonly value: string;
}
