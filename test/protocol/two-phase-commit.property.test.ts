// Goal: whatever the order, the losses and the duplicates, 2PC never mixes, never guesses and always ends.
// Method: fast-check drives (1) a world of participants behind a barrier and (2) a machine fed with arbitrary nonsense;
// every step is checked for M1-M4 as well.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANSWERS, type Phase } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Effect } from '../../src/protocol/machine.ts';
import { twoPhaseCommit, type TwoPhaseCommitState } from '../../src/protocol/two-phase-commit.ts';
import { CheckedRun } from '../kit/machine-invariants.ts';
import type { Body } from '../kit/machine-invariants.ts';
import { BEGUN, factsOf } from '../kit/machine-spec.ts';
import { plan2pc } from '../kit/two-phase-commit-plans.ts';
import * as worlds from '../kit/two-phase-commit-world.ts';

const { STEP_NAMES } = worlds;
const inclination = fc.constantFrom<worlds.Inclination>('yes', 'yes', 'yes', 'no', 'read-only', 'slow');

/** A run whose commands are watched: I1 and I2 of the reliability page. */
class WatchedRun extends CheckedRun<TwoPhaseCommitState> {
  readonly commanded = new Set<Phase>();
  readonly positive = new Set<string>();
  decisions = 0;
  status: string | undefined;

  constructor(readonly plan: CompiledPlan) {
    super(twoPhaseCommit, factsOf(plan), BEGUN);
    this.#watch();
  }

  override feed(body: Body, timeMs?: number): readonly Effect[] {
    const isVote = body.type === 'reported' && body.phase === 'prepare' && body.attempt === 1;
    if (isVote && (body.answer === 'done' || body.answer === 'read-only')) this.positive.add(body.step);
    super.feed(body, timeMs);
    this.#watch();
    return this.effects;
  }

  #watch(): void {
    for (const effect of this.effects) {
      if (effect.type === 'command') this.commanded.add(effect.phase);
      if (effect.type === 'decide') this.decisions += 1;
      if (effect.type === 'end') this.status = effect.outcome.status;
    }
    expect(this.commanded.has('commit') && this.commanded.has('abort'), 'I1: commit and abort').toBe(false);
    expect(this.decisions).toBeLessThanOrEqual(1);
  }

  /** Fires one of the armed timers, picked by `choice`. */
  fire(choice: number, kinds: readonly string[]): boolean {
    const timers = this.machine.timers(this.facts, this.state).filter(({ kind }) => kinds.includes(kind));
    const timer = timers[choice % Math.max(1, timers.length)];
    if (timer === undefined) return false;
    const { dueMs, ...rest } = timer;
    this.feed({ type: 'deadline_passed', ...rest }, Math.max(this.mark.time, dueMs));
    return true;
  }
}

const ANY_TIMER = ['attempt', 'backoff', 'phase', 'step', 'run'];
type Act =
  'deliver' | 'crash after' | 'crash before' | 'unknown' | 'copy' | 'report' | 'echo' | 'timer' | 'cancel';
const move = fc.record({
  // Deliveries far more often than trouble, so that runs get somewhere.
  act: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom<Act>('deliver', 'report') },
    {
      weight: 3,
      arbitrary: fc.constantFrom<Act>('crash after', 'crash before', 'unknown', 'copy', 'echo', 'timer'),
    },
    { weight: 1, arbitrary: fc.constant<Act>('cancel') },
  ),
  choice: fc.nat(1_000),
});

/** The world and the machine together; every move that cannot be made is skipped. */
class Simulation {
  readonly run: WatchedRun;
  world: worlds.World;

  constructor(votes: readonly worlds.Inclination[]) {
    this.run = new WatchedRun(
      plan2pc(STEP_NAMES.slice(0, votes.length), { deadlines: { run: { lower: 60_000 } } }),
    );
    this.world = worlds.send(worlds.worldOf(votes), this.run.effects);
  }

  move(act: Act, choice: number): boolean {
    switch (act) {
      case 'deliver':
        return this.deliver(choice, 'delivered');
      case 'crash after':
        return this.deliver(choice, 'crashed after');
      case 'crash before':
        return this.deliver(choice, 'crashed before');
      case 'unknown':
        return this.deliver(choice, 'reported unknown');
      case 'copy':
        return this.deliver(choice, 'duplicated');
      case 'report':
        return this.report(choice, false);
      case 'echo':
        return this.report(choice, true);
      case 'timer':
        return this.tick(choice, ANY_TIMER);
      case 'cancel':
        this.#feed(() => this.run.feed({ type: 'cancelled', reason: 'x' }));
        return true;
    }
  }

