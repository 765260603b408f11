/** Results on stdout. What a reader no longer wants (`| head`) ends the command quietly. */
export class Output {
  readonly #onBroken: () => void;
  #broken = false;

  constructor(onBroken: () => void) {
    this.#onBroken = onBroken;
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      this.#break();
    });
    // Logs and progress may be cut off as well; neither is a reason to fail.
    process.stderr.on('error', () => undefined);
  }

  /** The reader of stdout has gone. */
  get broken(): boolean {
    return this.#broken;
  }

  /** Resolves when there is room for more. */
  async line(text: string): Promise<void> {
    if (this.#broken) return;
    await new Promise<void>((resolve) => {
      process.stdout.write(`${text}\n`, () => resolve());
    });
  }

  json(value: unknown): Promise<void> {
    return this.line(JSON.stringify(value));
  }

  /** Left-aligned columns under a header, the last one as wide as it is; columns of numbers to the right. */
  async table(header: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
    for (const line of tableLines(header, rows)) await this.line(line);
  }

  #break(): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#onBroken();
  }
}

export function tableLines(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): readonly string[] {
  const columns = header.map((title, column) => {
    const cells = rows.map((row) => row[column] ?? '');
    const width = Math.max(title.length, ...cells.map((cell) => cell.length));
    const numeric = cells.length > 0 && cells.every((cell) => /^(?:-|[\d.,]+(?: [KMGT]?i?B)?)$/.test(cell));
    return { width, numeric };
  });
  return [header, ...rows].map((row) =>
    columns
      .map(({ width, numeric }, column) => {
        const cell = row[column] ?? '';
        return numeric ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `1.5 GiB`; `-` for no limit. */
export function formatBytes(bytes: number): string {
  if (bytes < 0) return '-';
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < UNITS.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit] ?? 'B'}`;
}

/** Text of others on a terminal: control characters could move the cursor or hide what follows. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (char) =>
    char === '\n' ? '\\n' : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
