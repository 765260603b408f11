// Goal: whatever fails, nothing is lost or reordered within a subject, and an identified message is stored once.
// Method: a log that stores or not, and answers or not, by drawn choices; with the server's duplicate detection.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import { subjects, type Subject } from '../../src/kernel/subjects.ts';
import type { Appended, Log } from '../../src/ports/log.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { Batcher } from '../../src/runtime/batcher.ts';
import { CountingRandom, HandClock, settled } from '../kit/hand-clock.ts';

type Fate = 'stored' | 'answer lost' | 'request lost' | 'refused';
const SUBJECTS = [0, 1, 2].map((shard) => subjects.input('saga', 'orders', 'begin', shard));
const fate = fc.constantFrom<Fate>('stored', 'stored', 'answer lost', 'request lost', 'refused');
const burst = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 12 });

class FlakyLog {
  readonly stored: { readonly subject: string; readonly envelopes: number[] }[] = [];
  readonly #seqs = new Map<string, number>();
  /** Unanswered messages per subject, to see that there is one at most (B1). */
  readonly onWire = new Map<string, number>();
  mostOnWire = 0;
  readonly log = { append: this.#append.bind(this) } as unknown as Log;

  constructor(readonly fates: Fate[]) {}

  async #append(
    subject: Subject,
    data: Uint8Array,
    options?: { readonly msgId?: string },
  ): Promise<Appended> {
    const count = (this.onWire.get(subject) ?? 0) + 1;
    this.onWire.set(subject, count);
    this.mostOnWire = Math.max(this.mostOnWire, count);
    await settled();
    this.onWire.set(subject, count - 1);
    const drawn = this.fates.shift() ?? 'stored';
    if (drawn === 'refused') throw new PhasorError('STREAM_MISSING', 'drawn');
    if (drawn === 'request lost') throw new PhasorError('CONNECTION_FAILED', 'drawn');
    const known = options?.msgId === undefined ? undefined : this.#seqs.get(options.msgId);
    if (known === undefined)
      this.stored.push({ subject, envelopes: JSON.parse(new TextDecoder().decode(data)) as number[] });
    const seq = known ?? this.stored.length;
    if (options?.msgId !== undefined) this.#seqs.set(options.msgId, seq);
    if (drawn === 'answer lost') throw new PhasorError('TIMEOUT', 'drawn');
    return { seq, duplicate: known !== undefined };
  }
}

async function drive(fates: Fate[], bursts: number[][], identified: boolean) {
  const clock = new HandClock();
  const log = new FlakyLog([...fates]);
  const options = { log: log.log, clock, random: new CountingRandom(), logger: silentLogger };
  const batcher = new Batcher({ ...options, identified, maxEnvelopes: 4 });
  const added: number[][] = [[], [], []];
  const told = new Map<number, string>();
  let next = 0;
  for (const items of bursts) {
    for (const lane of items) {
      const value = next++;
      added[lane]?.push(value);
      batcher.add(SUBJECTS[lane]!, String(value), (result) => {
        if (told.has(value)) throw new Error(`told twice: ${value}`);
        told.set(value, 'at' in result ? result.at : result.error.code);
      });
    }
    await settled();
    clock.advance(30);
  }
  for (let turn = 0; batcher.pending > 0 && turn < 1_000; turn += 1) {
    await settled();
    clock.advance(1_000);
  }
  return { log, added, told, batcher };
}

/** Envelopes of a subject in stream order; a message that came again right after itself counts once. */
function sequence(log: FlakyLog, subject: string): number[] {
  const messages = log.stored.filter((message) => message.subject === subject);
  return messages.flatMap(({ envelopes }, i) =>
    JSON.stringify(envelopes) === JSON.stringify(messages[i - 1]?.envelopes) ? [] : envelopes,
  );
}

describe('Batcher under random failures', () => {
  it('keeps everything, in order, once, and tells the true position', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fate, { maxLength: 30 }),
        fc.array(burst, { maxLength: 8 }),
        async (fates, bursts) => {
          const { log, added, told, batcher } = await drive(fates, bursts, true);
          expect(batcher.pending).toBe(0);
          expect(log.mostOnWire).toBeLessThanOrEqual(1);
          SUBJECTS.forEach((subject, lane) => {
            const messages = log.stored.filter((message) => message.subject === subject);
            expect(messages.flatMap(({ envelopes }) => envelopes)).toEqual(added[lane]);
          });
          log.stored.forEach(({ envelopes }, seq) =>
            envelopes.forEach((value, index) => expect(told.get(value)).toBe(`${seq + 1}.${index}`)),
          );
          expect(told.size).toBe(added.flat().length);
        },
      ),
    );
  });

  it('keeps order without ids too: only whole messages may come again, at their place', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fate, { maxLength: 30 }),
        fc.array(burst, { maxLength: 8 }),
        async (fates, bursts) => {
          const { log, added, batcher } = await drive(fates, bursts, false);
          expect(batcher.pending).toBe(0);
          SUBJECTS.forEach((subject, lane) => expect(sequence(log, subject)).toEqual(added[lane]));
        },
      ),
    );
  });
});
