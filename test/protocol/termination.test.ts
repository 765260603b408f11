// Goal: no step is ended before all that was sent to its participant was taken in; each is ended once, told until it is
// stored, and one that cannot be read stops nobody. Method: a bucket in memory, a clock moved by hand, planted faults.
import { beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { reportSchema, type CommandEnvelope } from '../../src/protocol/envelopes.ts';
import type { Reply } from '../../src/reliability/barrier.ts';
import { KvBarrier } from '../../src/reliability/barrier-kv.ts';
import { Termination } from '../../src/reliability/termination.ts';
import { passOn } from '../../src/ports/crash-points.ts';
import { ServerClock } from '../../src/runtime/server-clock.ts';
import { HandClock, settled } from '../kit/hand-clock.ts';
import { MemoryKeyValue } from '../kit/memory-key-value.ts';

const WAIT_MS = 60_000;
const SCAN_MS = 15_000;
let clock: HandClock;
let bucket: MemoryKeyValue;
let barrier: KvBarrier;
let termination: Termination;
let ends: string[];
let failing: boolean;
/** By durable. */
let consumers: Record<'open' | 'close', { lastSeq: number; ackFloor: number }>;
let stored: Map<number, CommandEnvelope[]>;

beforeEach(() => {
  clock = new HandClock();
  bucket = new MemoryKeyValue(() => clock.wallMs());
  const server = new ServerClock(clock);
  server.observe(clock.wallMs());
  const named = { bucket, clock, server, logger: silentLogger, passing: passOn };
  barrier = new KvBarrier({ ...named, owner: 'w1', keepMs: 604_800_000, leaseMs: 20_000 });
  ends = [];
  failing = false;
  consumers = { open: { lastSeq: 9, ackFloor: 9 }, close: { lastSeq: 0, ackFloor: 0 } };
  stored = new Map();
  termination = new Termination({
    stream: 'DTX_3PC_STREAM',
    barrier,
    log: {
      get: async (_, seq) => {
        const body = stored.get(seq);
        if (body === undefined) return undefined;
        const data = Buffer.from(JSON.stringify(body));
        return { seq, timeMs: 1, subject: '3pc.hotel.prepare', data };
      },
    },
    clock,
    server,
    logger: silentLogger,
    scanMs: SCAN_MS,
    consumers: [
      { durable: 'open', filters: [] },
      { durable: 'close', filters: [] },
    ],
    progress: async ({ durable }) => ({ ...consumers[durable as 'open'] }),
    end: async ({ step }, phase) => {
      if (failing) throw new Error('planted');
      ends.push(`${step} ${phase}`);
    },
  });
  termination.start();
});

const commandOf = (step: string): CommandEnvelope => ({
  ...{ v: 1, tx: 't', run: '1.0.1', step, phase: 'prepare', attempt: 1, shard: 0, action: 'book' },
  ...{ cause: { at: '1.0', time: 1 }, since: clock.wallMs() },
});

/** The step voted yes, at `seq` in the stream. */
async function votedYes(step: string, seq: number): Promise<void> {
  const command = commandOf(step);
  stored.set(seq, [commandOf('neighbour'), command]);
  const reply = await barrier.guard(
    {
      ...command,
      pattern: '3pc',
      ran: false,
      redelivered: false,
      standing: { at: `${seq}.1`, waitMs: WAIT_MS },
    },
    { abandoned: false, run: (): Reply => ({ answer: 'done' }) },
  );
  expect(reply.answer).toBe('done');
}

async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 250) {
    clock.advance(Math.min(250, left));
    await settled();
  }
}

