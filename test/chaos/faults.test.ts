// Goal: handlers that misbehave, participants that are missing and servers that go away end a transaction as it
// should end, seen through the whole stack.
// Method: coordinator, workers and client on a real nats-server, plans with short deadlines.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  done,
  PhasorError,
  replayLog,
  retry,
  saga,
  twoPhaseCommit,
  type Action,
  type BuiltPlan,
  type Handler,
  type Json,
  type Pattern,
  type Story,
} from '../../src/index.ts';
import { silentParticipants, storyLines } from '../../src/cli/story.ts';
import { subjects, type Subject } from '../../src/kernel/subjects.ts';
import { eventually } from '../kit/eventually.ts';
import { Rig } from '../kit/rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ shards: 2 });
});
afterEach(() => rig.reset());
afterAll(() => rig.stop());

const WAIT = { timeoutMs: 15_000 };
const ACK_WAIT_MS = 900;
/** One try of 300 ms; undone as often as it takes. */
const SHORT = {
  retry: { maxAttempts: 1, attempt: 300 },
  undoRetry: { maxAttempts: 40, initial: 50, max: 200, attempt: 1_000 },
};

const nonsense = (value: unknown): Handler => (() => value) as Handler;
const MISDEEDS: Readonly<Record<string, Handler>> = {
  throws: () => {
    throw new Error('planted');
  },
  rejects: () => Promise.reject(new Error('planted')),
  hangs: () => new Promise(() => undefined),
  'returns a number': nonsense(42),
  'returns an unknown answer': nonsense({ answer: 'maybe' }),
  'returns a proxy that throws': nonsense(
    new Proxy(
      {},
      {
        get: () => {
          throw new Error('planted');
        },
      },
    ),
  ),
};

/** Every step of `bad` misbehaves in the phase named; what is called elsewhere is written down. */
async function cast(barrier: 'kv' | 'none', bad: Action): Promise<string[]> {
  const calls: string[] = [];
  const record: Handler = ({ step, phase }) => void calls.push(`${step} ${phase}`);
  const good = { prepare: record, commit: record, abort: record, execute: record, compensate: record };
  const settings = { barrier, ackWaitMs: ACK_WAIT_MS };
  await rig.worker({ participant: 'good', actions: { act: good }, ...settings });
  await rig.worker({ participant: 'bad', actions: { act: { ...good, ...bad } }, ...settings });
  await rig.coordinator();
  return calls;
}

const pair = (name: string): BuiltPlan<'2pc'> =>
  twoPhaseCommit(name)
    .step('first', { participant: 'good', action: 'act' })
    .step('second', { participant: 'bad', action: 'act' })
    .build(SHORT);
const chain = (name: string): BuiltPlan<'saga'> =>
  saga(name)
    .step('first', { participant: 'good', action: 'act' })
    .step('second', { participant: 'bad', action: 'act' })
    .build(SHORT);

async function run(plan: BuiltPlan<Pattern>, tx?: string) {
  const client = await rig.client();
  return client.run({ ...plan, ...(tx === undefined ? {} : { tx }) }, WAIT);
}

async function storyOf(pattern: Pattern, tx: string): Promise<Story> {
  const stories: Story[] = [];
  const { world } = await rig.world();
  await replayLog(world, { pattern, txs: [tx], onStory: (story) => stories.push(story) });
  return stories.at(-1)!;
}

describe.each(['none', 'kv'] as const)('with barrier %s, a handler that', (barrier) => {
  it.each(Object.keys(MISDEEDS))('%s while it votes: everyone aborts', async (misdeed) => {
    const calls = await cast(barrier, { prepare: MISDEEDS[misdeed]! });
    const outcome = await run(pair(misdeed));
    expect(outcome).toMatchObject({ status: 'aborted', step: 'second' });
    expect(outcome.attention).toBeUndefined();
    // It may have run: it is aborted like the other.
    expect(calls.filter((call) => call.endsWith('abort')).sort()).toEqual(['first abort', 'second abort']);
    expect(calls.filter((call) => call.endsWith('commit'))).toEqual([]);
  });

  it.each(Object.keys(MISDEEDS))('%s in a step of a saga: what may have run is undone', async (misdeed) => {
    const calls = await cast(barrier, { execute: MISDEEDS[misdeed]! });
    const outcome = await run(chain(misdeed));
    expect(outcome).toMatchObject({ status: 'compensated', step: 'second' });
    expect(calls).toEqual(['first execute', 'second compensate', 'first compensate']);
  });

  it('throws twice while it commits: it is asked until it has', async () => {
    let tries = 0;
    const calls = await cast(barrier, {
      commit: () => {
        tries += 1;
        if (tries <= 2) throw new Error('planted');
      },
    });
    expect(await run(pair('stubborn'))).toMatchObject({ status: 'committed' });
    expect(tries).toBe(3);
    expect(calls).toContain('first commit');
  });
});

