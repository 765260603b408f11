/** What a handler may answer, and how it becomes a reply: a handler can never make a worker send nonsense. */
import { jsonProblem, utf8Length, type Json } from '../kernel/json.ts';
import { MAX_CODE_CHARS, MAX_DURATION_MS, MAX_MESSAGE_CHARS, MAX_OUTPUT_BYTES } from '../protocol/limits.ts';
import type { Reply } from '../reliability/barrier.ts';

/** Made by `done`, `readOnly`, `refused`, `retry` and `heuristic`. */
export type Answer =
  | { readonly answer: 'done'; readonly output?: Json; readonly expiresAtMs?: number }
  | { readonly answer: 'read-only' }
  | { readonly answer: 'refused'; readonly code: string; readonly message?: string }
  | {
      readonly answer: 'retry';
      readonly code?: string;
      readonly message?: string;
      readonly afterMs?: number;
    }
  | { readonly answer: 'heuristic'; readonly result: 'committed' | 'aborted' };

/**
 * A yes. Returning nothing from a handler means the same.
 *
 * @param output JSON, at most 16 KiB encoded, integers within 2^53 (send larger ones as strings). Later steps may
 *   refer to it, and later phases of the step get it. An output outside these bounds is dropped with a warning: the
 *   effect has happened, so the report is still `done`, with code `output-dropped`.
 * @param options.expiresAtMs of a reservation (3PS): when it ends by itself, in server time (`call.serverTimeMs` plus
 *   its life). A run that has not executed by then turns back. A value that is no such time is dropped with a warning.
 */
export const done = (output?: Json, options: { readonly expiresAtMs?: number } = {}): Answer => ({
  answer: 'done',
  ...(output === undefined ? {} : { output }),
  ...options,
});

/** A yes that changed nothing: 2PC sends this step neither commit nor abort. */
export const readOnly = (): Answer => ({ answer: 'read-only' });

/**
 * A no: this execution left nothing behind.
 *
 * @param code for programs, at most 64 characters.
 * @param message for people, at most 1,024 characters.
 */
export const refused = (code: string, message?: string): Answer => ({
  answer: 'refused',
  code,
  ...(message === undefined ? {} : { message }),
});

/**
 * Not now: this execution left nothing behind, the plan's policy says when to try again.
 *
 * @param options.afterMs earliest useful moment, from now; bounded by the policy.
 */
export const retry = (
  code?: string,
  options: { readonly afterMs?: number; readonly message?: string } = {},
): Answer => ({ answer: 'retry', ...(code === undefined ? {} : { code }), ...options });

/** Decided without the coordinator: raises attention, and outcome `mixed` where it contradicts the decision. */
export const heuristic = (result: 'committed' | 'aborted'): Answer => ({ answer: 'heuristic', result });

export const thrownReply = (error: unknown): Reply => ({
  answer: 'unknown',
  code: 'handler-error',
  message: textOf(error).slice(0, MAX_MESSAGE_CHARS),
});

function textOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return 'an error that cannot be printed';
  }
}

const DONE: Reply = { answer: 'done' };

/** @param warn told about an output that could not be sent. */
export function replyOf(value: unknown, warn: (problem: string) => void): Reply {
  if (value === undefined) return DONE;
  try {
    return read(value, warn) ?? badAnswer(value);
  } catch {
    // A getter or proxy of the handler's threw.
    return badAnswer(undefined);
  }
}

const badAnswer = (value: unknown): Reply => ({
  answer: 'unknown',
  code: 'bad-answer',
  message: `the handler returned ${value === null ? 'null' : typeof value} that is none of the answers`,
});

function read(value: unknown, warn: (problem: string) => void): Reply | undefined {
  if (typeof value !== 'object' || value === null || !('answer' in value)) return undefined;
  const fields: Readonly<Record<string, unknown>> = { ...value };
  switch (fields['answer']) {
    case 'done':
      return { ...doneReply(fields['output'], warn), ...expiry(fields['expiresAtMs'], warn) };
    case 'read-only':
      return { answer: 'read-only' };
    case 'refused':
      return { answer: 'refused', ...reason(fields, 'refused') };
    case 'retry':
      return { answer: 'retry', ...reason(fields, 'retry'), ...retryAfter(fields['afterMs']) };
    case 'heuristic': {
      const result = fields['result'];
      return result === 'committed' || result === 'aborted' ? { answer: 'heuristic', result } : undefined;
    }
    default:
      return undefined;
  }
}

function doneReply(output: unknown, warn: (problem: string) => void): Reply {
  if (output === undefined) return DONE;
  const problem = outputProblem(output);
  if (problem === undefined) return { answer: 'done', output: output as Json };
  warn(problem);
  return { answer: 'done', code: 'output-dropped', message: `the output ${problem}` };
}

function expiry(expiresAtMs: unknown, warn: (problem: string) => void): { readonly expiresAt?: number } {
  if (expiresAtMs === undefined) return {};
  if (Number.isSafeInteger(expiresAtMs) && (expiresAtMs as number) >= 0)
    return { expiresAt: expiresAtMs as number };
  warn('expiresAtMs must be whole milliseconds since the epoch');
  return {};
}

function outputProblem(output: unknown): string | undefined {
  const problem = jsonProblem(output);
  if (problem !== undefined) return problem;
  const bytes = utf8Length(JSON.stringify(output));
  return bytes > MAX_OUTPUT_BYTES ? `has ${bytes} bytes, more than ${MAX_OUTPUT_BYTES}` : undefined;
}

function reason(
  fields: Readonly<Record<string, unknown>>,
  fallback: string,
): { readonly code: string; readonly message?: string } {
  const { code, message } = fields;
  return {
    code: typeof code === 'string' && code !== '' ? code.slice(0, MAX_CODE_CHARS) : fallback,
    ...(typeof message === 'string' ? { message: message.slice(0, MAX_MESSAGE_CHARS) } : {}),
  };
}

function retryAfter(afterMs: unknown): { readonly retryAfter?: number } {
  if (typeof afterMs !== 'number' || !Number.isFinite(afterMs)) return {};
  return { retryAfter: Math.min(Math.max(0, Math.ceil(afterMs)), MAX_DURATION_MS) };
}
