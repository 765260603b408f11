// Goal: a shard sends what its log implies once, at the head of a verified log and never before (Rules 4, 5, 6).
// Method: the real runner, fold and actions over a hand-driven log; publishers that only write down.
import { beforeEach, describe, expect, it } from 'vitest';
import type { PhasorError } from '../../src/errors/phasor-error.ts';
import type { LogMessage, ReadOptions } from '../../src/ports/log.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import type { World } from '../../src/ports/world.ts';
import { timersOf } from '../../src/protocol/run.ts';
import { PhaseMonitor } from '../../src/reliability/phase-monitor.ts';
import type { DeadLetter } from '../../src/runtime/dead-letters.ts';
import { RecentOutcomes } from '../../src/runtime/recent-outcomes.ts';
import { ShardActions, type PatternResources } from '../../src/runtime/shard-actions.ts';
import { ShardRunner } from '../../src/runtime/shard-runner.ts';
import { eventually } from '../kit/eventually.ts';
import { FRESH, T0, twoSteps } from '../kit/fold-rig.ts';
import { CountingRandom, HandClock, settled } from '../kit/hand-clock.ts';

const FACTS = {
  shard: 0,
  shards: 1,
  duplicateWindowMs: 120_000,
  dedupWindowMs: 86_400_000,
} as const;
const MSG_ID = new Map([['Nats-Msg-Id', 'x']]);

class Shard {
  readonly stored: LogMessage[] = [];
  readonly reads: ReadOptions[] = [];
  readonly commands: string[] = [];
  readonly alone: string[] = [];
  readonly inputs: Record<string, unknown>[] = [];
  readonly judged: string[] = [];
  readonly letters: Omit<DeadLetter, 'data'>[] = [];
  readonly failures: PhasorError[] = [];
  readonly gate: string[] = [];
  /** What resolves once a letter or key that was handed on is stored. */
  readonly storing: (() => void)[] = [];
  readonly clock = new HandClock(T0);
  readonly actions: ShardActions;
  readonly runner: ShardRunner;
  created = 'first';

  constructor(readonly pattern: '2pc' | 'eventual' = '2pc') {
    const facts = { ...FACTS, pattern };
    const monitor = new PhaseMonitor({ clock: this.clock, nowMs: () => T0, fire: () => undefined });
    const write = (lines: string[]) => ({
      add: (_subject: string, text: string) => {
        const { step, phase, attempt } = JSON.parse(text) as Record<string, string>;
        lines.push(`${step} ${phase} ${attempt}`);
      },
    });
    const shared = {
      world: this.world(),
      pattern,
      dedupWindowMs: 1_000,
      commands: write(this.commands),
      alone: write(this.alone),
      inputs: {
        add: (_: string, text: string) => this.inputs.push(JSON.parse(text) as Record<string, unknown>),
      },
      monitor,
      keys: {
        judge: ({ tx }: { tx: string }) => {
          this.judged.push(tx);
          return Promise.resolve({ value: 'admit' });
        },
        end: () => new Promise<void>((resolve) => this.storing.push(resolve)),
      },
      recent: new RecentOutcomes(),
      deadLetter: ({ data: _, ...letter }: DeadLetter, stored?: () => void) => {
        this.letters.push(letter);
        if (stored !== undefined) this.storing.push(stored);
      },
      onHalt: () => undefined,
    } as unknown as PatternResources;
    this.actions = new ShardActions(shared, facts);
    this.runner = new ShardRunner({
      world: this.world(),
      stream: 'S',
      facts,
      actions: this.actions,
      onLost: () => this.gate.push('lost'),
      onVerified: () => this.gate.push('verified'),
      onFailure: (error) => this.failures.push(error),
      onTime: () => undefined,
      ready: () => undefined,
    });
  }

  world(): World {
    return {
      clock: this.clock,
      random: new CountingRandom(),
      logger: silentLogger,
      passing: () => undefined,
      bus: { publish: () => undefined },
      log: {
        read: (options: ReadOptions) => {
          this.reads.push(options);
          return Promise.resolve({
            pending: this.stored.length - options.after,
            close: () => Promise.resolve(),
          });
        },
        state: () => Promise.resolve({ created: this.created, nowMs: T0 }),
        get: (_: string, seq: number) => Promise.resolve(this.stored[seq - 1]),
      },
    } as unknown as World;
  }