describe('an undo that never succeeds', () => {
  it('ends in attention that names the step; what does not depend on it is undone all the same', async () => {
    const lost: Handler = () => Promise.reject(new Error('planted'));
    const calls = await cast('none', { execute: lost, compensate: () => retry('busy') });
    const client = await rig.client();
    const plan = saga('stuck')
      .step('first', { participant: 'good', action: 'act' })
      .step('beside', { participant: 'good', action: 'act', after: ['first'] })
      .step('second', { participant: 'bad', action: 'act', after: ['first'] })
      .build({ ...SHORT, undoRetry: { maxAttempts: 2, initial: 20, attempt: 200 } });
    const handle = await client.begin(plan);
    const found = await eventually(
      async () => {
        const run = await client.describe('saga', handle.tx);
        return run.attention.length > 0 && run;
      },
      { what: 'attention' },
    );
    expect(found.open).toBe(true);
    expect(found.attention).toMatchObject([{ step: 'second', phase: 'compensate' }]);
    await eventually(() => calls.includes('beside compensate'), { what: 'the undo beside it' });
    // Its turn comes after all that depend on it.
    expect(calls).not.toContain('first compensate');
  });
});

describe('a participant without workers', () => {
  it('makes a saga wait for its deadline, then compensates; its story says who was silent', async () => {
    const calls: string[] = [];
    const record: Handler = ({ step, phase }) => void calls.push(`${step} ${phase}`);
    await rig.worker({ participant: 'good', actions: { act: { execute: record, compensate: record } } });
    await rig.coordinator();
    const client = await rig.client();
    const plan = saga('lonely')
      .step('first', { participant: 'good', action: 'act' })
      .step('second', { participant: 'nobody', action: 'act' })
      .build({ ...SHORT, undoRetry: { maxAttempts: 2, initial: 20, attempt: 200 } });
    const handle = await client.begin(plan);
    const waiting = await eventually(
      async () => {
        const found = await client.describe('saga', handle.tx);
        return found.waitsFor.includes('second') && found;
      },
      { what: 'the second step' },
    );
    expect(waiting.open).toBe(true);
    const ended = await eventually(
      async () => {
        const story = await storyOf('saga', handle.tx);
        return story.view.attention.length > 0 && story;
      },
      { what: 'attention' },
    );
    // What nobody answers may have run: its undo is commanded, and nobody answers that either.
    expect(silentParticipants(ended)).toEqual(['nobody']);
    expect(storyLines(ended).join('\n')).toMatch(/no answer {2}from nobody/);
  });

  it('is answered for as soon as a worker starts, within the deadline', async () => {
    await rig.coordinator();
    const client = await rig.client();
    const plan = saga('late').step('only', { participant: 'latecomer', action: 'act' }).build();
    const handle = await client.begin(plan);
    await eventually(() => client.describe('saga', handle.tx), { what: 'the run' });
    await rig.worker({ participant: 'latecomer', actions: { act: { execute: () => done({ late: true }) } } });
    expect(await handle.outcome(WAIT)).toMatchObject({
      status: 'completed',
      outputs: { only: { late: true } },
    });
  });
});

describe('own ids', () => {
  it('of two patterns do not meet; an equal plan is told again, another one is a mismatch', async () => {
    await cast('none', {});
    const tx = 'order-1';
    const [first, second] = await Promise.all([run(pair('a'), tx), run(chain('a'), tx)]);
    expect([first.status, second.status]).toEqual(['committed', 'completed']);
    expect(await run(pair('a'), tx)).toMatchObject({ status: 'committed', run: first.run, duplicate: true });
    expect(await run(chain('a'), tx)).toMatchObject({
      status: 'completed',
      run: second.run,
      duplicate: true,
    });
    expect((await run(pair('b'), tx)).status).toBe('mismatch');
    expect((await run(chain('b'), tx)).status).toBe('mismatch');
  });
});