describe('steps without a coordinator', () => {
  it('are ended once they have waited, not before', async () => {
    await votedYes('a', 5);
    await pass(WAIT_MS - SCAN_MS);
    expect(ends).toEqual([]);
    await pass(2 * SCAN_MS);
    expect(ends[0]).toBe('a abort');
  });

  for (const side of ['open', 'close'] as const)
    it(`wait until ${side} has taken in what it had when their time was up, and no longer`, async () => {
      await votedYes('a', 5);
      consumers[side] = { lastSeq: 30, ackFloor: 29 };
      await pass(WAIT_MS * 5);
      expect(ends).toEqual([]);
      consumers[side] = { lastSeq: 99, ackFloor: 30 };
      await pass(250);
      expect(ends).toEqual(['a abort']);
    });

  it('are left alone when something more was heard', async () => {
    await votedYes('a', 5);
    await barrier.guard(
      { ...commandOf('a'), phase: 'commit', pattern: '3pc', ran: false, redelivered: false },
      { abandoned: false, run: (): Reply => ({ answer: 'done' }) },
    );
    await pass(WAIT_MS * 3);
    expect(ends).toEqual([]);
  });

  it('are tried again when their end failed', async () => {
    await votedYes('a', 5);
    failing = true;
    await pass(WAIT_MS * 2);
    failing = false;
    await pass(SCAN_MS);
    expect(ends).toEqual(['a abort']);
  });

  it('are not held up by a record nobody can read, or a command the stream does not hold', async () => {
    bucket.put('3pc.t.1.0.1.broken', 'no record');
    await votedYes('lost', 4);
    stored.delete(4);
    await votedYes('foreign', 6);
    stored.set(6, [commandOf('x'), commandOf('y')]);
    await votedYes('a', 5);
    await pass(WAIT_MS + SCAN_MS);
    expect(ends).toEqual(['a abort']);
  });

  it('are no concern of a closed worker, also while it waits', async () => {
    await votedYes('a', 5);
    consumers.open = { lastSeq: 30, ackFloor: 0 };
    await pass(WAIT_MS * 2);
    await termination.close();
    consumers.open = { lastSeq: 30, ackFloor: 30 };
    await pass(WAIT_MS * 2);
    expect(ends).toEqual([]);
  });

  it('are all found by one look, which reads nothing else, however much the bucket holds', async () => {
    const over = {
      v: 1,
      by: 'x',
      phases: { commit: { status: 'answered', attempt: 1, reply: { answer: 'done' } } },
    };
    for (let index = 0; index < 5_000; index += 1)
      bucket.put(`3pc.old.1.0.1.s${index}`, JSON.stringify(over));
    const many = 1_100;
    for (let index = 0; index < many; index += 1) await votedYes(`s${index}`, 100 + index);
    await pass(SCAN_MS);
    const { reads } = bucket;
    await pass(SCAN_MS);
    expect(bucket.reads, 'what is not due yet is not read again').toBe(reads);
    await pass(WAIT_MS - SCAN_MS);
    expect(new Set(ends).size).toBe(many);
    expect(bucket.reads - reads, 'once to find it due, once before its end').toBeLessThanOrEqual(
      2 * many + 10,
    );
  });

  it('leave the list when they are over, and what a crash left on it goes too', async () => {
    await votedYes('a', 5);
    await votedYes('b', 6);
    expect(await barrier.standing()).toHaveLength(2);
    const commit = {
      ...commandOf('a'),
      phase: 'commit' as const,
      pattern: '3pc' as const,
      redelivered: false,
    };
    const standing = { at: '9.0', waitMs: WAIT_MS };
    await barrier.guard(
      { ...commit, ran: false, standing },
      { abandoned: false, run: () => ({ answer: 'done' }) },
    );
    await settled();
    await pass(1_000);
    expect(await barrier.standing()).toEqual(['3pc.t.1.0.1.b']);
    bucket.put('standing.3pc.t.1.0.1.a', '{"v":1}');
    bucket.put('standing.3pc.t.1.0.1.gone', '{"v":1}');
    await pass(SCAN_MS + 1_000);
    expect(await barrier.standing()).toEqual(['3pc.t.1.0.1.b']);
    expect(ends).toEqual([]);
  });

  it('are never unlisted while they stand, whichever write fails', async () => {
    for (const faults of [
      ['none', 'refused'],
      ['none', 'none', 'refused'],
      ['none', 'answer-lost'],
      ['none', 'not-stored'],
    ] as const) {
      const step = faults.join('-');
      bucket.faults = [...faults];
      const voted = votedYes(step, 5).catch(() => undefined);
      await pass(2_000);
      await voted;
      bucket.faults = [];
      const key = `3pc.t.1.0.1.${step}`;
      const stands = (await barrier.look(key))?.record.standing !== undefined;
      const listed = (await barrier.standing()).includes(key);
      expect([step, listed || !stands]).toEqual([step, true]);
    }
  });

  it('are held up by a stuck floor only if they became due behind what it waits for', async () => {
    await votedYes('early', 5);
    consumers.open = { lastSeq: 20, ackFloor: 9 };
    await pass(WAIT_MS + SCAN_MS);
    await votedYes('late', 6);
    consumers.open = { lastSeq: 50, ackFloor: 20 };
    await pass(250);
    expect(ends).toEqual(['early abort']);
    await pass(WAIT_MS + SCAN_MS);
    expect(new Set(ends)).toEqual(new Set(['early abort']));
    consumers.open = { lastSeq: 90, ackFloor: 50 };
    await pass(250);
    expect(ends).toContain('late abort');
  });

  it('are not ended when something was heard while they waited for the floor', async () => {
    await votedYes('a', 5);
    consumers.open = { lastSeq: 20, ackFloor: 9 };
    await pass(WAIT_MS + SCAN_MS);
    const precommit = { ...commandOf('a'), phase: 'precommit' as const, pattern: '3pc' as const };
    const standing = { at: '20.0', waitMs: WAIT_MS };
    const guarded = { ...precommit, ran: false, redelivered: false, standing };
    await barrier.guard(guarded, { abandoned: false, run: () => ({ answer: 'done' }) });
    consumers.open = { lastSeq: 20, ackFloor: 20 };
    await pass(500);
    expect(ends).toEqual([]);
  });
});

