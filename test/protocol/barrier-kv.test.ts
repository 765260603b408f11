// Goal: a bucket that loses writes and answers never makes the kv barrier run a handler twice, lose an answer or hide
// an effect. Method: a bucket in memory with planted faults, and a clock moved by hand.
import { beforeEach, describe, expect, it } from 'vitest';
import { passOn } from '../../src/ports/crash-points.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import type { Phase } from '../../src/kernel/vocabulary.ts';
import type { GuardedCommand, Reply } from '../../src/reliability/barrier.ts';
import { KvBarrier } from '../../src/reliability/barrier-kv.ts';
import { ServerClock } from '../../src/runtime/server-clock.ts';
import { HandClock, settled } from '../kit/hand-clock.ts';
import { MemoryKeyValue } from '../kit/memory-key-value.ts';

const LEASE_MS = 30_000;
let clock: HandClock;
let bucket: MemoryKeyValue;
let barrier: KvBarrier;
let calls: Phase[];

function newBarrier(owner: string, server = new ServerClock(clock)): KvBarrier {
  server.observe(clock.wallMs());
  return new KvBarrier({
    bucket,
    clock,
    server,
    owner,
    logger: silentLogger,
    passing: passOn,
    keepMs: 604_800_000,
    leaseMs: LEASE_MS,
  });
}

beforeEach(() => {
  clock = new HandClock();
  bucket = new MemoryKeyValue(() => clock.wallMs());
  barrier = newBarrier('w1');
  calls = [];
});

const command = (phase: Phase, fields: Partial<GuardedCommand> = {}): GuardedCommand => ({
  pattern: '2pc',
  tx: 't',
  run: '1.0.1',
  step: 's',
  phase,
  attempt: 1,
  since: clock.wallMs(),
  ran: false,
  redelivered: false,
  ...fields,
});
const KEY = '2pc.t.1.0.1.s';

type Answer = Reply | Promise<Reply>;
const guard = (
  told: GuardedCommand,
  answer: () => Answer = () => ({ answer: 'done' }),
  by = barrier,
): Promise<Reply> =>
  by.guard(told, {
    abandoned: false,
    run: () => {
      calls.push(told.phase);
      return answer();
    },
  });

/** Moves the clock until the promise is settled. */
async function drive<T>(promise: Promise<T>): Promise<T> {
  const state = { over: false };
  const watched = promise.finally(() => (state.over = true));
  for (let turns = 0; turns < 200; turns += 1) {
    await settled();
    if (state.over) return watched;
    clock.advance(100);
  }
  throw new Error('not settled within 20 s of the hand clock');
}

describe('the cost of the kv barrier', () => {
  it('is two writes and no read for an act and, on the same worker, for what follows it', async () => {
    await guard(command('prepare'));
    expect([bucket.reads, bucket.writes]).toEqual([0, 2]);
    await guard(command('commit'));
    expect([bucket.reads, bucket.writes]).toEqual([0, 4]);
  });

  it('is a read more where another worker did the act', async () => {
    await guard(command('prepare'));
    await guard(command('commit'), undefined, newBarrier('w2'));
    expect([bucket.reads, bucket.writes]).toEqual([1, 4]);
  });

  it('is no write for a duplicate, which is answered from what is read, never from memory', async () => {
    await guard(command('prepare'), () => ({ answer: 'done', output: 1 }));
    expect(await guard(command('prepare', { attempt: 2 }))).toEqual({ answer: 'done', output: 1 });
    expect([bucket.reads, bucket.writes]).toEqual([1, 2]);
    expect(calls).toEqual(['prepare']);
  });
});