describe('a participant that answers twice', () => {
  it.each([
    ['the same', { answer: 'done' }],
    ['the opposite', { answer: 'refused', code: 'second-thoughts' }],
  ] as const)('%s: the first answer counts', async (_, second) => {
    const calls = await cast('none', {});
    const { world } = await rig.world();
    const client = await rig.client();
    const { tx } = await client.run(pair('once'), WAIT);
    const filter = subjects.allInputs('2pc');
    const reports = await rig.envelopes('2pc', filter);
    const vote = reports.find((each) => each['tx'] === tx && each['step'] === 'second')!;
    const { subject, ...report } = vote;
    const again = Buffer.from(JSON.stringify([{ ...report, ...second }]));
    await world.log.append(subject as Subject, again);
    // Whatever is begun later is folded later.
    expect(await client.run(pair('later'), WAIT)).toMatchObject({ status: 'committed' });
    const story = await storyOf('2pc', tx);
    expect(story).toMatchObject({ open: false, outcome: { status: 'committed' }, contradictions: [] });
    expect(calls.filter((call) => call === 'second commit')).toHaveLength(2);
    expect((await deadLetters()).filter((text) => text.includes(tx))).toEqual([]);
  });
});

async function deadLetters(): Promise<readonly string[]> {
  const { connection } = await rig.world();
  const texts: string[] = [];
  const info = await connection.nc.request('$JS.API.STREAM.INFO.DTX_DEAD_LETTER_STREAM', '');
  const { state } = info.json<{ readonly state: { readonly last_seq: number } }>();
  for (let seq = 1; seq <= state.last_seq; seq += 1) {
    const answer = await connection.nc.request(
      '$JS.API.STREAM.MSG.GET.DTX_DEAD_LETTER_STREAM',
      JSON.stringify({ seq }),
    );
    const { message } = answer.json<{ readonly message?: { readonly data?: string } }>();
    texts.push(Buffer.from(message?.data ?? '', 'base64').toString());
  }
  return texts;
}

describe('servers and streams', () => {
  it('a server that goes away in the middle and comes back: what is open ends', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let entered: () => void = () => undefined;
    const isIn = new Promise<void>((resolve) => (entered = resolve));
    const calls = await cast('none', {
      prepare: async () => {
        entered();
        await held;
        return done({ voted: 'yes' } satisfies Json);
      },
    });
    const client = await rig.client();
    const { plan } = pair('interrupted');
    const patient = { ...plan, retry: { maxAttempts: 3, attempt: 20_000 } };
    const handle = await client.begin({ pattern: '2pc', plan: patient });
    await isIn;
    await rig.nats.kill('SIGKILL');
    release();
    const outcome = handle.outcome({ timeoutMs: 30_000 });
    await rig.nats.restart();
    expect(await outcome).toMatchObject({ status: 'committed' });
    expect(new Set(calls)).toEqual(new Set(['first prepare', 'first commit', 'second commit']));
  });

  it('without its streams nothing starts, and every part says what to do', async () => {
    await using bare = await bareServer();
    const missing = (work: Promise<unknown>): Promise<string> =>
      work.then(
        () => 'it works',
        (error: unknown) => (PhasorError.is(error) ? error.code + error.hint : String(error)),
      );
    const expected = expect.stringMatching(/^STREAM_MISSING.*phasor streams apply/);
    expect(await missing(bare.rig.coordinator())).toEqual(expected);
    const worker = { participant: 'good', actions: { act: { execute: () => done() } } };
    expect(await missing(bare.rig.worker(worker))).toEqual(expected);
    expect(await missing(bare.rig.client().then((client) => client.begin(chain('nowhere'))))).toEqual(
      expected,
    );
  });
});

async function bareServer(): Promise<AsyncDisposable & { readonly rig: Rig }> {
  const bare = await Rig.start({ shards: 2 });
  const { connection } = await bare.world();
  const answer = await connection.nc.request('$JS.API.STREAM.NAMES', '');
  const { streams } = answer.json<{ readonly streams: readonly string[] }>();
  for (const name of streams) await connection.nc.request(`$JS.API.STREAM.DELETE.${name}`, '');
  return { rig: bare, [Symbol.asyncDispose]: () => bare.stop() };
}
