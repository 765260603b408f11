// Goal: one message in flight per subject, nothing lost, reordered or built twice, whatever the log answers.
// Method: a log whose answers are given by hand, and a clock that moves by hand.
import { describe, expect, it } from 'vitest';
import { PhasorError } from '../../src/errors/phasor-error.ts';
import { subjects, type Subject } from '../../src/kernel/subjects.ts';
import type { Appended, Log } from '../../src/ports/log.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { Batcher, type BatcherOptions, type StoreResult } from '../../src/runtime/batcher.ts';
import { CountingRandom, HandClock, settled } from '../kit/hand-clock.ts';

interface Try {
  readonly subject: string;
  readonly body: string;
  readonly data: Uint8Array;
  readonly msgId: string | undefined;
  readonly options: object | undefined;
  answer(appended: Appended): Promise<void>;
  fail(code: 'TIMEOUT' | 'CONNECTION_FAILED' | 'PUBLISH_REFUSED' | 'STREAM_MISSING'): Promise<void>;
}

class HandLog {
  readonly tries: Try[] = [];
  readonly log = { append: this.#append.bind(this) } as unknown as Log;

  #append(subject: Subject, data: Uint8Array, options?: { readonly msgId?: string }): Promise<Appended> {
    return new Promise((resolve, reject) => {
      this.tries.push({
        subject,
        body: new TextDecoder().decode(data),
        data,
        msgId: options?.msgId,
        options,
        answer: (appended) => (resolve(appended), settled()),
        fail: (code) => (reject(new PhasorError(code, 'by hand')), settled()),
      });
    });
  }

  get bodies(): string[] {
    return this.tries.map(({ body }) => body);
  }
}

const A = subjects.input('2pc', 'orders', 'begin', 0);
const B = subjects.input('2pc', 'orders', 'begin', 1);

function given(options: Partial<BatcherOptions> = {}) {
  const clock = new HandClock();
  const log = new HandLog();
  const batcher = new Batcher({
    log: log.log,
    clock,
    random: new CountingRandom(),
    logger: silentLogger,
    identified: true,
    ...options,
  });
  const results = new Map<string, StoreResult>();
  const add = (subject: Subject, ...texts: string[]): void => {
    for (const text of texts) batcher.add(subject, text, (result) => void results.set(text, result));
  };
  const codeOf = (text: string): string | undefined => {
    const result = results.get(text);
    return result !== undefined && 'error' in result ? result.error.code : undefined;
  };
  return { clock, log, batcher, results, add, codeOf };
}

