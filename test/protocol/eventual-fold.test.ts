// Goal: the dead letters of a 0.5PS follow from its log alone: with the death, not while frozen, each told once.
import { describe, expect, it } from 'vitest';
import type { Plan } from '../../src/protocol/envelopes.ts';
import type { Buried } from '../../src/protocol/run.ts';
import { lettersOf } from '../../src/runtime/dead-letters.ts';
import { FoldRig, T0 } from '../kit/fold-rig.ts';

const plan: Plan = {
  name: 'news',
  steps: [
    { step: 'mail', participant: 'mailer', action: 'send', input: { to: 'you' } },
    { step: 'again', participant: 'mailer', action: 'send' },
    { step: 'count', participant: 'stats', action: 'count' },
  ],
  deadlines: { run: { lower: 1_000 } },
};
const begun = (): FoldRig => {
  const rig = new FoldRig('eventual');
  rig.begin({ plan });
  return rig;
};
const refuse = (rig: FoldRig, step: string, participant: string): readonly string[] =>
  rig.feed(`${participant}.report`, {
    ...{ ...rig.named(), step, phase: 'execute', attempt: 1 },
    ...{ cause: { at: '1.0', time: T0 }, answer: 'refused' },
  });
const expire = (rig: FoldRig): readonly string[] =>
  rig.feed('coordinator.deadline', { ...rig.named(), kind: 'run', armed: '1.0' }, { timeMs: T0 + 1_000 });

describe('burials', () => {
  it('come with the death, before the end, and no decision is noted', () => {
    const rig = begun();
    expect(refuse(rig, 'mail', 'mailer')).toEqual(['accepted report', 'buried mail']);
    expect(refuse(rig, 'mail', 'mailer')).toEqual([]);
    expect(expire(rig)).toEqual(['accepted deadline', 'buried again count', 'outcome dead', 'told dead']);
    expect(rig.runs[0]?.decision).toBeUndefined();
  });

  it('wait for the thaw while the run is frozen (F4)', () => {
    const rig = begun();
    const digest = '0123456789abcdef';
    rig.feed('coordinator.decided', { ...rig.named(), kind: 'conflict', at: '1.0', value: 'none', digest });
    expect(refuse(rig, 'mail', 'mailer')).toEqual(['accepted report']);
    expect(expire(rig)).toEqual(['accepted deadline']);
    const cancel = { ...rig.named(), by: 'ops', reason: 'looked at it' };
    expect(rig.feed('operator.cancel', cancel, { timeMs: T0 + 2_000 })).toEqual([
      'accepted cancel',
      'buried mail',
      'buried again count',
      'outcome dead',
      'told dead',
    ]);
  });
});

describe('the letters of one input', () => {
  it('are one for each participant, told apart, with commands that could be published again', () => {
    const rig = begun();
    expire(rig);
    const [run] = rig.runs;
    const [dead] = run?.buried ?? [];
    if (run === undefined || dead === undefined) throw new Error('nothing was buried');
    const letters = lettersOf(run, dead satisfies Buried, 0);
    const told = letters.map(({ participant, position, part, subject }) => [
      participant,
      position,
      part,
      subject,
    ]);
    expect(told).toEqual([
      ['mailer', '2.0', 'mailer', 'eventual.mailer.execute'],
      ['stats', '2.0', 'stats', 'eventual.stats.execute'],
    ]);
    const problem =
      'step mail is dead (deadline); it may have run; step again is dead (deadline); it may have run';
    expect(letters[0]?.problem).toBe(problem);
    expect(JSON.parse(Buffer.from(letters[0]?.data ?? []).toString())).toMatchObject([
      {
        v: 1,
        tx: run.facts.tx,
        run: run.facts.run,
        step: 'mail',
        attempt: 1,
        shard: 0,
        input: { to: 'you' },
      },
      { step: 'again', action: 'send' },
    ]);
  });
});
