// Goal: a run that ended back holds nothing and one that ended forward holds all, unless a person was told, however late
// effects land. Method: the real machines and the real barrier table against a participant of one store a step, whose
// workers pause past their leases, get second copies of a command, throw after their effect, and fail their last write.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isOpenPhase, type Phase } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { CommandEffect, Effect, Machine, OutcomeBody, Report } from '../../src/protocol/machine.ts';
import { saga } from '../../src/protocol/saga.ts';
import { threePhaseCommit } from '../../src/protocol/three-phase-commit.ts';
import { threePhaseSaga } from '../../src/protocol/three-phase-saga.ts';
import { twoPhaseCommit } from '../../src/protocol/two-phase-commit.ts';
import { twoPhaseSaga } from '../../src/protocol/two-phase-saga.ts';
import type { GuardedCommand, Reply } from '../../src/reliability/barrier.ts';
import { lost, unrecorded } from '../../src/reliability/barrier-late.ts';
import { decide, finish, isOurs, qualify, type BarrierRecord } from '../../src/reliability/barrier-table.ts';
import { SeededRandom } from '../../src/simulation/random.ts';
import { compiled } from '../kit/compiled.ts';
import { BEGUN, factsOf } from '../kit/machine-spec.ts';
import type { Body } from '../kit/machine-invariants.ts';
import { plan2pc, plan3pc } from '../kit/two-phase-commit-plans.ts';

const MAX_STEPS = 3_000;
const KEEP_MS = 604_800_000;

interface Odds {
  readonly copies: number;
  readonly no: number;
  readonly thrown: number;
  readonly undoFails: number;
  readonly unwritten: number;
  readonly pause: number;
  readonly leaseMs: number;
}
const CALM: Odds = { copies: 0.25, no: 0.12, thrown: 0.1, undoFails: 0.1, unwritten: 0.03, pause: 0.4, leaseMs: 30_000 }; // prettier-ignore
const ROUGH: Odds = { copies: 0.4, no: 0.15, thrown: 0.1, undoFails: 0.1, unwritten: 0.05, pause: 0.8, leaseMs: 3_000 }; // prettier-ignore

interface Part {
  record: BarrierRecord | undefined;
  writtenMs: number;
  held: boolean;
  executed: boolean;
  committed: boolean;
}
interface Sent {
  readonly command: CommandEffect;
  readonly redelivered: boolean;
}
interface Execution {
  readonly command: CommandEffect;
  readonly guarded: GuardedCommand;
  readonly by: string;
  readonly record: BarrierRecord;
  readonly mayHaveRun: boolean;
}

const without = <T>(list: T[], place: number): T => list.splice(place, 1)[0] as T;

class World<S> {
  readonly #random: SeededRandom;
  readonly #facts;
  readonly #parts = new Map<string, Part>();
  readonly #sent: Sent[] = [];
  readonly #running: Execution[] = [];
  readonly #reports: Report[] = [];
  #state: S;
  #nowMs = BEGUN.time;
  #seq = 1;
  #executions = 0;
  #outcome: OutcomeBody | undefined;
  #attention = false;

