/**
 * A small world around the saga machine: a log, commands and reports in flight that may be lost, repeated and reordered,
 * and one participant per step with its own effects and a barrier. What is judged is what participants hold and what the
 * log proved, never what the machine remembers.
 *
 * The barrier model: one record per step; an undo that comes first leaves a tombstone; a clean `retry` closes its attempt,
 * so that another copy of the same command cannot run after it; an effect whose record was lost to an undo says `late`.
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
import { saga, type SagaState } from '../../src/protocol/saga.ts';
import type { Body } from './machine-invariants.ts';
import { check, judgeCommand, newProof, prove, type Proof } from './saga-judge.ts';

/** Folds one event; the world neither knows nor cares whether every step is checked. */
export interface Folder {
  readonly state: SagaState;
  readonly timeMs: number;
  feed(body: Body, timeMs: number): readonly Effect[];
  clone(): Folder;
}

export interface Command {
  readonly index: number;
  readonly phase: 'execute' | 'compensate';
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

export interface Part {
  readonly record: 'none' | 'started' | 'done' | 'read-only' | 'refused' | 'undone' | 'late';
  /** Attempts up to this one were answered by a clean `retry`. */
  readonly closed: number;
  /** The attempt of an execution under way. */
  readonly slow: number;
  /** The started record has outlived its execution's lease. */
  readonly expired: boolean;
  readonly dos: number;
  readonly undos: number;
}

const IDLE: Part = { record: 'none', closed: 0, slow: 0, expired: false, dos: 0, undos: 0 };
export const net = (part: Part): number => part.dos - part.undos;

export class SagaWorld {
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

  constructor(facts: RunFacts, fold: Folder, begun: readonly Effect[]) {
    this.facts = facts;
    this.fold = fold;
    this.parts = facts.plan.steps.map(() => IDLE);
    this.proofs = facts.plan.steps.map(newProof);
    this.#carry(begun);
  }

  clone(): SagaWorld {
    const twin = new SagaWorld(this.facts, this.fold.clone(), []);
    const { commands, reports, parts, proofs, decided, outcome, surfaced } = this;
    return Object.assign(twin, { commands, reports, parts, proofs, decided, outcome, surfaced });
  }

  get plan(): CompiledPlan {
    return this.facts.plan;
  }

  timers(): readonly Timer[] {
    return saga.timers(this.facts, this.fold.state);
  }

  items(): readonly AttentionItem[] {
    return this.outcome === undefined ? saga.view(this.facts, this.fold.state).attention : [];
  }

  feed(body: Body, timeMs = this.fold.timeMs + 1): void {
    if (body.type === 'reported' && body.lateEffect === true && this.outcome !== undefined)
      this.surfaced = [...this.surfaced, body.step];
    const index = 'step' in body ? this.plan.indexOf.get(body.step) : undefined;
    if (index !== undefined) this.#prove(index, (proof) => prove(proof, body));
    this.#carry(this.fold.feed(body, timeMs));
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
    if (command.phase === 'execute') this.#execute(command, conduct);
    else this.#compensate(command, conduct);
  }

  #execute(command: Command, conduct: Conduct): void {
    const { index, attempt } = command;
    const part = this.parts[index]!;
    switch (part.record) {
      case 'done':
      case 'read-only': {
        this.#answer(command, { answer: part.record });
        return;
      }
      case 'refused':
      case 'undone': {
        this.#answer(command, { answer: 'refused' });
        return;
      }
      case 'late': {
        this.#answer(command, { answer: 'done', lateEffect: true });
        return;
      }
      case 'started': {
        this.#answer(command, { answer: 'retry', mayHaveRun: true });
        return;
      }
      case 'none':
        break;
    }
    if (attempt <= part.closed) {
      this.#answer(command, { answer: 'retry' });
      return;
    }
    switch (conduct) {
      case 'done':
      case 'crash-with-effect':
      case 'unknown-with-effect':
        this.#take(index);
        if (conduct === 'crash-with-effect') return;
        {
          this.#answer(command, { answer: conduct === 'done' ? 'done' : 'unknown' });
          return;
        }
      case 'read-only':
      case 'refused':
        this.#set(index, { record: conduct });
        {
          this.#answer(command, { answer: conduct });
          return;
        }
      case 'retry':
        this.#set(index, { closed: attempt });
        {
          this.#answer(command, { answer: 'retry' });
          return;
        }
      case 'slow': {
        this.#set(index, { record: 'started', slow: attempt });
        return;
      }
      case 'unknown':
      case 'conflict': {
        this.#answer(command, { answer: conduct });
        return;
      }
      case 'crash':
        return;
    }
  }

