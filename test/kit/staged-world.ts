/**
 * A small world around a staged machine (saga, 2PS, 3PS): a log, commands and reports in flight that may be lost, repeated and reordered,
 * and one participant per step with its own effects and a barrier. What is judged is what participants hold and what the
 * log proved, never what the machine remembers.
 *
 * The barrier model: one record per step and stage; an undo that comes first leaves a tombstone; a clean `retry` closes
 * its attempt, so that another copy of the same command cannot run after it; an effect whose record was lost to an undo
 * says `late`. The first stage of 2PS and 3PS makes a hold, which the effect of execute, or any undo, consumes.
 */
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type {
  AttentionItem,
  CommandEffect,
  Effect,
  OutcomeBody,
  Report,
  RunFacts,
  Timer,
} from '../../src/protocol/machine.ts';
import { isUndoPhase, type Phase } from '../../src/kernel/vocabulary.ts';
import type { Machine } from '../../src/protocol/machine.ts';
import type { StagedState } from '../../src/protocol/staged/state.ts';
import type { Body } from './machine-invariants.ts';
import { IDLE, net, recordOf, type Part, type Recorded } from './staged-part.ts';
import { check, judgeCommand, newProof, prove, proveCommand, stagesOf, type Proof } from './staged-judge.ts';

/** Folds one event; the world neither knows nor cares whether every step is checked. */
export interface Folder {
  readonly state: StagedState;
  readonly timeMs: number;
  feed(body: Body, timeMs: number): readonly Effect[];
  clone(): Folder;
}

export interface Command {
  readonly index: number;
  readonly phase: Phase;
  readonly attempt: number;
  readonly ran: boolean;
}

export type Conduct =
  /** Execute: the effect or none; what the participant says and whether its report is lost with a crash. */
  | 'done'
  | 'read-only'
  | 'refused'
  | 'retry'
  | 'unknown'
  | 'unknown-with-effect'
  | 'conflict'
  | 'slow'
  | 'crash'
  | 'crash-with-effect';

/** Far enough for most of a run to fit in before it. */
const RESERVED_UNTIL = 1_003_000;

export class StagedWorld {
  readonly machine: Machine<StagedState>;
  readonly facts: RunFacts;
  readonly fold: Folder;
  commands: readonly Command[] = [];
  reports: readonly Report[] = [];
  parts: readonly Part[];
  proofs: readonly Proof[];
  decided: 'commit' | 'undo' | undefined;
  outcome: OutcomeBody | undefined;
  /** Late effects reported after the end: they raise attention from their content alone. */
  surfaced: readonly string[] = [];
  /** What its gate waits for, as far as it is in the log. */
  signalled = false;
  approved = false;
  delayed = false;

  constructor(
    { machine, facts }: { readonly machine: Machine<StagedState>; readonly facts: RunFacts },
    fold: Folder,
    begun: readonly Effect[],
  ) {
    this.machine = machine;
    this.facts = facts;
    this.fold = fold;
    this.parts = facts.plan.steps.map(() => IDLE);
    this.proofs = facts.plan.steps.map(newProof);
    this.#carry(begun);
  }

  clone(): StagedWorld {
    const twin = new StagedWorld(this, this.fold.clone(), []);
    const { commands, reports, parts, proofs, decided, outcome, surfaced, signalled, approved, delayed } =
      this;
    return Object.assign(twin, {
      ...{ commands, reports, parts, proofs, decided, outcome, surfaced, signalled, approved, delayed },
    });
  }

  get plan(): CompiledPlan {
    return this.facts.plan;
  }

  timers(): readonly Timer[] {
    return this.machine.timers(this.facts, this.fold.state);
  }

  items(): readonly AttentionItem[] {
    return this.outcome === undefined ? this.machine.view(this.facts, this.fold.state).attention : [];
  }

  feed(body: Body, timeMs = this.fold.timeMs + 1): void {
    if (body.type === 'reported' && body.lateEffect === true && this.outcome !== undefined)
      this.surfaced = [...this.surfaced, body.step];
    if (body.type === 'deadline_passed' && body.kind === 'gate') this.delayed = true;
    const index = 'step' in body ? this.plan.indexOf.get(body.step) : undefined;
    if (index !== undefined) this.#prove(index, (proof) => prove(proof, body));
    this.#carry(this.fold.feed(body, timeMs));
  }

  /** The fold hands over the first signal of each name. */
  signal(verdict: 'approve' | 'reject'): void {
    if (this.signalled) return;
    this.signalled = true;
    this.approved = verdict === 'approve';
    this.feed({ type: 'signalled', name: this.plan.gate?.signal ?? 'none', verdict });
  }

  fire(timer: Timer): void {
    const { dueMs, ...rest } = timer;
    this.feed({ type: 'deadline_passed', ...rest }, Math.max(dueMs, this.fold.timeMs));
  }

  /** Takes a report from what is in flight, and stores it in the log. */
  deliverReport(place: number): void {
    const report = this.reports[place]!;
    this.reports = this.reports.toSpliced(place, 1);
    this.feed({ type: 'reported', ...report });
  }