describe('a bucket with faults', () => {
  it.each([[['answer-lost']], [['not-stored']], [['not-stored', 'answer-lost', 'none']]] as const)(
    'runs the handler once when the claim meets %j',
    async (faults) => {
      bucket.faults = [...faults];
      expect(await drive(guard(command('prepare')))).toEqual({ answer: 'done' });
      expect(calls).toEqual(['prepare']);
      expect(await guard(command('prepare'))).toEqual({ answer: 'done' });
    },
  );

  it.each([[['answer-lost']], [['not-stored']], [['not-stored', 'answer-lost']]] as const)(
    'reports and remembers the answer when the final write meets %j',
    async (faults) => {
      bucket.faults = ['none', ...faults];
      expect(await drive(guard(command('prepare')))).toEqual({ answer: 'done' });
      expect(await guard(command('prepare'), undefined, newBarrier('w2'))).toEqual({ answer: 'done' });
      expect(calls).toEqual(['prepare']);
    },
  );

  it('can still vouch for a no when only the answer to its claim was lost', async () => {
    bucket.faults = ['answer-lost'];
    const no = { answer: 'refused', code: 'no' } as const;
    expect(await drive(guard(command('prepare'), () => no))).toEqual(no);
  });

  it('runs nothing and says retry when it cannot be reached', async () => {
    bucket.faults = Array.from({ length: 10 }, () => 'not-stored' as const);
    const reply = await drive(guard(command('prepare')));
    // It never saw the record: another copy of the command may stand there.
    expect(reply).toEqual({ answer: 'retry', code: 'barrier-unavailable', mayHaveRun: true });
    expect(calls).toEqual([]);
  });

  it('admits an effect that could not be recorded', async () => {
    bucket.faults = ['none', 'refused'];
    const reply = await guard(command('prepare'));
    expect(reply).toEqual({ answer: 'done', lateEffect: true });
  });

  it.each([
    'not json',
    '{"v":2,"by":"x","phases":{}}',
    '{"v":1,"by":"x","phases":{"prepare":{"status":"?"}}}',
  ])('runs nothing over a record that it cannot read: %s', async (text) => {
    bucket.put(KEY, text);
    const reply = await guard(command('prepare'));
    expect(reply).toEqual({ answer: 'retry', code: 'barrier-unreadable', mayHaveRun: true });
    expect(calls).toEqual([]);
  });
});

describe('a record', () => {
  it('stays within what its bucket takes: the output of an earlier phase goes first', async () => {
    const large = (name: string): Reply => ({ answer: 'done', output: `${name}${'x'.repeat(16_300)}` });
    await guard(command('prepare'), () => large('prepare'));
    await guard(command('commit'), () => large('commit'));
    const entry = await bucket.get(KEY);
    expect(entry?.value.length).toBeLessThan(32_000);
    expect(await guard(command('commit', { attempt: 2 }))).toEqual(large('commit'));
    expect(calls).toEqual(['prepare', 'commit']);
  });
});

