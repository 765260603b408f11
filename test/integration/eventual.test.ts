// Goal: 0.5PS end to end on a real nats-server: taken, confirmed, or dead with a letter that says so; never lost.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DEAD_LETTER_STREAM, subjects } from '../../src/kernel/subjects.ts';
import { deadLetterSchema, type DeadLetterBody } from '../../src/protocol/dead-letter.ts';
import { eventual } from '../../src/runtime/client/index.ts';
import { startCoordinator } from '../../src/runtime/coordinator.ts';
import { done, refused } from '../../src/runtime/worker-answers.ts';
import type { Worker, WorkerOptions } from '../../src/runtime/worker.ts';
import { eventually } from '../kit/eventually.ts';
import { Rig } from '../kit/rig.ts';

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start({ shards: 2 });
});
afterEach(() => rig.reset());
afterAll(() => rig.stop());

interface Letter extends DeadLetterBody {
  readonly on: string;
  readonly commands: readonly Record<string, unknown>[];
}

/** The letters of one transaction, as they lie in the stream. */
async function lettersOf(tx: string): Promise<readonly Letter[]> {
  const { world } = await rig.world();
  const { lastSeq } = await world.log.state(DEAD_LETTER_STREAM);
  const found: Letter[] = [];
  for (let seq = 1; seq <= lastSeq; seq += 1) {
    const message = await world.log.get(DEAD_LETTER_STREAM, seq);
    if (message === undefined) continue;
    const body = deadLetterSchema.parse(JSON.parse(Buffer.from(message.data).toString()));
    const commands = JSON.parse(Buffer.from(body.data, 'base64').toString()) as Letter['commands'];
    if (commands.some((command) => command['tx'] === tx))
      found.push({ ...body, on: message.subject, commands });
  }
  return found;
}

const serve = (options: Pick<WorkerOptions, 'participant' | 'actions'>): Promise<Worker> =>
  rig.worker({ ...options, patterns: ['eventual'] });

const news = () =>
  eventual('news')
    .step('mail', { participant: 'mailer', action: 'send', input: { to: 'you' } })
    .step('count', { participant: 'stats', action: 'count' });