describe('Batcher: coalescing', () => {
  it('sends what one turn added to a subject as one message', async () => {
    const { log, add } = given();
    add(A, '1', '2');
    add(B, '3');
    add(A, '4');
    expect(log.tries).toHaveLength(0);
    await settled();
    expect(log.tries.map(({ subject, body }) => [subject, body])).toEqual([
      [A, '[1,2,4]'],
      [B, '[3]'],
    ]);
  });

  it('lets what arrives in flight join the next message, and tells each its place', async () => {
    const { log, add, results, batcher } = given();
    add(A, '1');
    await settled();
    add(A, '2');
    await settled();
    add(A, '3');
    await settled();
    expect(log.bodies).toEqual(['[1]']);
    await log.tries[0]?.answer({ seq: 7, duplicate: false });
    expect(log.bodies).toEqual(['[1]', '[2,3]']);
    expect(batcher.pending).toBe(2);
    await log.tries[1]?.answer({ seq: 9, duplicate: false });
    expect([...results]).toEqual([
      ['1', { at: '7.0' }],
      ['2', { at: '9.0' }],
      ['3', { at: '9.1' }],
    ]);
    expect(batcher.pending).toBe(0);
  });

  it('tells the right place when only some envelopes ask', async () => {
    const { log, batcher, add, results } = given();
    batcher.add(A, '"quiet"');
    add(A, '1');
    batcher.add(A, '"quiet"');
    await settled();
    await log.tries[0]?.answer({ seq: 3, duplicate: true });
    expect([...results]).toEqual([['1', { at: '3.1' }]]);
  });

  it('bounds a message in envelopes', async () => {
    const { log, add } = given({ maxEnvelopes: 2 });
    add(A, '1', '2', '3', '4', '5');
    await settled();
    for (let i = 0; i < 3; i += 1) await log.tries[i]?.answer({ seq: i, duplicate: false });
    expect(log.bodies).toEqual(['[1,2]', '[3,4]', '[5]']);
  });

  it('bounds a message in bytes of UTF-8, brackets and commas counted', async () => {
    // ["é","é"] is 4 + 1 + 4 + 2 = 11 bytes, ["xy","éa"] is 12.
    const { log, add } = given({ maxBytes: 11 });
    add(A, '"é"', '"é"', '"xy"', '"éa"');
    await settled();
    for (let i = 0; i < 2; i += 1) await log.tries[i]?.answer({ seq: i, duplicate: false });
    expect(log.bodies).toEqual(['["é","é"]', '["xy"]', '["éa"]']);
    expect(log.tries[0]?.data).toHaveLength(11);
  });

  it('refuses what fits no message, and leaves the others alone', async () => {
    const { log, add } = given({ maxBytes: 10 });
    add(A, '1');
    expect(() => add(A, '123456789')).toThrow(expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' }));
    add(A, '2');
    await settled();
    expect(log.bodies).toEqual(['[1,2]']);
  });
});

describe('Batcher: answers that got lost', () => {
  it('sends the identical message again, under one id, until it is acknowledged', async () => {
    const { clock, log, add, results } = given();
    add(A, '1', '2');
    await settled();
    await log.tries[0]?.fail('TIMEOUT');
    add(A, '3');
    clock.advance(50);
    await settled();
    await log.tries[1]?.fail('CONNECTION_FAILED');
    clock.advance(100);
    await settled();
    await log.tries[2]?.answer({ seq: 5, duplicate: true });
    expect(log.bodies).toEqual(['[1,2]', '[1,2]', '[1,2]', '[3]']);
    const ids = log.tries.map(({ msgId }) => msgId);
    expect(new Set(ids.slice(0, 3)).size).toBe(1);
    expect(ids[0]).toHaveLength(26);
    expect(ids[3]).not.toBe(ids[0]);
    expect(results.get('2')).toEqual({ at: '5.1' });
  });

  it('sends no option, so no header, when not identified', async () => {
    const { clock, log, add } = given({ identified: false });
    add(A, '1');
    await settled();
    await log.tries[0]?.fail('TIMEOUT');
    clock.advance(50);
    await settled();
    expect(log.tries.map(({ options }) => options)).toEqual([undefined, undefined]);
  });

  it('waits longer after each failure, at most a second', async () => {
    const { clock, log, add } = given();
    add(A, '1');
    await settled();
    const waits: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      await log.tries[i]?.fail('TIMEOUT');
      const before = clock.monotonicMs();
      while (log.tries.length === i + 1 && clock.monotonicMs() - before < 5_000) {
        clock.advance(1);
        await settled();
      }
      waits.push(clock.monotonicMs() - before);
    }
    expect(waits[0]).toBeLessThanOrEqual(50);
    expect([...waits].sort((a, b) => a - b)).toEqual(waits);
    expect(waits[7]).toBeGreaterThan(500);
    expect(waits[7]).toBeLessThanOrEqual(1_000);
  });

  it('gives up in time, says that it may be stored, and goes on with what is young enough', async () => {
    const { clock, log, add, codeOf, batcher } = given({ giveUpAfterMs: 1_000 });
    add(A, '1');
    await settled();
    add(A, '2');
    clock.advance(900);
    await log.tries[0]?.fail('TIMEOUT');
    clock.advance(60);
    await settled();
    expect(log.tries).toHaveLength(2);
    add(A, '3');
    clock.advance(100);
    await log.tries[1]?.fail('TIMEOUT');
    expect([codeOf('1'), codeOf('2'), codeOf('3')]).toEqual(['TIMEOUT', 'TIMEOUT', 'TIMEOUT']);
    expect(log.bodies).toEqual(['[1]', '[1]']);
    add(A, '4');
    await settled();
    expect(log.bodies.at(-1)).toBe('[4]');
    expect(batcher.pending).toBe(1);
  });

  it('does not try again after the time is up, even when it was paused across it', async () => {
    const { clock, log, add, codeOf, batcher } = given({ giveUpAfterMs: 1_000 });
    add(A, '1');
    await settled();
    await log.tries[0]?.fail('TIMEOUT');
    batcher.pause();
    clock.advance(2_000);
    batcher.resume();
    await settled();
    expect(log.tries).toHaveLength(1);
    expect(codeOf('1')).toBe('TIMEOUT');
  });

  it('announces every retry and no first try', async () => {
    let retries = 0;
    const { clock, log, add } = given({ onRetry: () => (retries += 1) });
    add(A, '1');
    add(B, '2');
    await settled();
    expect(retries).toBe(0);
    await log.tries[0]?.fail('TIMEOUT');
    clock.advance(50);
    await settled();
    expect(retries).toBe(1);
  });
});

