// Goal: whatever the order, the losses, the duplicates and the own ends, 3PC keeps T1-T4, tells every split, always ends.
// Method: fast-check drives (1) a world of participants behind a barrier, some of which end on their own, and (2) a
// machine fed with arbitrary nonsense; every step is checked for M1-M4 as well.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANSWERS, type Phase } from '../../src/kernel/vocabulary.ts';
import type { Effect } from '../../src/protocol/machine.ts';
import { threePhaseCommit, type ThreePhaseCommitState } from '../../src/protocol/three-phase-commit.ts';
import { CheckedRun, type Body } from '../kit/machine-invariants.ts';
import { BEGUN, factsOf } from '../kit/machine-spec.ts';
import { plan3pc } from '../kit/two-phase-commit-plans.ts';
import * as worlds from '../kit/two-phase-commit-world.ts';

const { STEP_NAMES } = worlds;
const ANY_TIMER = ['attempt', 'backoff', 'phase', 'step', 'run'];
const deadlines = { run: { lower: 60_000 }, abort: { lower: 2_000 } };

class WatchedRun extends CheckedRun<ThreePhaseCommitState> {
  readonly commanded = new Set<Phase>();
  readonly #positive = new Set<string>();
  readonly #acknowledged = new Set<string>();
  status: string | undefined;

  constructor(readonly size: number) {
    super(threePhaseCommit, factsOf(plan3pc(STEP_NAMES.slice(0, size), { deadlines })), BEGUN);
    this.#watch(false);
  }

  override feed(body: Body, timeMs?: number): readonly Effect[] {
    const known = body.type === 'reported' && this.facts.plan.indexOf.has(body.step);
    if (known && (body.answer === 'done' || body.answer === 'read-only')) {
      if (body.phase === 'prepare') this.#positive.add(body.step);
      if (body.phase === 'precommit') this.#acknowledged.add(body.step);
    }
    if (known && body.answer === 'terminated') this.#acknowledged.add(body.step);
    const operated = body.type.startsWith('item_');
    super.feed(body, timeMs);
    this.#watch(operated || body.type === 'deadline_passed');
    return this.effects;
  }

  #watch(excused: boolean): void {
    const { commanded } = this;
    const hadCommit = commanded.has('commit');
    for (const effect of this.effects) {
      if (effect.type === 'command') commanded.add(effect.phase);
      if (effect.type === 'decide' && effect.value === 'commit')
        expect(this.#positive.size, 'T2: every vote is yes').toBe(this.size);
      if (effect.type === 'end') this.status = effect.outcome.status;
    }
    const forward = commanded.has('precommit') || commanded.has('commit');
    expect(forward && commanded.has('abort'), 'T1: commit and abort').toBe(false);
    if (!commanded.has('commit') || hadCommit) return;
    expect(commanded.has('precommit'), 'T3: commit after precommit').toBe(true);
    if (excused) return;
    const silent = STEP_NAMES.slice(0, this.size).filter((step) => !this.#acknowledged.has(step));
    expect(silent.length, 'T3: commit after all acknowledged').toBeLessThan(this.size);
  }

  fire(choice: number, kinds: readonly string[], phase?: Phase): boolean {
    const timers = this.machine
      .timers(this.facts, this.state)
      .filter((timer) => kinds.includes(timer.kind) && (phase === undefined || timer.phase === phase));
    const timer = timers[choice % Math.max(1, timers.length)];
    if (timer === undefined) return false;
    const { dueMs, ...rest } = timer;
    this.feed({ type: 'deadline_passed', ...rest }, Math.max(this.mark.time, dueMs));
    return true;
  }
}

const ACTS = [
  'deliver',
  'report',
  'crashed after',
  'crashed before',
  'reported unknown',
  'duplicated',
] as const;
const moves = fc.array(
  fc.record({
    act: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom(...ACTS.slice(0, 2)) },
      { weight: 3, arbitrary: fc.constantFrom(...ACTS.slice(2), 'echo', 'timer') },
      { weight: 1, arbitrary: fc.constantFrom('own end', 'own end', 'cancel') },
    ),
    choice: fc.nat(1_000),
  }),
  { maxLength: 60 },
);