describe('a claim', () => {
  const slow = () => {
    let end: (reply: Reply) => void = () => undefined;
    const promise = new Promise<Reply>((resolve) => (end = resolve));
    return { promise, end: (reply: Reply) => end(reply) };
  };

  it('is renewed while its handler runs, also over lost answers, and its final write wins', async () => {
    const handler = slow();
    const first = guard(command('prepare'), () => handler.promise);
    await settled();
    bucket.faults = ['answer-lost', 'not-stored'];
    for (let third = 0; third < 9; third += 1) {
      clock.advance(LEASE_MS / 3);
      await settled();
    }
    const undo = await guard(command('abort'), undefined, newBarrier('w2'));
    expect(undo).toMatchObject({ answer: 'retry', code: 'busy' });
    handler.end({ answer: 'done', output: 'slow' });
    expect(await first).toEqual({ answer: 'done', output: 'slow' });
    expect(calls).toEqual(['prepare']);
    expect(clock.timers).toBe(0);
  });

  it('is waited for by a command of its phase, which then gets its answer', async () => {
    const handler = slow();
    const first = guard(command('prepare'), () => handler.promise);
    await settled();
    const twin = guard(command('prepare'), undefined, newBarrier('w2'));
    for (let look = 0; look < 20; look += 1) {
      clock.advance(100);
      await settled();
    }
    handler.end({ answer: 'done', output: 'once' });
    expect(await drive(Promise.all([first, twin]))).toEqual([
      { answer: 'done', output: 'once' },
      { answer: 'done', output: 'once' },
    ]);
    expect(calls).toEqual(['prepare']);
  });

  it('is not waited for longer than a lease, nor by a command that ran out of time', async () => {
    const first = guard(command('prepare'), () => slow().promise);
    await settled();
    const other = newBarrier('w2');
    const abandoned = other.guard(command('prepare'), { abandoned: true, run: () => ({ answer: 'done' }) });
    expect(await abandoned).toMatchObject({ answer: 'retry', code: 'busy' });
    let reply: Reply | undefined;
    const twin = guard(command('prepare'), undefined, other).then((answer) => (reply = answer));
    for (let waitedMs = 0; waitedMs < LEASE_MS; waitedMs += 250) {
      expect(reply).toBeUndefined();
      clock.advance(250);
      await settled();
    }
    clock.advance(250);
    expect(await twin).toMatchObject({ answer: 'retry', code: 'busy', mayHaveRun: true });
    expect(calls).toEqual(['prepare']);
    void first;
  });

  it('of a dead worker is taken over after its lease by an undo, and its late effect reopens the undo', async () => {
    const handler = slow();
    const dead = { abandoned: true, run: () => (calls.push('prepare'), handler.promise) };
    const first = barrier.guard(command('prepare'), dead);
    await settled();
    const other = newBarrier('w2');
    expect(await guard(command('abort'), undefined, other)).toMatchObject({ code: 'busy' });
    clock.advance(LEASE_MS + 200);
    expect(await guard(command('abort', { attempt: 2 }), undefined, other)).toEqual({ answer: 'done' });
    handler.end({ answer: 'done' });
    expect(await first).toEqual({ answer: 'done', lateEffect: true });
    expect(await guard(command('abort', { attempt: 3 }), undefined, other)).toEqual({ answer: 'done' });
    expect(await guard(command('abort', { attempt: 4 }), undefined, other)).toEqual({ answer: 'done' });
    expect(calls).toEqual(['prepare', 'abort', 'abort']);
  });

  it('is not taken over early by a worker whose estimate stems from before the clock was set back', async () => {
    const handler = slow();
    const first = guard(command('prepare'), () => handler.promise);
    await settled();
    const server = new ServerClock(clock);
    server.observe(clock.wallMs() + 10 * LEASE_MS);
    const ahead = newBarrier('w2', server);
    expect(await guard(command('abort'), undefined, ahead)).toMatchObject({ code: 'busy' });
    clock.advance(LEASE_MS / 2);
    expect(await guard(command('abort', { attempt: 2 }), undefined, ahead)).toMatchObject({ code: 'busy' });
    handler.end({ answer: 'done' });
    expect(await first).toEqual({ answer: 'done' });
    expect(await guard(command('abort', { attempt: 3 }), undefined, ahead)).toEqual({ answer: 'done' });
    expect(calls).toEqual(['prepare', 'abort']);
  });

  it('is not taken over early by a worker whose estimate of the time is far behind', async () => {
    const handler = slow();
    const first = guard(command('prepare'), () => handler.promise);
    await settled();
    const server = new ServerClock(clock);
    const lagging = new KvBarrier({
      bucket,
      clock,
      server,
      owner: 'w3',
      logger: silentLogger,
      passing: passOn,
      keepMs: 604_800_000,
      leaseMs: LEASE_MS,
    });
    expect(await guard(command('abort'), undefined, lagging)).toMatchObject({
      code: 'busy',
    });
    // What it read told it the time.
    expect(Math.abs(server.nowMs() - clock.wallMs())).toBeLessThan(5);
    handler.end({ answer: 'done' });
    await first;
  });
});

describe('what a record holds', () => {
  it('is recalled for a command that must not run; nothing is run or written for it', async () => {
    expect(await barrier.recall(command('prepare')), 'no record').toBeUndefined();
    await guard(command('prepare'), () => ({ answer: 'done', output: { hold: 7 } }));
    const { writes } = bucket;
    expect(await newBarrier('w2').recall(command('prepare', { redelivered: true }))).toEqual({
      answer: 'done',
      output: { hold: 7 },
    });
    expect(await barrier.recall(command('commit')), 'another phase').toBeUndefined();
    await guard(command('commit'), () => ({ answer: 'unknown' }));
    expect(await barrier.recall(command('commit')), 'no answer that counts').toBeUndefined();
    expect([calls, bucket.writes - writes]).toEqual([['prepare', 'commit'], 2]);
  });

  it('is not recalled of an attempt that left nothing, for a later one', async () => {
    await guard(command('prepare'), () => ({ answer: 'retry' }));
    expect(await barrier.recall(command('prepare', { redelivered: true }))).toMatchObject({
      answer: 'retry',
    });
    expect(await barrier.recall(command('prepare', { attempt: 2 }))).toBeUndefined();
  });
});