  constructor(
    readonly machine: Machine<S>,
    plan: CompiledPlan,
    readonly odds: Odds,
    seed: number,
  ) {
    this.#random = new SeededRandom(seed);
    this.#facts = factsOf(plan);
    for (const { step } of plan.steps)
      this.#parts.set(step, {
        record: undefined,
        writtenMs: 0,
        held: false,
        executed: false,
        committed: false,
      });
    const started = machine.start(this.#facts, BEGUN);
    this.#state = started.state;
    this.#apply(started.effects);
  }

  /** What went wrong; undefined: nothing. */
  run(): string | undefined {
    for (let n = 0; n < MAX_STEPS; n += 1) {
      const moves = this.#moves();
      if (moves.length === 0) break;
      moves[this.#below(moves.length)]?.();
    }
    const quiet = this.#sent.length + this.#running.length + this.#reports.length === 0;
    if (this.#outcome === undefined)
      return this.#attention ? undefined : 'neither ended nor put before a person';
    if (this.#attention || !quiet) return undefined;
    return this.#misfit(this.#outcome.status);
  }

  #misfit(status: string): string | undefined {
    for (const [step, part] of this.#parts) {
      const forward =
        status === 'committed' ? part.committed : status === 'completed' ? part.executed : undefined;
      if (forward === false) return `${status}, but ${step} did not`;
      const back = forward === undefined && (part.held || part.executed || part.committed);
      if (back) return `${status}, but ${step} holds something`;
    }
    return undefined;
  }

  #moves(): (() => void)[] {
    const moves: (() => void)[] = [];
    if (this.#sent.length > 0) moves.push(() => this.#deliver(this.#below(this.#sent.length)));
    if (this.#running.length > 0) {
      moves.push(() => this.#end(without(this.#running, this.#below(this.#running.length))));
    }
    if (this.#running.length + this.#sent.length > 0 && this.#chance(this.odds.pause))
      moves.push(() => (this.#nowMs += this.odds.leaseMs + 1));
    if (this.#reports.length > 0) {
      const read = (): void => this.#read(without(this.#reports, this.#below(this.#reports.length)));
      moves.push(read, read);
    }
    if (this.#outcome !== undefined) return moves;
    if (this.#chance(0.01)) moves.push(() => this.#feed({ type: 'cancelled', reason: 'changed my mind' }));
    if (moves.length === 0 || this.#chance(0.05)) this.#addTimer(moves);
    return moves;
  }

  #addTimer(moves: (() => void)[]): void {
    const timers = this.machine.timers(this.#facts, this.#state);
    const [first, ...others] = timers;
    if (first === undefined) return;
    const { dueMs, ...rest } = others.reduce(
      (next, timer) => (timer.dueMs < next.dueMs ? timer : next),
      first,
    );
    moves.push(() => {
      this.#nowMs = Math.max(this.#nowMs, dueMs);
      this.#feed({ type: 'deadline_passed', ...rest });
    });
  }

  #feed(body: Body): void {
    this.#seq += 1;
    const mark = { at: `${this.#seq}.0`, time: this.#nowMs };
    const { state, effects } = this.machine.step(this.#facts, this.#state, { ...body, mark });
    this.#state = state;
    this.#apply(effects);
  }

  #apply(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.type === 'command') {
        this.#sent.push({ command: effect, redelivered: false });
        if (this.#chance(this.odds.copies)) this.#sent.push({ command: effect, redelivered: true });
      }
      if (effect.type === 'attend') this.#attention = true;
      if (effect.type === 'end') this.#outcome = effect.outcome;
    }
  }

  #read(report: Report): void {
    this.#nowMs += 1;
    if (this.#outcome === undefined) this.#feed({ type: 'reported', ...report });
    else if (report.lateEffect === true) this.#attention = true;
  }

  #deliver(place: number): void {
    const { command, redelivered } = this.#sent[place]!;
    const { step, phase, attempt, due } = command;
    const part = this.#parts.get(step)!;
    if (isOpenPhase(phase) && due !== undefined && due < this.#nowMs) {
      without(this.#sent, place);
      return this.#say(command, { answer: 'retry', code: 'expired', mayHaveRun: true });
    }
    const { pattern, tx, run } = this.#facts;
    const { since, ran = false, redo } = command;
    const guarded = { pattern, tx, run, step, phase, attempt, since, ran, redo, redelivered };
    this.#executions += 1;
    const by = `w${this.#executions}`;
    const { leaseMs } = this.odds;
    const now = { serverMs: this.#nowMs, writtenMs: part.writtenMs, keepMs: KEEP_MS, by, leaseMs };
    const decision = decide(part.record, guarded, now);
    if (decision.type === 'wait' && !this.#chance(0.2)) return;
    without(this.#sent, place);
    if (decision.type === 'wait' || decision.type === 'answer') return this.#say(command, decision.reply);
    this.#write(part, decision.record);
    if (decision.type === 'bury') return this.#say(command, decision.reply);
    this.#running.push({ command, guarded, by, record: decision.record, mayHaveRun: decision.mayHaveRun });
  }

  #end({ command, guarded, by, record, mayHaveRun }: Execution): void {
    const part = this.#parts.get(command.step)!;
    const reply = qualify(this.#carryOut(part, command.phase), mayHaveRun);
    const isHeld = isOurs(part.record, guarded, by);
    if (this.#chance(this.odds.unwritten)) return this.#say(command, unrecorded(reply));
    if (isHeld) {
      this.#write(part, finish(record, guarded, { reply, by }));
      return this.#say(command, reply);
    }
    const overtaken = lost(part.record, guarded, { reply, by });
    if (overtaken.record !== undefined) this.#write(part, overtaken.record);
    this.#say(command, overtaken.reply);
  }

  /** A handler that keeps to the rules: a no only of what holds nothing, an undo that may be repeated. */
  #carryOut(part: Part, phase: Phase): Reply {
    const luck = this.#random.next();
    if (!isOpenPhase(phase)) {
      if (luck < this.odds.undoFails) return { answer: 'unknown' };
      carryOut(part, phase);
      return { answer: 'done' };
    }
    const holds = phase === 'execute' ? part.executed : part.held;
    if (luck < this.odds.no && !holds) return { answer: this.#chance(0.5) ? 'refused' : 'retry' };
    const isThrown = luck >= this.odds.no && luck < this.odds.no + this.odds.thrown;
    if (!isThrown || this.#chance(0.5)) carryOut(part, phase);
    return { answer: isThrown ? 'unknown' : 'done' };
  }

  #say({ step, phase, attempt }: CommandEffect, reply: Reply): void {
    this.#reports.push({ step, phase, attempt, ...reply });
    if (this.#chance(this.odds.copies / 2)) this.#reports.push({ step, phase, attempt, ...reply });
  }

  #write(part: Part, record: BarrierRecord): void {
    part.record = record;
    part.writtenMs = this.#nowMs;
  }

  readonly #chance = (probability: number): boolean => this.#random.next() < probability;
  readonly #below = (limit: number): number => Math.floor(this.#random.next() * limit);
}

function carryOut(part: Part, phase: Phase): void {
  switch (phase) {
    case 'prepare':
    case 'reserve':
      part.held = true;
      break;
    case 'execute':
      part.executed = true;
      break;
    case 'commit':
      part.committed = true;
      part.held = false;
      break;
    case 'compensate':
      part.executed = false;
      part.held = false;
      break;
    case 'abort':
    case 'cancel':
    case 'release':
      part.held = false;
      break;
    default:
  }
}

const steps = ['a', 'b', 'c'];
const tree = ['a', { step: 'b', after: ['a'] }, { step: 'c', after: ['a'] }];
const worlds: readonly [string, (odds: Odds, seed: number) => string | undefined][] = [
  ['2pc', (odds, seed) => new World(twoPhaseCommit, plan2pc(steps), odds, seed).run()],
  ['3pc', (odds, seed) => new World(threePhaseCommit, plan3pc(steps), odds, seed).run()],
  ['2ps', (odds, seed) => new World(twoPhaseSaga, compiled('2ps', steps), odds, seed).run()],
  ['3ps', (odds, seed) => new World(threePhaseSaga, compiled('3ps', steps), odds, seed).run()],
  ['saga', (odds, seed) => new World(saga, compiled('saga', tree), odds, seed).run()],
];
const numRuns = Number(process.env['LATE_EFFECT_RUNS'] ?? 1_500);

describe.each(worlds)('%s with effects that land late', (_, world) => {
  it.each([
    ['some', CALM],
    ['many', ROUGH],
  ])('leaves nothing behind that nobody is told of: %s', (_name, odds) => {
    const property = fc.property(fc.nat(), (seed) => {
      expect(world(odds, seed)).toBeUndefined();
    });
    fc.assert(property, { numRuns });
  });
});
