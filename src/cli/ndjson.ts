/** Lines of a byte stream of any length, in bounded memory; a bad line never stops the others. */

/** More than the largest plan with every character escaped. */
export const MAX_LINE_BYTES = 2_097_152;

export type Line = { readonly number: number } & (
  { readonly ok: true; readonly text: string } | { readonly ok: false; readonly problem: string }
);

const NEWLINE = 0x0a;
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Numbered from 1; empty lines are counted and left out. */
export async function* readLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  let number = 0;
  let parts: Uint8Array[] = [];
  let bytes = 0;
  const take = (): Line | undefined => {
    number += 1;
    const line = bytes > MAX_LINE_BYTES ? tooLong(number) : decoded(number, parts);
    parts = [];
    bytes = 0;
    return line.ok && line.text.trim() === '' ? undefined : line;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      keep(chunk.subarray(start, end));
      start = end + 1;
      const line = take();
      if (line !== undefined) yield line;
    }
    keep(chunk.subarray(start));
  }
  if (bytes > 0) {
    const line = take();
    if (line !== undefined) yield line;
  }

  function keep(part: Uint8Array): void {
    bytes += part.length;
    // What is too long is only counted.
    if (bytes <= MAX_LINE_BYTES) parts.push(part);
    else parts = [];
  }
}

const tooLong = (number: number): Line => ({
  number,
  ok: false,
  problem: `is longer than ${MAX_LINE_BYTES} bytes`,
});

function decoded(number: number, parts: readonly Uint8Array[]): Line {
  try {
    return { number, ok: true, text: decoder.decode(Buffer.concat(parts)) };
  } catch {
    return { number, ok: false, problem: 'is not UTF-8' };
  }
}