describe('0.5PS', () => {
  it('takes every step, each by itself, tried again until it is taken', async () => {
    let tries = 0;
    await serve({
      participant: 'mailer',
      actions: {
        send: {
          execute: () => {
            tries += 1;
            if (tries < 3) throw new Error('no line');
            return done({ tries });
          },
        },
      },
    });
    await serve({ participant: 'stats', actions: { count: { execute: () => done() } } });
    await rig.coordinator({ patterns: ['eventual'] });
    const client = await rig.client();
    const outcome = await client.run(news().build({ retry: { initial: 20, max: 20 } }), {
      timeoutMs: 15_000,
    });
    expect(outcome).toMatchObject({ status: 'completed', outputs: { mail: { tries: 3 } } });
    expect(await lettersOf(outcome.tx)).toEqual([]);
  });

  it('buries what is refused, with the command in the letter; the others go on', async () => {
    await serve({
      participant: 'mailer',
      actions: { send: { execute: () => refused('no-such-address') } },
    });
    await serve({ participant: 'stats', actions: { count: { execute: () => done(1) } } });
    await rig.coordinator({ patterns: ['eventual'] });
    const client = await rig.client();
    const outcome = await client.run(news().build(), { timeoutMs: 15_000 });
    expect(outcome).toMatchObject({
      status: 'dead',
      code: 'no-such-address',
      step: 'mail',
      outputs: { count: 1 },
    });
    const [letter, ...others] = await lettersOf(outcome.tx);
    expect(others).toEqual([]);
    expect(letter).toMatchObject({ on: 'dead.eventual.mailer', subject: 'eventual.mailer.execute' });
    expect(letter?.problem).toBe('step mail is dead (no-such-address); it has not run');
    expect(letter?.commands).toMatchObject([{ step: 'mail', attempt: 1, input: { to: 'you' } }]);
  });

  it('buries all that its deadline finds open, one letter for each participant, also of two at one input', async () => {
    await rig.coordinator({ patterns: ['eventual'] });
    const client = await rig.client();
    const plan = news()
      .step('again', { participant: 'mailer', action: 'send' })
      .build({ deadlines: { run: { lower: 300 } } });
    const outcome = await client.run(plan, { timeoutMs: 15_000 });
    expect(outcome).toMatchObject({ status: 'dead', code: 'deadline', step: 'mail' });
    const letters = await lettersOf(outcome.tx);
    expect(letters.map(({ on }) => on).sort()).toEqual(['dead.eventual.mailer', 'dead.eventual.stats']);
    expect(new Set(letters.map(({ position }) => position)).size).toBe(1);
    const buried = letters.flatMap(({ commands }) => commands.map(({ step }) => step));
    expect(buried.sort()).toEqual(['again', 'count', 'mail']);
  });

  it('writes its letters before its outcome: a coordinator that dies between is replaced', async () => {
    const { world, connection } = await rig.world();
    let died = false;
    const log = {
      ...world.log,
      read: world.log.read.bind(world.log),
      state: world.log.state.bind(world.log),
      get: world.log.get.bind(world.log),
      subjects: world.log.subjects.bind(world.log),
      append: async (...[subject, data, options]: Parameters<typeof world.log.append>) => {
        if (!subject.startsWith('dead.')) return world.log.append(subject, data, options);
        died = true;
        await connection.nc.close();
        throw new Error('killed');
      },
    };
    const doomed = await startCoordinator({ ...world, log }, { patterns: ['eventual'] });
    await serve({ participant: 'mailer', actions: { send: { execute: () => refused('gone') } } });
    const client = await rig.client();
    const handle = await client.begin(
      eventual('one').step('mail', { participant: 'mailer', action: 'send' }).build(),
    );
    await eventually(() => died, { what: 'the crash' });
    const notes = await rig.envelopes('eventual', subjects.allInputs('eventual'));
    expect(notes.filter(({ tx, kind }) => tx === handle.tx && kind === 'outcome')).toEqual([]);
    void doomed.close();
    await rig.coordinator({ patterns: ['eventual'] });
    await eventually(async () => (await lettersOf(handle.tx)).length === 1, { what: 'the letter' });
    expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({ status: 'dead', code: 'gone' });
  });

  it('confirms what was done; a confirm that fails waits for a person, and the caller is told', async () => {
    const confirms: unknown[] = [];
    await serve({
      participant: 'mailer',
      actions: {
        send: {
          execute: () => done({ id: 'm-1' }),
          confirm: ({ output }) => {
            confirms.push(output);
          },
        },
      },
    });
    await serve({
      participant: 'stats',
      actions: { count: { execute: () => done(), confirm: () => refused('closed') } },
    });
    await rig.coordinator({ patterns: ['eventual'] });
    const client = await rig.client();
    const outcome = await client.run(news().build({ deadlines: { confirm: { lower: 20_000 } } }), {
      timeoutMs: 15_000,
    });
    expect(outcome).toMatchObject({ status: 'completed', attention: true });
    expect(confirms).toEqual([{ id: 'm-1' }]);
    const { attention } = await client.describe('eventual', outcome.tx);
    expect(attention).toMatchObject([{ step: 'count', phase: 'confirm', code: 'closed' }]);
  });

  it('is not lost to a cancel', async () => {
    await rig.coordinator({ patterns: ['eventual'] });
    const client = await rig.client();
    const handle = await client.begin(news().build());
    await client.cancel('eventual', handle.tx, 'changed my mind');
    await serve({ participant: 'mailer', actions: { send: { execute: () => done() } } });
    await serve({ participant: 'stats', actions: { count: { execute: () => done() } } });
    expect(await handle.outcome({ timeoutMs: 15_000 })).toMatchObject({ status: 'completed' });
  });
});
