// Goal: whatever the log acknowledged is read by everyone in the same order, once, without gaps, or the reader is
// told that it lost its place. Method: the port alone, on any world; no knowledge of NATS.
import { afterAll, beforeAll, describe, expect } from 'vitest';

import type { Log } from '../../src/ports/log.ts';
import { eventually } from '../kit/eventually.ts';
import {
  bytes,
  freshStream,
  gate,
  range,
  specWith,
  textOf,
  type ContractOptions,
  type ContractWorld,
} from './contract-world.ts';
import { reading, texts } from './log-reading.ts';

export function logContract({ name, makeWorld, skip }: ContractOptions): void {
  const spec = specWith(skip);
  describe(`log port: ${name}`, () => {
    let at: ContractWorld;
    let log: Log;
    beforeAll(async () => {
      at = await makeWorld();
      log = at.world.log;
    });
    afterAll(() => at.close());

    spec('appends get rising sequences and are read in that order', async () => {
      const { stream, subject } = await freshStream(at);
      const appended = [];
      for (const index of range(20)) appended.push(await log.append(subject('a'), bytes(`m${index}`)));
      const { messages, subscription } = await reading(log, { stream });
      await eventually(() => messages.length >= 20, { what: '20 messages' });
      expect(subscription.pending).toBe(20);
      expect(messages.map(({ seq }) => seq)).toEqual(appended.map(({ seq }) => seq));
      expect(messages.map(({ seq }) => seq)).toEqual(range(20).map((index) => index + 1));
      expect(texts(messages)).toEqual(range(20).map((index) => `m${index}`));
      expect(new Set(messages.map((message) => message.subject))).toEqual(new Set([subject('a')]));
      const times = messages.map(({ timeMs }) => timeMs);
      expect([...times].sort((a, b) => a - b)).toEqual(times);
      expect(times.every(Number.isSafeInteger)).toBe(true);
      expect(Math.abs((times[0] ?? 0) - Date.now())).toBeLessThan(60_000);
      await subscription.close();
    });

    spec('delivers what is appended while it reads, without a gap', async () => {
      const { stream, subject } = await freshStream(at);
      await Promise.all(range(1_000).map((index) => log.append(subject('a'), bytes(`early ${index}`))));
      const { messages, subscription, lost } = await reading(log, { stream });
      expect(subscription.pending).toBe(1_000);
      await Promise.all(range(4_000).map((index) => log.append(subject('a'), bytes(`late ${index}`))));
      await eventually(() => messages.length >= 5_000, { what: '5,000 messages' });
      expect(messages.map(({ seq }) => seq)).toEqual(range(5_000).map((index) => index + 1));
      expect(lost).toEqual([]);
      await subscription.close();
    });

    spec('reads only what matches a filter, and counts only that as pending', async () => {
      const { stream, subject } = await freshStream(at);
      for (const index of range(30)) {
        await log.append(subject(`${['a', 'b', 'c'][index % 3] ?? ''}.x`), bytes(`${index}`));
      }
      const one = await reading(log, { stream, filters: [subject('a.*')] });
      const two = await reading(log, { stream, filters: [subject('c.x'), subject('a.x')] });
      expect([one.subscription.pending, two.subscription.pending]).toEqual([10, 20]);
      await eventually(() => one.messages.length >= 10 && two.messages.length >= 20, { what: 'both' });
      expect(texts(one.messages)).toEqual(range(10).map((index) => `${index * 3}`));
      expect(texts(two.messages)).toEqual(
        range(30)
          .filter((index) => index % 3 !== 1)
          .map(String),
      );
      await one.subscription.close();
      await two.subscription.close();
    });

    spec('is at the head of an empty log at once, and says so', async () => {
      const { stream } = await freshStream(at);
      const empty = await reading(log, { stream });
      expect(empty.subscription.pending).toBe(0);
      await eventually(() => empty.idles.count > 0, { what: 'an idle reader' });
      await empty.subscription.close();
    });

    spec('resumes after a sequence', async () => {
      const { stream, subject } = await freshStream(at);
      for (const index of range(10)) await log.append(subject('a'), bytes(`${index + 1}`));
      const { messages, subscription } = await reading(log, { stream, after: 7 });
      expect(subscription.pending).toBe(3);
      await eventually(() => messages.length >= 3, { what: 'the rest' });
      expect(messages.map(({ seq }) => seq)).toEqual([8, 9, 10]);
      await subscription.close();
    });

    spec('resumes after the head: only what comes later', async () => {
      const { stream, subject } = await freshStream(at);
      for (const index of range(3)) await log.append(subject('a'), bytes(`${index + 1}`));
      const late = await reading(log, { stream, after: 3 });
      expect(late.subscription.pending).toBe(0);
      await log.append(subject('a'), bytes('4'));
      await eventually(() => late.messages.length > 0, { what: 'the later one' });
      expect(late.messages.map(({ seq }) => seq)).toEqual([4]);
      await late.subscription.close();
    });

    spec('reads from a stream time on', async () => {
      const { stream, subject } = await freshStream(at);
      await log.append(subject('a'), bytes('old'));
      const old = await log.get(stream, 1);
      await eventually(async () => (await log.state(stream)).nowMs > (old?.timeMs ?? 0) + 2, {
        what: 'the server clock to move on',
      });
      const { seq } = await log.append(subject('a'), bytes('new'));
      const fresh = await log.get(stream, seq);
      const { messages, subscription } = await reading(log, { stream, sinceMs: fresh?.timeMs ?? 0 });
      expect(subscription.pending).toBe(1);
      await eventually(() => messages.length > 0, { what: 'the new one' });
      expect(texts(messages)).toEqual(['new']);
      await subscription.close();
    });

    spec('stores a message id once and shows it to readers', async () => {
      const { stream, subject } = await freshStream(at);
      const first = await log.append(subject('a'), bytes('one'), { msgId: 'id-1' });
      const again = await log.append(subject('a'), bytes('one'), { msgId: 'id-1' });
      await log.append(subject('a'), bytes('two'));
      expect(first).toEqual({ seq: 1, duplicate: false });
      expect(again).toEqual({ seq: 1, duplicate: true });
      const { messages, subscription } = await reading(log, { stream });
      await eventually(() => messages.length >= 2, { what: 'two messages' });
      expect(texts(messages)).toEqual(['one', 'two']);
      expect(messages[0]?.headers?.get('Nats-Msg-Id')).toBe('id-1');
      expect(messages[1]?.headers).toBeUndefined();
      await subscription.close();
    });

    spec('shows by position exactly what readers saw', async () => {
      const { stream, subject } = await freshStream(at);
      await log.append(subject('a'), bytes('{"x":"\u00e9"}'), { msgId: 'id-2' });
      await log.append(subject('b'), new Uint8Array(0));
      const { messages, subscription } = await reading(log, { stream });
      await eventually(() => messages.length >= 2, { what: 'two messages' });
      for (const message of messages) {
        const stored = await log.get(stream, message.seq);
        expect({ ...stored, data: textOf(stored?.data ?? bytes('?')) }).toEqual({
          ...message,
          data: textOf(message.data),
        });
      }
      expect(await log.get(stream, 3)).toBeUndefined();
      await subscription.close();
    });

    spec('delivers nothing more while a handler is busy, and then everything in order', async () => {
      const { stream, subject } = await freshStream(at);
      const held = gate();
      const seen: number[] = [];
      const { subscription, lost } = await reading(log, {
        stream,
        onMessage: ({ seq }) => {
          seen.push(seq);
          return seq % 100 === 5 ? held.opened : undefined;
        },
      });
      await Promise.all(range(3_000).map((index) => log.append(subject('a'), bytes(`${index}`))));
      await eventually(() => seen.length >= 5, { what: 'the busy handler' });
      await log.append(subject('a'), bytes('last'));
      expect(seen).toEqual([1, 2, 3, 4, 5]);
      held.open();
      await eventually(() => seen.length >= 3_001, { what: 'all messages' });
      expect(seen).toEqual(range(3_001).map((index) => index + 1));
      expect(lost).toEqual([]);
      await subscription.close();
    });

    spec('says when nothing is left, also when what it counted has vanished', async (ctx) => {
      ctx.skip(at.removeMessages === undefined, 'this world cannot remove messages');
      const { stream, subject } = await freshStream(at);
      const stored = 3_000;
      const removed = 500;
      await Promise.all(range(stored).map((index) => log.append(subject('a'), bytes(`${index}`))));
      const go = gate();
      let seen = 0;
      const { subscription, idles } = await reading(log, {
        stream,
        onMessage: () => {
          seen += 1;
          return seen === 1 ? go.opened : undefined;
        },
      });
      expect(subscription.pending).toBe(stored);
      await at.removeMessages?.(
        stream,
        range(removed).map((index) => stored - index),
      );
      go.open();
      await eventually(() => idles.count > 0, { what: 'an idle reader' });
      expect(seen).toBe(stored - removed);
      await subscription.close();
    });

    spec('gives two readers the same story', async () => {
      const { stream, subject } = await freshStream(at);
      const other = (await at.another()).log;
      const mine = await reading(log, { stream });
      const theirs = await reading(other, { stream });
      await Promise.all(
        range(600).map((index) => (index % 2 === 0 ? log : other).append(subject('a'), bytes(`${index}`))),
      );
      await eventually(() => mine.messages.length === 600 && theirs.messages.length === 600, {
        what: 'both',
      });
      expect(texts(mine.messages)).toEqual(texts(theirs.messages));
      await mine.subscription.close();
      await theirs.subscription.close();
    });

    spec('delivers nothing after close', async () => {
      const { stream, subject } = await freshStream(at);
      const closed = await reading(log, { stream });
      await log.append(subject('a'), bytes('before'));
      await eventually(() => closed.messages.length === 1, { what: 'the first' });
      await closed.subscription.close();
      await closed.subscription.close();
      const open = await reading(log, { stream });
      await log.append(subject('a'), bytes('after'));
      await eventually(() => open.messages.length === 2, { what: 'both at another reader' });
      expect(texts(closed.messages)).toEqual(['before']);
      expect(closed.lost).toEqual([]);
      await open.subscription.close();
    });

    spec('is lost, once, when a handler throws or rejects', async () => {
      const { stream, subject } = await freshStream(at);
      for (const index of range(5)) await log.append(subject('a'), bytes(`${index}`));
      const handlers: readonly (() => void | Promise<void>)[] = [
        () => {
          throw new Error('a bug');
        },
        () => Promise.reject(new Error('a bug')),
      ];
      for (const handler of handlers) {
        let calls = 0;
        const broken = await reading(log, {
          stream,
          onMessage: () => {
            calls += 1;
            return handler();
          },
        });
        await eventually(() => broken.lost.length > 0, { what: 'the loss' });
        const healthy = await reading(log, { stream });
        await eventually(() => healthy.messages.length === 5, { what: 'another reader of the same world' });
        expect([calls, broken.lost.length]).toEqual([1, 1]);
        expect(broken.lost[0]).toContain('a bug');
        await healthy.subscription.close();
      }
    });

    spec('tells the state of a stream', async () => {
      const options = { shards: 8, dedupWindowMs: 3_600_000, maxBytes: 10_000_000 };
      const { stream, subject } = await freshStream(at, options);
      const empty = await log.state(stream);
      expect(empty).toMatchObject({ ...options, lastSeq: 0, lastTimeMs: 0, bytes: 0 });
      await log.append(subject('a'), bytes('one'));
      const state = await log.state(stream);
      const stored = await log.get(stream, 1);
      expect(state).toMatchObject({ firstSeq: 1, lastSeq: 1, lastTimeMs: stored?.timeMs });
      expect(state.bytes).toBeGreaterThan(0);
      expect(state.created).toBe(empty.created);
      expect(state.nowMs).toBeGreaterThanOrEqual(state.lastTimeMs);
    });
  });
}