  /** A worker takes a command; `conduct` says what happens if the barrier lets the handler run. */
  deliverCommand(place: number, conduct: Conduct): void {
    const command = this.commands[place]!;
    this.commands = this.commands.toSpliced(place, 1);
    if (isUndoPhase(command.phase)) this.#undo(command, conduct);
    else this.#act(command, conduct);
  }

  #act(command: Command, conduct: Conduct): void {
    const { index, attempt, phase } = command;
    const part = this.parts[index]!;
    const recorded = recordOf(part, phase);
    switch (recorded) {
      case 'done':
      case 'read-only':
        this.#answer(command, { answer: recorded });
        return;
      case 'refused':
      case 'undone':
        this.#answer(command, { answer: 'refused' });
        return;
      case 'late':
        this.#answer(command, { answer: 'done', lateEffect: true });
        return;
      case 'started':
        this.#answer(command, { answer: 'retry', mayHaveRun: true });
        return;
      case 'none':
        break;
    }
    if (attempt <= (part.closed[phase] ?? 0)) {
      this.#answer(command, { answer: 'retry' });
      return;
    }
    this.#run(command, conduct);
  }

  #run(command: Command, conduct: Conduct): void {
    const { index, attempt, phase } = command;
    switch (conduct) {
      case 'done':
      case 'crash-with-effect':
      case 'unknown-with-effect':
        this.#take(index, phase, 'done');
        if (conduct !== 'crash-with-effect')
          this.#answer(command, { answer: conduct === 'done' ? 'done' : 'unknown' });
        return;
      case 'read-only':
      case 'refused':
        this.#record(index, phase, conduct);
        this.#answer(command, { answer: conduct });
        return;
      case 'retry':
        this.#set(index, { closed: { ...this.parts[index]!.closed, [phase]: attempt } });
        this.#answer(command, { answer: 'retry' });
        return;
      case 'slow':
        this.#record(index, phase, 'started');
        this.#set(index, { slow: attempt, slowPhase: phase, expired: false });
        return;
      case 'unknown':
      case 'conflict':
        this.#answer(command, { answer: conduct });
        return;
      case 'crash':
        return;
    }
  }

  /** The effect of a stage; that of execute comes once, and needs what comes before it. */
  #take(index: number, phase: Phase, recorded: 'done' | 'late'): void {
    const part = this.parts[index]!;
    if (phase === 'execute') {
      check(part.dos === 0, `${this.#name(index)} took effect twice`);
      if (recorded === 'done') this.#judgeEffect(index);
      this.#set(index, { dos: 1, holds: 0 });
    } else if (phase === this.#first) this.#set(index, { holds: 1 });
    this.#record(index, phase, recorded);
  }

  /** By what the participants hold: dependencies in a saga, the stages before, of all, elsewhere. */
  #judgeEffect(index: number): void {
    const step = this.plan.steps[index]!;
    for (const dependency of step.after) {
      const part = this.parts[dependency]!;
      const there = recordOf(part, 'execute') === 'read-only' || net(part) === 1;
      check(there, `${step.step} took effect without its dependencies`);
    }
    const stages = stagesOf(this.plan);
    for (const [other, part] of this.parts.entries()) {
      if (recordOf(part, stages[0]!) === 'read-only') continue;
      for (const stage of stages.slice(0, -1)) {
        const recorded = recordOf(part, stage);
        const passed = recorded === 'done' || recorded === 'read-only' || part.buried;
        check(passed, `${step.step} took effect although ${this.#name(other)} is not through ${stage}`);
      }
    }
  }

  #undo(command: Command, conduct: Conduct): void {
    const { index, phase } = command;
    const part = this.parts[index]!;
    const isRunning = part.slow > 0 && recordOf(part, part.slowPhase!) === 'started';
    if (isRunning && !part.expired) {
      this.#answer(command, { answer: 'retry' });
      return;
    }
    if (conduct === 'retry' || conduct === 'unknown' || conduct === 'refused') {
      this.#answer(command, { answer: conduct });
      return;
    }
    if (conduct === 'crash') return;
    if (net(part) > 0) {
      check(phase === 'compensate', `${this.#name(index)} has its effect, and was told to ${phase}`);
      this.#takeBack(index);
    }
    const records = Object.fromEntries(Object.keys(part.records).map((stage) => [stage, 'undone' as const]));
    this.#set(index, { records, buried: true, holds: 0 });
    if (conduct !== 'crash-with-effect') this.#answer(command, { answer: 'done' });
  }

  #takeBack(index: number): void {
    const part = this.parts[index]!;
    check(net(part) === 1, `${this.#name(index)} was taken back twice`);
    if (recordOf(part, 'execute') === 'done') {
      for (const later of this.#after(index)) {
        const isLate = recordOf(this.parts[later]!, 'execute') === 'late';
        const there = net(this.parts[later]!) > 0 && !isLate && !this.#mayStay(later);
        check(!there, `${this.#name(index)} was taken back before ${this.#name(later)}`);
      }
    }
    this.#set(index, { undos: part.undos + 1 });
  }

  /** An undo in attention does not stop the chain of 2PS and 3PS. */
  #mayStay(index: number): boolean {
    return this.plan.pattern !== 'saga' && this.proofs[index]!.asked;
  }

  /** A person brings the effect about without the participant's handler. */
  doByHand(index: number): void {
    if (net(this.parts[index]!) === 0) this.#take(index, 'execute', 'done');
  }

  /** The lease of an execution under way runs out. */
  expire(index: number): void {
    this.#set(index, { expired: true });
  }

  /** A slow execution takes effect: as recorded, or late when an undo has taken its record. */
  finish(index: number): void {
    const { slow: attempt, slowPhase: phase = 'execute' } = this.parts[index]!;
    const command: Command = { index, phase, attempt, ran: false };
    const isLate = recordOf(this.parts[index]!, phase) !== 'started';
    this.#set(index, { slow: 0, slowPhase: undefined });
    this.#take(index, phase, isLate ? 'late' : 'done');
    this.#answer(command, isLate ? { answer: 'done', lateEffect: true } : { answer: 'done' });
  }

  #answer(command: Command, body: Omit<Report, 'step' | 'phase' | 'attempt'>): void {
    const { step } = this.plan.steps[command.index]!;
    const { phase, attempt } = command;
    const output = body.answer === 'done' && !isUndoPhase(phase) ? { output: { of: step } } : {};
    const until = body.answer === 'done' && phase === 'reserve' ? { expiresAt: RESERVED_UNTIL } : {};
    this.reports = [...this.reports, { step, phase, attempt, ...output, ...until, ...body }];
  }

  get #first(): Phase {
    return stagesOf(this.plan)[0]!;
  }

  #name(index: number): string {
    return this.plan.steps[index]!.step;
  }

  #record(index: number, phase: Phase, recorded: Recorded): void {
    this.#set(index, { records: { ...this.parts[index]!.records, [phase]: recorded } });
  }

  #set(index: number, change: Partial<Part>): void {
    this.parts = this.parts.with(index, { ...this.parts[index]!, ...change });
  }

  #prove(index: number, update: (proof: Proof) => Proof): void {
    this.proofs = this.proofs.with(index, update(this.proofs[index]!));
  }

  /** What must be undone before the step: all that depends on it, or all that comes after it. */
  #after(index: number): readonly number[] {
    if (this.plan.pattern !== 'saga') return [...this.parts.keys()].slice(index + 1);
    const found = new Set<number>();
    const visit = (at: number): void =>
      this.plan.steps[at]!.dependents.forEach((later) => {
        found.add(later);
        visit(later);
      });
    visit(index);
    return [...found];
  }

  #carry(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.type !== 'attend' || !isUndoPhase(effect.item.phase)) continue;
      this.#prove(this.plan.indexOf.get(effect.item.step)!, (proof) => ({ ...proof, asked: true }));
    }
    for (const effect of effects) {
      if (effect.type === 'command') this.#send(effect);
      else if (effect.type === 'decide') {
        check(this.decided === undefined, 'decided twice');
        check(effect.value !== 'abort', 'a staged run never aborts');
        this.decided = effect.value === 'commit' ? 'commit' : 'undo';
      } else if (effect.type === 'end') {
        check(this.outcome === undefined, 'ended twice');
        this.outcome = effect.outcome;
      }
    }
  }

  #send(command: CommandEffect): void {
    const index = this.plan.indexOf.get(command.step)!;
    const { gate } = this.plan;
    judgeCommand(command, {
      plan: this.plan,
      proofs: this.proofs,
      decided: this.decided,
      later: this.#after(index),
      gateOpen:
        (gate?.signal === undefined || this.approved) && (gate?.delayMs === undefined || this.delayed),
    });
    this.#judgeInput(command, index);
    this.#prove(index, (proof) => proveCommand(proof, command));
    const { attempt, ran, phase } = command;
    this.commands = [...this.commands, { index, phase, attempt, ran: ran === true }];
  }

  /** Every output of this world names its step, and every pointer points to that name. */
  #judgeInput(command: CommandEffect, index: number): void {
    const step = this.plan.steps[index]!;
    const expected = JSON.stringify(step.input ?? null).replace(/\{"\$from":"(\w+)\/of"\}/g, '"$1"');
    check(JSON.stringify(command.input ?? null) === expected, `${step.step} was sent another input`);
  }

  /** How the run ended, judged by what the participants hold once nothing is in flight any more. */
  judgeEnd(): void {
    const { status } = this.outcome ?? {};
    for (const [index, part] of this.parts.entries()) {
      const step = this.#name(index);
      const isReadOnly = [this.#first, 'execute' as const].some(
        (phase) => recordOf(part, phase) === 'read-only',
      );
      if (status === 'completed') {
        check(part.undos === 0, `${step} of a completed run was taken back`);
        check(isReadOnly || net(part) === 1, `${step} of a completed run has no effect`);
      } else if (status === 'compensated' || status === 'cancelled') {
        const late = this.surfaced.includes(step);
        check(net(part) === 0 || late, `${step} of a ${status} run still has its effect`);
        check(part.holds === 0 || late, `${step} of a ${status} run still holds something`);
      }
    }
  }
}
