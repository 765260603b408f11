// Goal: which transaction an attempt begins, and who may open its gates. Method: machines and the children's runtime over
// a stream that only knows its shards.
import { describe, expect, it } from 'vitest';
import type { Policy } from '../../src/protocol/compiled-plan.ts';
import type { BeginEnvelope, Plan } from '../../src/protocol/envelopes.ts';
import type { CommandEffect, Report } from '../../src/protocol/machine.ts';
import { compilePlan, planProblems } from '../../src/protocol/plan.ts';
import { MUST_FINISH_POLICY } from '../../src/protocol/policies.ts';
import { saga } from '../../src/protocol/saga.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { Children, type ChildrenOptions } from '../../src/runtime/children.ts';
import { FoldRig, T0 } from '../kit/fold-rig.ts';
import { HandClock, settled } from '../kit/hand-clock.ts';
import { BEGUN, factsOf } from '../kit/machine-spec.ts';
import { CheckedRun } from '../kit/machine-invariants.ts';

const inner: Plan = { name: 'inner', steps: [{ participant: 'bank', action: 'move' }] };
const child = { pattern: '2pc', plan: inner } as const;
const undoable = { participant: 'n', action: 'n', child, undoChild: child };
const pay: Plan['steps'][number] = { ...undoable, step: 'pay' };
const ship: Plan['steps'][number] = { participant: 'ship', action: 'go', after: ['pay'] };

function planOf(steps: Plan['steps'], more: Partial<Plan> = {}) {
  const compiled = compilePlan('saga', { name: 'order', steps, ...more });
  if (!compiled.ok) throw new Error(compiled.problem.problem);
  return compiled.plan;
}

describe('an attempt of a step that is a child', () => {
  function running(steps: Plan['steps']) {
    const run = new CheckedRun(saga, factsOf(planOf(steps)), BEGUN);
    return {
      run,
      report: (
        step: string,
        phase: Report['phase'],
        answer: Report['answer'],
        more: Partial<Report> = {},
      ) => {
        const attempt = sent(run, step)?.attempt ?? 1;
        run.feed({ type: 'reported', step, phase, attempt, answer, ...more });
      },
      pass: (kind: 'attempt' | 'backoff') => {
        const timer = saga.timers(run.facts, run.state).find((armed) => armed.kind === kind);
        if (timer === undefined) throw new Error(`no ${kind}`);
        const { dueMs, ...named } = timer;
        run.feed({ type: 'deadline_passed', ...named }, dueMs);
      },
      retry: (step: string, phase: Report['phase']) => {
        const [item] = saga.view(run.facts, run.state).attention;
        run.feed({ type: 'item_retried', step, phase, raised: item?.raised ?? 'none' });
      },
    };
  }
  const sent = (run: CheckedRun<unknown>, step: string): CommandEffect | undefined =>
    run.machine.outstanding(run.facts, run.state).find((command) => command.step === step);

  it('begins another undo once the last one ended and left nothing, by undoRetry or a person', () => {
    const { run, report, pass, retry } = running([{ ...pay, undoRetry: { maxAttempts: 2 } }, ship]);
    report('pay', 'execute', 'done');
    report('ship', 'execute', 'refused');
    expect(sent(run, 'pay')?.begun).toBeUndefined();
    report('pay', 'compensate', 'retry');
    pass('backoff');
    const second = { from: 2, since: run.mark.time };
    expect(sent(run, 'pay')).toMatchObject({ attempt: 2, begun: second });
    report('pay', 'compensate', 'refused');
    retry('pay', 'compensate');
    expect(sent(run, 'pay')).toMatchObject({ attempt: 3, begun: { from: 3, since: run.mark.time } });
  });

  it('begins the same one while nobody has answered, or when something may be left', () => {
    const { run, report, pass, retry } = running([{ ...pay, undoRetry: { maxAttempts: 2 } }, ship]);
    report('pay', 'execute', 'done');
    report('ship', 'execute', 'refused');
    pass('attempt');
    pass('backoff');
    expect(sent(run, 'pay')).toMatchObject({ attempt: 2 });
    expect(sent(run, 'pay')?.begun).toBeUndefined();
    // Its own first begin is over; the second names the same transaction, and has not been answered yet.
    run.feed({ type: 'reported', step: 'pay', phase: 'compensate', attempt: 1, answer: 'retry' });
    expect(sent(run, 'pay')?.begun).toBeUndefined();
    report('pay', 'compensate', 'refused', { mayHaveRun: true });
    retry('pay', 'compensate');
    expect(sent(run, 'pay')).toMatchObject({ attempt: 3 });
    expect(sent(run, 'pay')?.begun).toBeUndefined();
  });

  it('begins the same one again after an item that silence raised: it may still commit', () => {
    const pivot = { participant: 'n', action: 'n', child, kind: 'pivot' as const, step: 'pay' };
    const { run, report, pass, retry } = running([{ ...pivot, retry: { maxAttempts: 1, attempt: 1_000 } }]);
    pass('attempt');
    retry('pay', 'execute');
    expect(sent(run, 'pay')).toMatchObject({ attempt: 2 });
    expect(sent(run, 'pay')?.begun).toBeUndefined();
    report('pay', 'execute', 'done');
    expect(saga.view(run.facts, run.state).phase).toBe('ended');
  });
});

