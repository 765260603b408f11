/** A position is (stream sequence, index in the message); on the wire the string `"seq.index"`. */
export type Position = string;
/** A run is the position and stream time (ms) of its begin; on the wire `"seq.index.ms"`. */
export type RunId = string;

// 15 digits stay below 2^53: every position on the wire is an exact number here.
export const POSITION_PATTERN = /^(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,2})$/;
export const RUN_PATTERN = /^(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,14})$/;

export const position = (seq: number, index: number): Position => `${seq}.${index}`;
export const runId = (at: Position, timeMs: number): RunId => `${at}.${timeMs}`;

export function parsePosition(at: Position): { readonly seq: number; readonly index: number } {
  const dot = at.indexOf('.');
  return { seq: Number(at.slice(0, dot)), index: Number(at.slice(dot + 1)) };
}

/** Position and stream time of the begin that a run is named by. */
export function parseRun(run: RunId): { readonly at: Position; readonly timeMs: number } {
  const dot = run.lastIndexOf('.');
  return { at: run.slice(0, dot), timeMs: Number(run.slice(dot + 1)) };
}

/** Negative when `a` comes first in the stream. */
export function comparePositions(a: Position, b: Position): number {
  const left = parsePosition(a);
  const right = parsePosition(b);
  return left.seq - right.seq || left.index - right.index;
}
