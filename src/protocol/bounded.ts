/** Texts cut to the caps of the envelopes that carry them. */
import { MAX_CODE_CHARS, MAX_MESSAGE_CHARS } from './limits.ts';

const CUT = '…';
/** UTF-16 code units of someone else's text that a message quotes. */
const MAX_QUOTED_CHARS = 200;

/** At most `maxChars` UTF-16 code units, as schemas count them; ends in an ellipsis if cut, never inside a character. */
export function cutText(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const end = maxChars - CUT.length;
  const splits = isHighSurrogate(text.charCodeAt(end - 1));
  return text.slice(0, splits ? end - 1 : end) + CUT;
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;

/** Someone else's text inside a message, without the quotation marks. */
export const quoted = (text: string): string => cutText(text, MAX_QUOTED_CHARS);

export const boundedCode = (code: string): string => cutText(code, MAX_CODE_CHARS);

interface Why {
  readonly code?: string;
  readonly message?: string;
}

/** Code and message within the caps of every envelope that may carry them. */
export function boundedWhy<T extends Why>(why: T): T {
  const { code, message } = why;
  const fits = (code?.length ?? 0) <= MAX_CODE_CHARS && (message?.length ?? 0) <= MAX_MESSAGE_CHARS;
  if (fits) return why;
  return {
    ...why,
    ...(code === undefined ? {} : { code: boundedCode(code) }),
    ...(message === undefined ? {} : { message: cutText(message, MAX_MESSAGE_CHARS) }),
  };
}