  deliver(choice: number, fate: Parameters<typeof worlds.deliver>[2]): boolean {
    const { commands } = this.world;
    if (commands.length === 0) return false;
    this.world = worlds.deliver(this.world, choice % commands.length, fate);
    expect(worlds.violationOf(this.world)).toBeUndefined();
    return true;
  }

  report(choice: number, keep: boolean): boolean {
    const { reports } = this.world;
    if (reports.length === 0) return false;
    const index = choice % reports.length;
    const report = worlds.reportAt(this.world, index);
    if (!keep) this.world = worlds.withoutReport(this.world, index);
    this.#feed(() => this.run.feed(report));
    return true;
  }

  tick(choice: number, kinds: readonly string[]): boolean {
    let fired = false;
    this.#feed(() => (fired = this.run.fire(choice, kinds)));
    return fired;
  }

  #feed(change: () => unknown): void {
    const before = this.run.state;
    change();
    if (this.run.state !== before) this.world = worlds.send(this.world, this.run.effects);
  }

  /** Everything in flight arrives, every wait ends. */
  heal(): void {
    for (let rounds = 0; rounds < 1_000; rounds += 1) {
      if (this.deliver(rounds, 'delivered') || this.report(rounds, false)) continue;
      if (this.run.ended || !this.tick(0, ['backoff'])) return;
    }
    throw new Error('does not come to rest');
  }
}