describe('the barrier, ending a step', () => {
  const guarded = { ...commandOfStatic(), pattern: '3pc' as const, ran: true, redelivered: false };
  function commandOfStatic() {
    return { tx: 't', run: '1.0.1', step: 'a', phase: 'abort' as const, attempt: 1, since: 0 };
  }
  let runs: number;
  const end = (run: () => Reply = () => ({ answer: 'done' })): Promise<Reply | undefined> =>
    barrier.end(guarded, { abandoned: false, run: () => ((runs += 1), run()) });
  beforeEach(() => {
    runs = 0;
    clock.after(0, () => undefined);
  });

  it('runs the handler once, also when an answer of the bucket gets lost', async () => {
    await votedYes('a', 5);
    await termination.close();
    clock.advance(WAIT_MS);
    bucket.faults = ['none', 'none', 'answer-lost'];
    const ended = end();
    await pass(1_000);
    expect(await ended).toMatchObject({ answer: 'terminated', result: 'aborted' });
    expect(await end(), 'told again until it is reported').toMatchObject({ answer: 'terminated' });
    await barrier.ended(guarded);
    expect(await end()).toBeUndefined();
    expect(runs).toBe(1);
  });

  it('runs nothing before the time, without a record, or when it loses the record', async () => {
    expect(await end()).toBeUndefined();
    await votedYes('a', 5);
    await termination.close();
    expect(await end()).toBeUndefined();
    clock.advance(WAIT_MS);
    expect(
      await barrier.end(
        { ...guarded, phase: 'commit' },
        { abandoned: false, run: () => ({ answer: 'done' }) },
      ),
    ).toBeUndefined();
    const command = { ...guarded, phase: 'precommit' as const, ran: false };
    const [first, second] = await Promise.all([
      end(),
      barrier.guard(command, { abandoned: false, run: (): Reply => ({ answer: 'done' }) }),
    ]);
    const wins = [first !== undefined, second.answer === 'done'];
    expect(wins.filter(Boolean), 'one of them').toHaveLength(1);
    expect(runs).toBe(first === undefined ? 0 : 1);
  });

  it('reports nothing when the handler did nothing, and tries again after the wait', async () => {
    await votedYes('a', 5);
    await termination.close();
    clock.advance(WAIT_MS);
    expect(await end(() => ({ answer: 'unknown', code: 'handler-error' }))).toBeUndefined();
    expect(await end()).toBeUndefined();
    clock.advance(WAIT_MS);
    expect(await end()).toMatchObject({ answer: 'terminated' });
    expect(runs).toBe(2);
  });
});

it('the report of an own end is one that its schema takes, also when the step had an output', async () => {
  const guarded = { ...commandOf('a'), pattern: '3pc' as const, ran: false, redelivered: false };
  const yes = (): Reply => ({ answer: 'done', output: { hold: 7 } });
  const standing = { at: '5.1', waitMs: WAIT_MS };
  await barrier.guard({ ...guarded, standing }, { abandoned: false, run: yes });
  clock.advance(WAIT_MS + 1);
  const end = { ...guarded, phase: 'abort' as const };
  for (const time of ['first', 'again']) {
    const reply = await barrier.end(end, { abandoned: false, run: yes });
    expect([time, reply]).toEqual([time, { answer: 'terminated', result: 'aborted' }]);
    const { tx, run, step, attempt, cause } = guarded;
    const report = { v: 1, tx, run, step, phase: 'prepare', attempt, cause, ...reply };
    expect(reportSchema.safeParse(report).success).toBe(true);
  }
});
