import type { Rupees } from '../bank/account.ts';

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Colour = keyof typeof CODES;

/** What people read on stdout; nothing at all for `--json`. Colours on a terminal only. */
export class Narrator {
  readonly #isSilent: boolean;
  readonly #hasColours: boolean;

  constructor(options: { readonly silent: boolean }) {
    this.#isSilent = options.silent;
    this.#hasColours = process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '';
  }

  paint(text: string, colour: Colour): string {
    return this.#hasColours ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;
  }

  title(text: string): void {
    this.line();
    this.line(this.paint(text, 'bold'));
  }

  note(text: string): void {
    this.line(`  ${text}`);
  }

  aside(text: string): void {
    this.line(this.paint(`  ${text}`, 'dim'));
  }

  verdict(isGood: boolean, text: string): void {
    this.line(`  ${isGood ? this.paint('✓', 'green') : this.paint('✗', 'red')} ${text}`);
  }

  line(text = ''): void {
    if (!this.#isSilent) process.stdout.write(`${text}\n`);
  }
}

/** `₹10,00,000`: grouped as in India. */
export function rupees(amount: Rupees): string {
  const digits = String(Math.abs(amount));
  const grouped = digits.replace(/(\d)(?=(\d\d)+\d$)/g, '$1,');
  return `${amount < 0 ? '-' : ''}₹${grouped}`;
}

export const count = (value: number): string => value.toLocaleString('en-US');