describe('2PC in a world of faults', () => {
  it('never disagrees, ends once all answers arrive, leaves no locks (2 to 5 participants)', () => {
    const reached = new Map<string, number>();
    fc.assert(
      fc.property(
        fc.array(inclination, { minLength: 2, maxLength: 5 }),
        fc.array(move, { maxLength: 60 }),
        (votes, moves) => {
          const simulation = new Simulation(votes);
          for (const { act, choice } of moves) simulation.move(act, choice);
          simulation.heal();
          const { run, world } = simulation;
          expect(run.status, 'ended').toBeDefined();
          expect(worlds.leftoverOf(world, run.status!)).toBeUndefined();
          reached.set(run.status!, (reached.get(run.status!) ?? 0) + 1);
        },
      ),
      { numRuns: 400 },
    );
    expect([...reached.keys()].sort()).toStrictEqual(['aborted', 'cancelled', 'committed']);
  });

  it('one participant: ends as it answered, or stays in doubt', () => {
    fc.assert(
      fc.property(inclination, fc.array(move, { maxLength: 30 }), (vote, moves) => {
        const simulation = new Simulation([vote]);
        for (const { act, choice } of moves) simulation.move(act, choice);
        simulation.heal();
        const { run, world } = simulation;
        const { record } = world.participants[0]!;
        if (run.status === undefined)
          expect(run.machine.view(run.facts, run.state).attention).toHaveLength(1);
        else
          expect(run.status).toBe(record === 'committed' || record === 'read-only' ? 'committed' : 'aborted');
        expect(run.status === 'committed' && vote === 'no').toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});

type Prompt = { readonly type: 'timer' | 'operator'; readonly choice: number } | Answer;
interface Answer {
  readonly type: 'answer';
  readonly choice: number;
  readonly answer: (typeof ANSWERS)[number];
}
const answer: fc.Arbitrary<Answer> = fc.record({
  type: fc.constant('answer' as const),
  choice: fc.nat(1_000),
  answer: fc.oneof(
    { weight: 3, arbitrary: fc.constant('done' as const) },
    { weight: 1, arbitrary: fc.constantFrom(...ANSWERS) },
  ),
});
const prompts = fc.record({
  type: fc.constantFrom('timer' as const, 'operator' as const),
  choice: fc.nat(1_000),
});
const nonsense: fc.Arbitrary<Body | Prompt> = fc.oneof(
  { weight: 8, arbitrary: answer },
  { weight: 4, arbitrary: prompts },
  ...[
    fc.record(
      {
        type: fc.constant('reported' as const),
        step: fc.constantFrom(...STEP_NAMES),
        phase: fc.constantFrom<Phase>('prepare', 'prepare', 'commit', 'abort', 'commit-one-phase', 'execute'),
        attempt: fc.integer({ min: 1, max: 4 }),
        answer: fc.oneof(fc.constant('done' as const), fc.constantFrom(...ANSWERS)),
        result: fc.constantFrom('committed' as const, 'aborted' as const),
        output: fc.jsonValue({ maxDepth: 1 }) as fc.Arbitrary<never>,
        code: fc.constantFrom('isolate', 'busy'),
        message: fc.string({ maxLength: 5 }),
        mayHaveRun: fc.boolean(),
        lateEffect: fc.boolean(),
        retryAfter: fc.nat(10_000),
      },
      { requiredKeys: ['type', 'step', 'phase', 'attempt', 'answer'] },
    ),
    fc.record({ type: fc.constant('cancelled' as const), reason: fc.constant('x') }),
    fc.record({ type: fc.constant('signalled' as const), name: fc.constant('go') }),
    fc.record({
      type: fc.constant('deadline_passed' as const),
      kind: fc.constantFrom('attempt', 'backoff', 'phase', 'step', 'run', 'start', 'gate', 'reservation'),
      armed: fc.constantFrom('1.0', '2.0', '3.0'),
      step: fc.constantFrom(...STEP_NAMES),
      phase: fc.constantFrom('prepare' as const, 'commit' as const, 'abort' as const),
      attempt: fc.integer({ min: 1, max: 3 }),
    }),
  ].map((arbitrary: fc.Arbitrary<Body>) => ({ weight: 1, arbitrary })),
);

/** An operator answers one of the open items, or forces a fate. */
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
    { type: 'forced', raised, decision: 'abort', reason: 'x' },
  ];
  run.feed(answers[choice % answers.length]!);
}

/** One of the commands without a report is answered. */
function answerOne(run: WatchedRun, { choice, answer: given }: Answer): void {
  const commands = run.machine.outstanding(run.facts, run.state);
  const command = commands[choice % Math.max(1, commands.length)];
  if (command === undefined) return;
  const { step, phase, attempt } = command;
  run.feed({ type: 'reported', step, phase, attempt, answer: given });
}

/** Every command is answered done, every wait ends, every item is resolved or skipped: the run must end. */
function finish(run: WatchedRun, skips: boolean): void {
  for (let rounds = 0; rounds < 500 && !run.ended; rounds += 1) {
    const [command] = run.machine.outstanding(run.facts, run.state);
    if (command !== undefined) {
      const { step, phase, attempt } = command;
      run.feed({ type: 'reported', step, phase, attempt, answer: 'done' });
      continue;
    }
    if (run.fire(0, ['backoff'])) continue;
    const [item] = run.machine.view(run.facts, run.state).attention;
    expect(item, 'an open run waits for a command, a back-off or a person').toBeDefined();
    const { raised, step, phase } = item!;
    run.feed(
      skips
        ? { type: 'item_skipped', raised, step, phase }
        : { type: 'item_resolved', raised, step, phase, answer: 'done' },
    );
  }
}

describe('2PC fed with nonsense', () => {
  it('keeps its invariants and can always be brought to an end (1 to 5 participants)', () => {
    const reached = new Map<string, number>();
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.array(nonsense, { maxLength: 40 }),
        fc.boolean(),
        (size, events, skips) => {
          const deadlines = { run: { lower: 40_000 }, abort: { lower: 2_000 } };
          const run = new WatchedRun(plan2pc(STEP_NAMES.slice(0, size), { deadlines }));
          let contradicted = false;
          let judged = skips;
          for (const event of events) {
            if (event.type === 'timer') run.fire(event.choice, ANY_TIMER);
            else if (event.type === 'operator') operate(run, event.choice);
            else if (event.type === 'answer') answerOne(run, event);
            else run.feed(event as Body);
            contradicted ||=
              (event.type === 'reported' || event.type === 'answer') &&
              ['heuristic', 'terminated', 'conflict'].includes(event.answer);
            judged ||= event.type === 'operator';
          }
          finish(run, skips);
          expect(run.ended).toBe(true);
          const { status } = run;
          if (status === 'mixed') expect(contradicted || judged, 'mixed needs a contradiction').toBe(true);
          if (status === 'resolved') expect(judged, 'resolved needs an operator').toBe(true);
          if (run.commanded.has('commit')) expect(status).not.toMatch(/aborted|cancelled/);
          if (run.commanded.has('abort')) expect(status).not.toBe('committed');
          reached.set(status!, (reached.get(status!) ?? 0) + 1);
        },
      ),
      { numRuns: 1_000 },
    );
    // The arbitrary must reach the places that matter, or the properties say little.
    for (const status of ['aborted', 'committed', 'mixed', 'resolved'])
      expect(reached.get(status), status).toBeGreaterThan(0);
  });
});