describe('Batcher: refusals', () => {
  it.each(['STREAM_MISSING', 'PUBLISH_REFUSED'] as const)('tries again slowly after %s', async (code) => {
    const { clock, log, add, results } = given();
    add(A, '1');
    await settled();
    await log.tries[0]?.fail(code);
    clock.advance(400);
    await settled();
    expect(log.tries).toHaveLength(1);
    clock.advance(600);
    await settled();
    await log.tries[1]?.answer({ seq: 1, duplicate: false });
    expect(results.get('1')).toEqual({ at: '1.0' });
  });

  it('hands the error to the callers if asked to, and goes on', async () => {
    const { log, add, codeOf } = given({ onMissing: 'fail' });
    add(A, '1');
    await settled();
    add(A, '2');
    await log.tries[0]?.fail('STREAM_MISSING');
    expect(codeOf('1')).toBe('STREAM_MISSING');
    expect(log.bodies).toEqual(['[1]', '[2]']);
  });

  it('calls a refusal after a lost answer what it is: unknown', async () => {
    const { clock, log, add, codeOf } = given({ onMissing: 'fail' });
    add(A, '1');
    await settled();
    await log.tries[0]?.fail('TIMEOUT');
    clock.advance(50);
    await settled();
    await log.tries[1]?.fail('PUBLISH_REFUSED');
    expect(codeOf('1')).toBe('TIMEOUT');
  });
});

describe('Batcher: back-pressure, pause, clear, close', () => {
  it('asks callers to wait until half of the bound is stored', async () => {
    const { log, add, batcher } = given({ maxPendingBytes: 12, maxEnvelopes: 2 });
    expect(batcher.ready()).toBeUndefined();
    add(A, '1', '2', '3', '4', '5', '6');
    const room = batcher.ready();
    expect(room).toBeInstanceOf(Promise);
    expect(batcher.ready()).toBe(room);
    let told = false;
    void room?.then(() => (told = true));
    await settled();
    await log.tries[0]?.answer({ seq: 1, duplicate: false });
    expect(told).toBe(false);
    await log.tries[1]?.answer({ seq: 2, duplicate: false });
    expect(told).toBe(true);
    expect(batcher.ready()).toBeUndefined();
  });

  it('publishes nothing while paused, neither first tries nor retries (Rule 5)', async () => {
    const { clock, log, add, batcher } = given();
    add(A, '1');
    await settled();
    batcher.pause();
    await log.tries[0]?.fail('TIMEOUT');
    add(A, '2');
    add(B, '3');
    clock.advance(60_000);
    await settled();
    expect(log.tries).toHaveLength(1);
    batcher.resume();
    await settled();
    expect(log.bodies).toEqual(['[1]', '[1]', '[3]']);
  });

  it('does not send again on resume what is still on the wire', async () => {
    const { log, add, batcher } = given();
    add(A, '1');
    await settled();
    batcher.pause();
    batcher.resume();
    await settled();
    expect(log.bodies).toEqual(['[1]']);
  });

  it('clears what is not on the wire, and never tries again what is', async () => {
    const { clock, log, add, batcher, codeOf, results } = given();
    add(A, '1');
    add(B, '2');
    await settled();
    add(A, '3');
    batcher.clear(new PhasorError('LOG_DIVERGED', 'by hand'));
    expect(codeOf('3')).toBe('LOG_DIVERGED');
    await log.tries[0]?.fail('TIMEOUT');
    await log.tries[1]?.answer({ seq: 4, duplicate: false });
    clock.advance(60_000);
    await settled();
    expect(log.tries).toHaveLength(2);
    expect(codeOf('1')).toBe('TIMEOUT');
    expect(results.get('2')).toEqual({ at: '4.0' });
    add(A, '5');
    await settled();
    expect(log.bodies.at(-1)).toBe('[5]');
  });

  it('stores everything before close resolves, and refuses what comes later', async () => {
    const { log, add, batcher, results, clock } = given();
    add(A, '1');
    await settled();
    add(A, '2');
    let closed = false;
    const closing = batcher.close().then(() => (closed = true));
    expect(() => add(A, '3')).toThrow(expect.objectContaining({ code: 'CLOSED' }));
    await log.tries[0]?.answer({ seq: 1, duplicate: false });
    expect(closed).toBe(false);
    await log.tries[1]?.answer({ seq: 2, duplicate: false });
    await closing;
    expect([...results.keys()]).toEqual(['1', '2']);
    expect(clock.timers).toBe(0);
  });

  it('drops what cannot be stored in time, and says whether it may be', async () => {
    const { log, add, batcher, codeOf, clock } = given();
    add(A, '1');
    await settled();
    add(A, '2');
    const closing = batcher.close({ timeoutMs: 100 });
    clock.advance(100);
    await closing;
    expect([codeOf('1'), codeOf('2')]).toEqual(['TIMEOUT', 'CLOSED']);
    await log.tries[0]?.answer({ seq: 1, duplicate: false });
    expect(log.tries).toHaveLength(1);
    expect(batcher.pending).toBe(0);
  });

  it('survives a callback that throws', async () => {
    const { log, batcher, add, results } = given();
    batcher.add(A, '1', () => {
      throw new Error('by hand');
    });
    add(A, '2');
    await settled();
    add(A, '3');
    await log.tries[0]?.answer({ seq: 1, duplicate: false });
    expect(results.get('2')).toEqual({ at: '1.1' });
    expect(log.bodies).toEqual(['[1,2]', '[3]']);
  });
});