describe('the policy of a step that is a child', () => {
  const policies = (more: Partial<Plan> = {}, step: object = {}): readonly Policy[] => {
    const [first] = planOf([{ ...pay, ...step }], more).steps;
    if (first === undefined) throw new Error('no step');
    return [first.retry, first.undoRetry];
  };

  it('waits for the child, whatever the plan says of participants; its own step may say otherwise', () => {
    const [retry, undoRetry] = policies({
      retry: { attempt: 500 },
      undoRetry: { attempt: 500, maxAttempts: 7 },
    });
    expect(retry).toMatchObject({ attemptMs: Infinity, maxAttempts: 3 });
    expect(undoRetry).toMatchObject({ attemptMs: 900_000, maxAttempts: 7 });
    expect(policies({}, { retry: { attempt: 500 } })[0]).toMatchObject({ attemptMs: 500 });
    const [mine] = planOf([{ participant: 'a', action: 'x' }], { retry: { attempt: 500 } }).steps;
    expect([mine?.retry.attemptMs, mine?.undoRetry]).toEqual([500, MUST_FINISH_POLICY]);
  });

  it('arms no timer while it waits', () => {
    const run = new CheckedRun(saga, factsOf(planOf([pay])), BEGUN);
    expect(saga.timers(run.facts, run.state)).toEqual([]);
    expect(saga.outstanding(run.facts, run.state)[0]).not.toHaveProperty('due');
  });
});

describe('gates of children', () => {
  const gated = (signal: string): Plan => ({ ...inner, gate: { signal } });
  const nest = (pattern: 'saga' | '2ps', plan: Plan): Plan => ({
    name: 'nest',
    steps: [{ step: 'deeper', participant: 'n', action: 'n', child: { pattern, plan }, undoChild: child }],
  });

  /** The begin of the only child that this run begins. */
  async function begunBy(plan: Plan, allow: BeginEnvelope['allow'], from = 'client'): Promise<BeginEnvelope> {
    const added: string[] = [];
    const world = {
      log: { state: async () => ({ shards: 1, nowMs: T0, dedupWindowMs: 86_400_000 }) },
      logger: silentLogger,
      clock: new HandClock(T0),
    };
    const inputs = { add: (_: string, text: string) => added.push(text) };
    const options = { world, pattern: 'saga', inputs, keys: {} } as unknown as ChildrenOptions;
    const rig = new FoldRig('saga');
    if (from === 'client') rig.begin({ plan, ...(allow === undefined ? {} : { allow }) });
    else {
      rig.feed(`${from}.begin`, { v: 1, tx: 'c-1', id: 'own', shards: 1, plan, allow });
      const at = rig.runs[0]?.begun.at;
      rig.feed('coordinator.decided', { ...rig.named(), kind: 'verdict', at, value: 'admit' });
    }
    const [run] = rig.runs;
    const [command] = run?.machine.outstanding(run.facts, run.state) ?? [];
    if (run === undefined || command === undefined) throw new Error('nothing begins');
    new Children(options).begin(run, command);
    await settled();
    await settled();
    return JSON.parse(added[0] ?? '') as BeginEnvelope;
  }

  it('two levels down are open to whoever the outermost begin names, and to nobody else', async () => {
    const top = nest('saga', nest('2ps', gated('approve')));
    const middle = await begunBy(top, { signal: { approve: ['boss'] } });
    expect(middle.allow).toEqual({ signal: { approve: ['boss'] } });
    const bottom = await begunBy(middle.plan, middle.allow, 'coordinator');
    expect(bottom.allow).toEqual({ signal: { approve: ['boss'] } });
    expect((await begunBy(top, undefined)).allow).toEqual({ signal: { approve: ['client'] } });
    expect((await begunBy(nest('2ps', inner), { signal: { approve: ['boss'] } })).allow).toBeUndefined();
  });

  it('are at most as many as one begin can name', () => {
    const many = (count: number): Plan => ({
      name: 'many',
      steps: Array.from({ length: count }, (_, index) => ({
        ...{ step: `s${index}`, participant: 'n', action: 'n', undoChild: child },
        child: { pattern: '2ps', plan: gated(`g${index}`) },
      })),
    });
    expect(planProblems('saga', many(16))).toEqual([]);
    expect(planProblems('saga', many(17))).toMatchObject([{ field: 'steps' }]);
  });
});