  store(from: string, envelope: object | string, headers?: ReadonlyMap<string, string>): LogMessage {
    const seq = this.stored.length + 1;
    const data = Buffer.from(typeof envelope === 'string' ? envelope : JSON.stringify([envelope]));
    const message = {
      seq,
      timeMs: T0,
      subject: `${this.pattern}.${from}.0`,
      data,
      ...(headers === undefined ? {} : { headers }),
    };
    this.stored.push(message);
    return message;
  }

  /** Delivers to the newest subscription. */
  deliver(...messages: readonly LogMessage[]): void {
    for (const message of messages) void this.reads.at(-1)?.onMessage(message);
  }

  /** Kinds of what was appended to the log. */
  get noted(): readonly unknown[] {
    return this.inputs.map(({ kind }) => kind);
  }

  async lose(): Promise<void> {
    const reads = this.reads.length;
    this.reads.at(-1)?.onLost('gone');
    await eventually(() => this.reads.length > reads || this.failures.length > 0, {
      what: 'another subscription',
    });
    await settled();
  }
}

const RUN = `1.0.${T0}`;
const begin = (more: object = {}): object => ({
  v: 1,
  tx: FRESH,
  id: 'fresh',
  shards: 1,
  plan: twoSteps,
  ...more,
});
const report = (step: string, phase: string, more: object = {}): object => ({
  ...{ v: 1, tx: FRESH, run: RUN, step, phase, attempt: 1, cause: { at: '1.0', time: T0 }, answer: 'done' },
  ...more,
});
const prepares = ['debit prepare 1', 'credit prepare 1'];

let shard: Shard;
beforeEach(() => {
  shard = new Shard();
});

describe('the head (Rule 6)', () => {
  it('sends nothing before it, then what has no report, once', async () => {
    const messages = [
      shard.store('client.begin', begin(), MSG_ID),
      shard.store('debit.report', report('debit', 'prepare')),
    ];
    await shard.runner.start('first');
    shard.deliver(messages[0]!); // there are two
    expect(shard.commands).toEqual([]);
    shard.deliver(messages[1]!); // there are two
    expect(shard.commands).toEqual(['credit prepare 1']);
  });

  it('after a gap sends only what was implied since', async () => {
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', begin(), MSG_ID));
    expect(shard.commands).toEqual(prepares);
    const missed = [
      shard.store('debit.report', report('debit', 'prepare')),
      shard.store('credit.report', report('credit', 'prepare')),
    ];
    await shard.lose();
    shard.deliver(...missed);
    expect(shard.commands).toEqual([...prepares, 'debit commit 1', 'credit commit 1']);
  });

  it('forgets nothing of a replay that was itself interrupted', async () => {
    const own = { tx: 'order-7', id: 'own' };
    const messages = [
      shard.store('client.begin', begin(), MSG_ID),
      shard.store('client.begin', begin(own)),
      shard.store('debit.report', report('debit', 'prepare')),
    ];
    await shard.runner.start('first');
    shard.deliver(messages[0]!, messages[1]!); // there are three
    await shard.lose();
    shard.deliver(messages[2]!); // there are three
    expect(shard.commands).toEqual(['credit prepare 1']);
    expect(shard.judged).toEqual(['order-7']);
  });
});

describe('a verified log (Rule 5)', () => {
  it('goes on only after the last folded message was read again', async () => {
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', begin(), MSG_ID));
    await shard.lose();
    expect(shard.gate).toEqual(['lost', 'verified']);
    expect(shard.reads.at(-1)?.after).toBe(1);
  });

  it('hears nothing more from the subscription that was lost', async () => {
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', begin(), MSG_ID));
    await shard.lose();
    const before = shard.runner.fold.runs.get(RUN)?.state;
    const message = shard.store('debit.report', report('debit', 'prepare'));
    void shard.reads[0]?.onMessage(message);
    expect(shard.runner.fold.runs.get(RUN)?.state).toBe(before);
    shard.deliver(message);
    expect(shard.runner.fold.runs.get(RUN)?.state).not.toBe(before);
  });

  it.each([
    ['is another', (s: Shard) => (s.stored[0] = { ...s.stored[0]!, data: Buffer.from('[]') })], // there is one
    ['has another time', (s: Shard) => (s.stored[0] = { ...s.stored[0]!, timeMs: T0 + 1 })], // there is one
    ['is gone', (s: Shard) => s.stored.pop()],
    ['stands in a stream made anew', (s: Shard) => (s.created = 'second')],
  ])('stops when the last folded message %s', async (_, change) => {
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', begin(), MSG_ID));
    change(shard);
    await shard.lose();
    expect(shard.failures.map((failure) => failure.code)).toEqual(['LOG_DIVERGED']);
    expect(shard.gate).toEqual(['lost']);
  });
});