class Simulation {
  readonly run: WatchedRun;
  world: worlds.World;

  constructor(votes: readonly worlds.Inclination[]) {
    this.run = new WatchedRun(votes.length);
    this.world = worlds.send(worlds.worldOf(votes), this.run.effects);
  }

  move(act: string, choice: number): boolean {
    const { commands, reports, participants } = this.world;
    switch (act) {
      case 'report':
      case 'echo': {
        if (reports.length === 0) return false;
        const index = choice % reports.length;
        const report = worlds.reportAt(this.world, index);
        if (act === 'report') this.world = worlds.withoutReport(this.world, index);
        return this.#feed(() => this.run.feed(report));
      }
      case 'timer':
        return this.#feed(() => this.run.fire(choice, ANY_TIMER));
      case 'cancel':
        return this.#feed(() => this.run.feed({ type: 'cancelled', reason: 'x' }));
      case 'own end': {
        const step = choice % participants.length;
        if (worlds.mayTerminate(this.world, step)) this.world = worlds.terminate(this.world, step);
        return true;
      }
      default: {
        if (commands.length === 0) return false;
        const fate = act === 'deliver' ? 'delivered' : (act as Parameters<typeof worlds.deliver>[2]);
        this.world = worlds.deliver(this.world, choice % commands.length, fate);
        return true;
      }
    }
  }

  #feed(change: () => unknown): boolean {
    const before = this.run.state;
    const done = change();
    if (this.run.state !== before) this.world = worlds.send(this.world, this.run.effects);
    return done !== false;
  }

  heal(): void {
    for (let rounds = 0; rounds < 1_000; rounds += 1) {
      if (this.move('deliver', rounds) || this.move('report', rounds)) continue;
      if (this.run.ended) return;
      const waited = this.#feed(
        () => this.run.fire(0, ['backoff']) || this.run.fire(0, ['phase'], 'precommit'),
      );
      if (!waited) return;
    }
    throw new Error('does not come to rest');
  }
}

describe('3PC in a world of faults and own ends', () => {
  const inclination = fc.constantFrom<worlds.Inclination>(
    'yes',
    'yes',
    'yes',
    'yes',
    'no',
    'read-only',
    'slow',
  );
  it('agrees and ends, or tells that it split (1 to 4 participants)', () => {
    const reached = new Map<string, number>();
    fc.assert(
      fc.property(fc.array(inclination, { minLength: 1, maxLength: 4 }), moves, (votes, acts) => {
        const simulation = new Simulation(votes);
        for (const { act, choice } of acts) simulation.move(act, choice);
        simulation.heal();
        const { run, world } = simulation;
        const ownEnd = world.participants.some(({ terminated }) => terminated === true);
        const items = run.machine.view(run.facts, run.state).attention;
        const told = !run.ended && items.length > 0 && ownEnd;
        if (!told) {
          expect(worlds.violationOf(world)).toBeUndefined();
          expect(run.status, 'ended').toBeDefined();
          expect(worlds.leftoverOf(world, run.status!)).toBeUndefined();
        }
        const status = told ? 'contradicted' : run.status!;
        reached.set(status, (reached.get(status) ?? 0) + 1);
      }),
      { numRuns: 400 },
    );
    expect([...reached.keys()].sort()).toStrictEqual(['aborted', 'cancelled', 'committed', 'contradicted']);
  });
});

interface Answered {
  readonly type: 'answer';
  readonly choice: number;
  readonly answer: (typeof ANSWERS)[number];
  readonly result: 'committed' | 'aborted';
}
const nonsense: fc.Arbitrary<
  Body | Answered | { readonly type: 'timer' | 'operator'; readonly choice: number }
> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant('answer' as const),
      choice: fc.nat(1_000),
      answer: fc.oneof(
        { weight: 5, arbitrary: fc.constant('done' as const) },
        { weight: 1, arbitrary: fc.constantFrom(...ANSWERS) },
      ),
      result: fc.constantFrom('committed' as const, 'aborted' as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constantFrom('timer' as const, 'operator' as const),
      choice: fc.nat(1_000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record(
      {
        type: fc.constant('reported' as const),
        step: fc.constantFrom(...STEP_NAMES),
        phase: fc.constantFrom<Phase>('prepare', 'precommit', 'commit', 'abort', 'execute'),
        attempt: fc.integer({ min: 1, max: 3 }),
        answer: fc.constantFrom(...ANSWERS, 'terminated' as const, 'terminated' as const),
        result: fc.constantFrom('committed' as const, 'aborted' as const),
        code: fc.constantFrom('isolate', 'busy'),
        mayHaveRun: fc.boolean(),
        lateEffect: fc.boolean(),
      },
      { requiredKeys: ['type', 'step', 'phase', 'attempt', 'answer'] },
    ),
  },
  { weight: 1, arbitrary: fc.constant<Body>({ type: 'cancelled', reason: 'x' }) },
);

function operate(run: WatchedRun, choice: number): void {
  const items = run.machine.view(run.facts, run.state).attention;
  const item = items[choice % Math.max(1, items.length)];
  if (item === undefined) return;
  const { raised, step, phase } = item;
  const answers: readonly Body[] = [
    { type: 'item_retried', raised, step, phase },
    { type: 'item_retried', raised, step, phase, policy: { maxAttempts: 1, attemptMs: 5 } },
    { type: 'item_skipped', raised, step, phase },
    { type: 'item_resolved', raised, step, phase, answer: 'done' },
    { type: 'item_resolved', raised, step, phase, answer: 'refused' },
    { type: 'forced', raised, decision: 'commit', reason: 'x' },
  ];
  run.feed(answers[choice % answers.length]!);
}

function answerOne(run: WatchedRun, given?: Answered): boolean {
  const commands = run.machine.outstanding(run.facts, run.state);
  const command = commands[(given?.choice ?? 0) % Math.max(1, commands.length)];
  if (command === undefined) return false;
  const { step, phase, attempt } = command;
  const { answer, result } = given ?? { answer: 'done', result: 'committed' };
  run.feed({ type: 'reported', step, phase, attempt, answer, result });
  return true;
}

describe('3PC fed with nonsense', () => {
  it('keeps its invariants and can always be brought to an end (1 to 4 participants)', () => {
    const reached = new Set<string>();
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(nonsense, { maxLength: 40 }), (size, events) => {
        const run = new WatchedRun(size);
        for (const event of events) {
          if (event.type === 'timer') run.fire(event.choice, ANY_TIMER);
          else if (event.type === 'operator') operate(run, event.choice);
          else if (event.type === 'answer') answerOne(run, event);
          else run.feed(event as Body);
        }
        for (let rounds = 0; rounds < 500 && !run.ended; rounds += 1) {
          if (answerOne(run) || run.fire(0, ['backoff'])) continue;
          const [item] = run.machine.view(run.facts, run.state).attention;
          expect(item, 'an open run waits for a command, a back-off or a person').toBeDefined();
          const { raised, step, phase } = item!;
          run.feed({ type: 'item_resolved', raised, step, phase, answer: 'done' });
        }
        expect(run.ended).toBe(true);
        if (run.commanded.has('precommit')) expect(run.status).not.toMatch(/aborted|cancelled/);
        if (run.commanded.has('abort')) expect(run.status).not.toBe('committed');
        reached.add(run.status!);
      }),
      { numRuns: 500 },
    );
    for (const status of ['aborted', 'committed', 'mixed']) expect([...reached]).toContain(status);
  });
});
