// Goal: whatever goes wrong, an append is stored, refused or unknown, and a reader that lost its place says so once
// and resumes without a loss or a repetition.
import { afterAll, beforeAll, describe, expect } from 'vitest';

import { PhasorError } from '../../src/errors/phasor-error.ts';
import type { Subject } from '../../src/kernel/subjects.ts';
import type { Log, LogMessage } from '../../src/ports/log.ts';
import { eventually } from '../kit/eventually.ts';
import {
  bytes,
  freshStream,
  range,
  specWith,
  type ContractOptions,
  type ContractWorld,
} from './contract-world.ts';
import { appendSurely, reading, texts } from './log-reading.ts';

export function logTroubleContract({ name, makeWorld, skip }: ContractOptions): void {
  const spec = specWith(skip);
  describe(`log port in trouble: ${name}`, () => {
    let at: ContractWorld;
    let log: Log;
    beforeAll(async () => {
      at = await makeWorld();
      log = at.world.log;
    });
    afterAll(() => at.close());

    spec('says that a stream is missing', async () => {
      const missing = 'NOSUCHSTREAM';
      const nobody = 'nosuchstream.a' as Subject;
      const calls: readonly (() => Promise<unknown>)[] = [
        () => log.append(nobody, bytes('x')),
        () => log.state(missing),
        () => log.get(missing, 1),
        () => reading(log, { stream: missing }),
      ];
      for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'STREAM_MISSING' });
    });

    spec('refuses what a full stream cannot take, for good', async () => {
      const { subject } = await freshStream(at, { maxBytes: 4_096 });
      const fill = async (): Promise<void> => {
        for (;;) await log.append(subject('a'), new Uint8Array(500));
      };
      await expect(fill()).rejects.toMatchObject({ code: 'PUBLISH_REFUSED', retryable: false });
    });

    spec('refuses what no message may be as large as', async () => {
      const { stream, subject } = await freshStream(at);
      const huge = new Uint8Array(80 * 1024 * 1024);
      await expect(log.append(subject('a'), huge)).rejects.toMatchObject({ code: 'PUBLISH_REFUSED' });
      expect((await log.state(stream)).lastSeq).toBe(0);
    });

    spec('is lost, once, when its consumer is deleted', async (ctx) => {
      ctx.skip(at.dropConsumers === undefined, 'this world cannot drop consumers');
      const { stream, subject } = await freshStream(at);
      await log.append(subject('a'), bytes('one'));
      const { messages, lost } = await reading(log, { stream });
      await eventually(() => messages.length === 1, { what: 'the first' });
      await at.dropConsumers?.(stream);
      await eventually(() => lost.length > 0, { what: 'the loss' });
      await log.append(subject('a'), bytes('two'));
      const next = await reading(log, { stream, after: 1 });
      await eventually(() => next.messages.length === 1, { what: 'the rest' });
      expect([lost.length, messages.length]).toEqual([1, 1]);
      await next.subscription.close();
    });

    spec('loses nothing and repeats nothing over a crash of the server', async (ctx) => {
      ctx.skip(at.crash === undefined, 'this world cannot crash its server');
      const { stream, subject } = await freshStream(at);
      const folded: LogMessage[] = [];
      const losses: string[] = [];
      const follow = async (): Promise<void> => {
        const after = folded.at(-1)?.seq ?? 0;
        let over = false;
        await log.read({
          stream,
          filters: [],
          after,
          onMessage: (message) => {
            expect(over).toBe(false);
            folded.push(message);
          },
          onLost: (why) => {
            expect(over).toBe(false);
            over = true;
            losses.push(why);
            void eventually(() => follow().then(() => true), { what: 'a new reader', timeoutMs: 30_000 });
          },
        });
      };
      await follow();
      const stop = { now: false };
      const stored: string[] = [];
      const writers = range(8).map(async (writer) => {
        for (let index = 0; !stop.now; index += 1) {
          const text = `w${writer}-${index}`;
          await appendSurely(log, subject('a'), text);
          stored.push(text);
        }
      });
      await eventually(() => stored.length > 200, { what: 'some traffic' });
      await at.crash?.();
      const before = stored.length;
      await eventually(() => stored.length > before + 200, { what: 'traffic again', timeoutMs: 30_000 });
      stop.now = true;
      await Promise.all(writers);
      const last = (await log.state(stream)).lastSeq;
      await eventually(() => folded.at(-1)?.seq === last, { what: 'the head', timeoutMs: 30_000 });
      expect(folded.map(({ seq }) => seq)).toEqual(range(last).map((index) => index + 1));
      expect([...texts(folded)].sort()).toEqual([...stored].sort());
      expect(losses.length).toBeGreaterThan(0);
    });

    spec('fails appends at once while there is no server, as unknown', async (ctx) => {
      ctx.skip(at.crash === undefined, 'this world cannot crash its server');
      const { subject } = await freshStream(at);
      const errors: unknown[] = [];
      const stop = { now: false };
      const writer = (async () => {
        while (!stop.now) {
          await log.append(subject('a'), bytes('x')).catch((error: unknown) => errors.push(error));
        }
      })();
      const crashed = at.crash?.();
      await eventually(() => errors.length > 0, { what: 'a failed append' });
      await crashed;
      const failures = errors.length;
      stop.now = true;
      await writer;
      expect(failures).toBeGreaterThan(0);
      const isUnknown = (error: unknown): boolean =>
        PhasorError.is(error, 'CONNECTION_FAILED') || PhasorError.is(error, 'TIMEOUT');
      expect(errors.filter((error) => !isUnknown(error))).toEqual([]);
    });
  });
}