  /** An effect needs the effects of all dependencies, and comes once. */
  #take(index: number): void {
    const step = this.plan.steps[index]!;
    for (const dependency of step.after) {
      const { record, dos, undos } = this.parts[dependency]!;
      check(record === 'read-only' || dos - undos === 1, `${step.step} took effect without its dependencies`);
    }
    check(this.parts[index]!.dos === 0, `${step.step} took effect twice`);
    this.#set(index, { record: 'done', dos: 1 });
  }

  #compensate(command: Command, conduct: Conduct): void {
    const { index } = command;
    const part = this.parts[index]!;
    if (part.record === 'started' && !part.expired) {
      this.#answer(command, { answer: 'retry' });
      return;
    }
    if (conduct === 'retry' || conduct === 'unknown' || conduct === 'refused') {
      this.#answer(command, { answer: conduct });
      return;
    }
    if (conduct === 'crash') return;
    if (part.record === 'done' || part.record === 'late') this.#takeBack(index);
    this.#set(index, { record: 'undone' });
    if (conduct !== 'crash-with-effect') this.#answer(command, { answer: 'done' });
  }

  #takeBack(index: number): void {
    const part = this.parts[index]!;
    check(net(part) === 1, `${this.plan.steps[index]!.step} was taken back twice`);
    if (part.record === 'done') {
      for (const later of this.#after(index)) {
        const there = net(this.parts[later]!) > 0 && this.parts[later]!.record !== 'late';
        check(
          !there,
          `${this.plan.steps[index]!.step} was taken back before ${this.plan.steps[later]!.step}`,
        );
      }
    }
    this.#set(index, { undos: part.undos + 1 });
  }

  /** A person brings the effect about without the participant's handler. */
  doByHand(index: number): void {
    if (net(this.parts[index]!) === 0) this.#take(index);
  }

  /** The lease of an execution under way runs out. */
  expire(index: number): void {
    this.#set(index, { expired: true });
  }

  /** A slow execution takes effect: as recorded, or late when an undo has taken its record. */
  finish(index: number): void {
    const part = this.parts[index]!;
    const { step } = this.plan.steps[index]!;
    const command: Command = { index, phase: 'execute', attempt: part.slow, ran: false };
    check(part.dos === 0, `${step} took effect twice`);
    if (part.record === 'started') {
      this.#set(index, { slow: 0 });
      this.#take(index);
      this.#answer(command, { answer: 'done' });
      return;
    }
    this.#set(index, { slow: 0, dos: 1, record: 'late' });
    this.#answer(command, { answer: 'done', lateEffect: true });
  }

  #answer(command: Command, body: Omit<Report, 'step' | 'phase' | 'attempt'>): void {
    const { step } = this.plan.steps[command.index]!;
    const { phase, attempt } = command;
    const output = body.answer === 'done' && phase === 'execute' ? { output: { of: step } } : {};
    this.reports = [...this.reports, { step, phase, attempt, ...output, ...body }];
  }

  #set(index: number, change: Partial<Part>): void {
    this.parts = this.parts.with(index, { ...this.parts[index]!, ...change });
  }

  #prove(index: number, update: (proof: Proof) => Proof): void {
    this.proofs = this.proofs.with(index, update(this.proofs[index]!));
  }

  #after(index: number): readonly number[] {
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
      if (effect.type === 'command') this.#send(effect);
      else if (effect.type === 'decide') {
        check(this.decided === undefined, 'decided twice');
        check(effect.value !== 'abort', 'a saga never aborts');
        this.decided = effect.value === 'commit' ? 'commit' : 'undo';
      } else if (effect.type === 'end') {
        check(this.outcome === undefined, 'ended twice');
        this.outcome = effect.outcome;
      }
    }
  }

  #send(command: CommandEffect): void {
    const index = this.plan.indexOf.get(command.step)!;
    judgeCommand(command, {
      plan: this.plan,
      proofs: this.proofs,
      decided: this.decided,
      later: this.#after(index),
    });
    this.#judgeInput(command, index);
    const phase = command.phase as Command['phase'];
    this.#prove(index, (proof) =>
      phase === 'execute'
        ? { ...proof, commanded: command.attempt, settled: false }
        : { ...proof, undoCommanded: command.attempt, undone: false },
    );
    const { attempt, ran } = command;
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
      const { step } = this.plan.steps[index]!;
      if (status === 'completed') {
        check(part.undos === 0, `${step} of a completed saga was taken back`);
        check(part.record === 'read-only' || net(part) === 1, `${step} of a completed saga has no effect`);
      } else if (status === 'compensated' || status === 'cancelled') {
        const late = this.surfaced.includes(step);
        check(net(part) === 0 || late, `${step} of a ${status} saga still has its effect`);
      }
    }
  }
}
