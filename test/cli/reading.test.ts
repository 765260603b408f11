// Goal: what people type and pipe in is read strictly, in bounded memory, and nothing else is guessed.
// Method: the readers alone; streams cut at every byte.
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { bytes, duration, integer, label, patterns, since, text } from '../../src/cli/arguments.ts';
import { MAX_LINE_BYTES, readLines, type Line } from '../../src/cli/ndjson.ts';
import { formatBytes, printable, tableLines } from '../../src/cli/output.ts';
import { readPlanLine } from '../../src/cli/plan-line.ts';
import { crashPassing } from '../../src/service/crash.ts';

const linesOf = async (chunks: readonly Uint8Array[]): Promise<Line[]> => {
  const lines: Line[] = [];
  for await (const line of readLines(Readable.from(chunks))) lines.push(line);
  return lines;
};

describe('lines', () => {
  it('are the same wherever the stream is cut', async () => {
    const text = Buffer.from('{"a":"ä€😀"}\r\n\n  \nlast');
    const whole = [
      { number: 1, ok: true, text: '{"a":"ä€😀"}\r' },
      { number: 4, ok: true, text: 'last' },
    ];
    for (let cut = 0; cut <= text.length; cut += 1) {
      expect(await linesOf([text.subarray(0, cut), text.subarray(cut)])).toEqual(whole);
    }
  });

  it('that are too long or not UTF-8 are named and do not spoil the next', async () => {
    const long = Buffer.alloc(MAX_LINE_BYTES + 1, 'x');
    const newline = Buffer.from('\n');
    const edge = await linesOf([long.subarray(1), newline, long.subarray(0, 9), long, newline]);
    expect(edge.map(({ number, ok }) => [number, ok])).toEqual([
      [1, true],
      [2, false],
    ]);
    const latin = await linesOf([Buffer.from([0x22, 0xe4, 0x22, 0x0a]), Buffer.from('{}\n')]);
    expect(latin).toEqual([
      { number: 1, ok: false, problem: 'is not UTF-8' },
      { number: 2, ok: true, text: '{}' },
    ]);
  });
});

describe('a plan line', () => {
  it.each([
    ['1.5ps', '1.5PS is pattern 2ps with plan.eventual'],
    ['0.5PS', '0.5PS is pattern eventual'],
    ['2PS-OV', '2PS-OV is pattern 2ps with plan.gate'],
    ['Saga', 'write saga in small letters'],
  ])('with pattern %s says how that is written', (pattern, hint) => {
    const read = readPlanLine(JSON.stringify({ pattern, plan: {} }));
    const problems = [`pattern must be one of 2pc, 3pc, saga, 2ps, 3ps, eventual: ${hint}`];
    expect(read).toEqual({ ok: false, problems });
  });
});

describe('options', () => {
  it('are sizes, times, labels and ranges', () => {
    expect([bytes('2GiB'), bytes('500MB'), bytes('7'), bytes('1k')]).toEqual([2 ** 31, 5e8, 7, 1_024]);
    expect([duration('1500ms'), duration('2m')]).toEqual([1_500, 120_000]);
    expect(since('2026-01-31T08:00:00Z')).toBe(Date.UTC(2026, 0, 31, 8));
    expect(Math.abs(since('1h') - (Date.now() - 3_600_000))).toBeLessThan(1_000);
    expect(label('a=b=c', [{ key: 'x', value: '' }])).toEqual([
      { key: 'x', value: '' },
      { key: 'a', value: 'b=c' },
    ]);
    expect(patterns('saga', ['2pc'])).toEqual(['2pc', 'saga']);
  });

  it('are texts without the blanks around them', () => {
    expect(text(3)(' a b\n')).toBe('a b');
    for (const wrong of ['', ' \t', 'abcd']) expect(() => text(3)(wrong)).toThrow(/1 to 3 characters/);
  });

  it('refuse what they cannot read', () => {
    for (const read of [
      () => bytes('-1'),
      () => bytes('1XB'),
      () => duration('0s'),
      () => duration('5'),
      () => since('yesterday'),
      () => since('5'),
      () => label('=b'),
      () => label('plain'),
      () => patterns('tcc'),
      () => integer(1, 5)('6'),
      () => integer(1, 5)('2.5'),
    ]) {
      expect(read).toThrow();
    }
  });
});

describe('output', () => {
  it('aligns text to the left and numbers to the right', () => {
    const rows = [
      ['a', '7', 'x'],
      ['bbb', '1,000', ''],
    ];
    expect(tableLines(['NAME', 'N', 'WHY'], rows)).toEqual([
      'NAME      N  WHY',
      'a         7  x',
      'bbb   1,000',
    ]);
    expect([formatBytes(-1), formatBytes(1_023), formatBytes(1_536)]).toEqual(['-', '1023 B', '1.5 KiB']);
  });

  it('lets no text of others move the cursor', () => {
    expect(printable('a\u001b[2Jb\n\u009b')).toBe('a\\u001b[2Jb\\n\\u009b');
  });
});

describe('crash points', () => {
  it('are off unless asked for, and known by name', () => {
    expect(() => crashPassing({})('c1')).not.toThrow();
    for (const text of ['c99', 'c1:0', 'c1:x', 'c1:1:1', '__proto__', 'toString']) {
      expect(() => crashPassing({ PHASOR_CRASH: text })).toThrow(/CONFIG_INVALID: PHASOR_CRASH=/);
    }
  });

  it('kill at the nth passing only', () => {
    const kills: unknown[] = [];
    const { kill } = process;
    process.kill = (pid, signal) => {
      kills.push([pid, signal]);
      return true;
    };
    try {
      const passing = crashPassing({ PHASOR_CRASH: 'c4:2' });
      (['c4', 'c3', 'c5'] as const).forEach((point) => passing(point));
      expect(kills).toEqual([]);
      passing('c4');
      passing('c4');
    } finally {
      process.kill = kill;
    }
    expect(kills).toEqual([[process.pid, 'SIGKILL']]);
  });
});