describe('a written decision that this fold does not derive (Rule 4)', () => {
  const note = {
    v: 1,
    tx: FRESH,
    run: RUN,
    kind: 'decision',
    at: '1.0',
    value: 'abort',
    digest: '0'.repeat(16),
  };

  it.each(['at the head', 'during replay'])(
    'is answered with a conflict, and nothing is commanded: %s',
    async (when) => {
      if (when === 'at the head') await shard.runner.start('first');
      const begun = shard.store('client.begin', begin(), MSG_ID);
      const messages = [begun, shard.store('coordinator.decided', note)];
      if (when === 'during replay') await shard.runner.start('first');
      shard.deliver(...messages);
      expect(shard.inputs).toMatchObject([{ kind: 'conflict', run: RUN, value: 'none' }]);
      const before = shard.commands.length;
      shard.deliver(shard.store('debit.report', report('debit', 'prepare')));
      shard.deliver(shard.store('credit.report', report('credit', 'prepare')));
      expect(shard.commands.slice(before)).toEqual([]);
      expect(before).toBe(when === 'at the head' ? 2 : 0);
    },
  );
});

describe('a timer that is due (Rule 2)', () => {
  it('appends its deadline and changes nothing: that counts where it is read back', async () => {
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', begin(), MSG_ID));
    const run = shard.runner.fold.runs.get(RUN)!; // just begun
    const { state } = run;
    const timer = timersOf(run).find(({ kind }) => kind === 'phase')!; // of prepare
    shard.actions.fire(run, timer);
    expect(shard.inputs).toEqual([
      { v: 1, tx: FRESH, run: RUN, kind: 'phase', phase: 'prepare', armed: '1.0' },
    ]);
    expect(shard.commands).toEqual(prepares);
    expect(run.state).toBe(state);
  });
});

describe('the outcome note, which lets a run leave memory', () => {
  it('follows the key of an own id (Rule 7)', async () => {
    const own = { tx: 'order-7' };
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', begin({ ...own, id: 'own' })));
    await settled();
    shard.deliver(shard.store('coordinator.decided', shard.inputs[0]!)); // its verdict
    for (const phase of ['prepare', 'commit'])
      for (const step of ['debit', 'credit'])
        shard.deliver(shard.store(`${step}.report`, report(step, phase, own)));
    await settled();
    expect(shard.noted).toEqual(['verdict', 'decision']);
    shard.storing[0]?.();
    await settled();
    expect(shard.noted).toEqual(['verdict', 'decision', 'outcome']);
  });

  it('follows the letters of the steps that died', async () => {
    const eventual = new Shard('eventual');
    await eventual.runner.start('first');
    eventual.deliver(eventual.store('client.begin', begin(), MSG_ID));
    const no = { answer: 'refused', code: 'gone' };
    eventual.deliver(eventual.store('debit.report', report('debit', 'execute', no)));
    eventual.deliver(eventual.store('credit.report', report('credit', 'execute')));
    await settled();
    expect(eventual.letters).toHaveLength(1);
    expect(eventual.noted).toEqual([]);
    eventual.storing[0]?.();
    await settled();
    expect(eventual.noted).toEqual(['outcome']);
  });
});

describe('at the edge', () => {
  it.each([
    ['nested beyond what can be written again', `[${'['.repeat(50_000)}${']'.repeat(50_000)}]`],
    ['that is not JSON', 'nonsense'],
    ['of another version', '[{"v":9}]'],
  ])('a body %s becomes a dead letter, and folding goes on', async (_, body) => {
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', body));
    shard.deliver(shard.store('client.begin', begin(), MSG_ID));
    expect(shard.failures).toEqual([]);
    expect(shard.letters).toMatchObject([{ position: '1.0', subject: '2pc.client.begin.0' }]);
    expect(shard.commands).toEqual(prepares);
  });

  it('sends an isolated command alone', async () => {
    await shard.runner.start('first');
    shard.deliver(shard.store('client.begin', begin(), MSG_ID));
    const isolate = { answer: 'retry', code: 'isolate', mayHaveRun: true };
    shard.deliver(shard.store('debit.report', report('debit', 'prepare', isolate)));
    expect(shard.alone).toEqual(['debit prepare 2']);
    expect(shard.commands).toEqual(prepares);
  });
});
