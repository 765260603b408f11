/**
 * A small world around the 0.5PS machine: commands and reports in flight that may be lost, repeated and reordered, and
 * one participant per step with its own effects and a barrier. What is judged is what participants hold and what the log
 * proved, never what the machine remembers.
 */
import { eventual, type EventualState } from '../../src/protocol/eventual.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type {
  AttentionItem,
  Burial,
  CommandEffect,
  Effect,
  Mark,
  OutcomeBody,
  Report,
  RunFacts,
  Timer,
} from '../../src/protocol/machine.ts';
import { CheckedRun, type Body } from './machine-invariants.ts';
import { BEGUN, factsOf } from './machine-spec.ts';

export type Conduct =
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

export interface Command {
  readonly index: number;
  readonly phase: 'execute' | 'confirm';
  readonly attempt: number;
}

/** What a participant holds of one step. */
export interface Part {
  readonly record: 'none' | 'started' | 'done' | 'read-only' | 'refused';
  /** Attempts up to this one were answered by a clean `retry`. */
  readonly closed: number;
  readonly effects: number;
  readonly confirms: number;
  /** The attempt of an execution under way. */
  readonly slow: number;
}

/** What the log proves of one step. */
interface Proof {
  readonly executes: number;
  readonly confirms: number;
  readonly positive: 'done' | 'read-only' | undefined;
  readonly confirmed: boolean;
  readonly skipped: boolean;
  readonly buried: Burial | undefined;
}

const IDLE: Part = { record: 'none', closed: 0, effects: 0, confirms: 0, slow: 0 };
const UNPROVED: Proof = {
  executes: 0,
  confirms: 0,
  positive: undefined,
  confirmed: false,
  skipped: false,
  buried: undefined,
};

export function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`violated: ${what}`);
}

/** The bare machine: cheap, and its future can be forked. */
class Bare {
  constructor(
    readonly facts: RunFacts,
    public state: EventualState,
    public mark: Mark,
  ) {}
  feed(body: Body, timeMs: number): readonly Effect[] {
    this.mark = { at: `${Number(this.mark.at.split('.')[0]) + 1}.0`, time: timeMs };
    const { state, effects } = eventual.step(this.facts, this.state, { ...body, mark: this.mark });
    this.state = state;
    return effects;
  }
}
type Folder = Bare | CheckedRun<EventualState>;

export class EventualWorld {
  readonly facts: RunFacts;
  readonly fold: Folder;
  commands: readonly Command[] = [];
  reports: readonly Report[] = [];
  parts: readonly Part[];
  proofs: readonly Proof[];
  outcome: OutcomeBody | undefined;

  private constructor(facts: RunFacts, fold: Folder) {
    this.facts = facts;
    this.fold = fold;
    this.parts = facts.plan.steps.map(() => IDLE);
    this.proofs = facts.plan.steps.map(() => UNPROVED);
  }

  static bare(plan: CompiledPlan): EventualWorld {
    const facts = factsOf(plan);
    const { state, effects } = eventual.start(facts, BEGUN);
    const world = new EventualWorld(facts, new Bare(facts, state, BEGUN));
    world.#carry(effects);
    return world;
  }

  /** Every step is checked for M1 to M4; it cannot be forked. */
  static checked(plan: CompiledPlan): EventualWorld {
    const facts = factsOf(plan);
    const run = new CheckedRun(eventual, facts, BEGUN);
    const world = new EventualWorld(facts, run);
    world.#carry(run.effects);
    return world;
  }

  clone(): EventualWorld {
    const { facts, fold } = this;
    const twin = new EventualWorld(facts, new Bare(facts, fold.state, fold.mark));
    const { commands, reports, parts, proofs, outcome } = this;
    return Object.assign(twin, { commands, reports, parts, proofs, outcome });
  }

  timers(): readonly Timer[] {
    return eventual.timers(this.facts, this.fold.state);
  }

  items(): readonly AttentionItem[] {
    return this.outcome === undefined ? eventual.view(this.facts, this.fold.state).attention : [];
  }

  feed(body: Body, timeMs = this.fold.mark.time + 1): void {
    // What arrives after the end is dropped: it proves nothing to anybody.
    if (this.outcome === undefined) this.#prove(body);
    this.#carry(this.fold.feed(body, timeMs));
  }

  fire({ dueMs, ...rest }: Timer): void {
    this.feed({ type: 'deadline_passed', ...rest }, Math.max(dueMs, this.fold.mark.time));
  }

  deliverReport(place: number): void {
    const report = this.reports[place]!;
    this.reports = this.reports.toSpliced(place, 1);
    this.feed({ type: 'reported', ...report });
  }

  /** A worker takes a command; `conduct` says what happens if the barrier lets the handler run. */
  deliverCommand(place: number, conduct: Conduct): void {
    const command = this.commands[place]!;
    this.commands = this.commands.toSpliced(place, 1);
    if (command.phase === 'confirm') this.#confirm(command, conduct);
    else this.#execute(command, conduct);
  }

  #execute(command: Command, conduct: Conduct): void {
    const { index, attempt } = command;
    const part = this.parts[index]!;
    if (part.record === 'started') return this.#answer(command, { answer: 'retry', mayHaveRun: true });
    if (part.record !== 'none') return this.#answer(command, { answer: part.record });
    if (attempt <= part.closed) return this.#answer(command, { answer: 'retry' });
    switch (conduct) {
      case 'done':
      case 'unknown-with-effect':
      case 'crash-with-effect':
        this.#take(index);
        if (conduct !== 'crash-with-effect')
          this.#answer(command, { answer: conduct === 'done' ? 'done' : 'unknown' });
        return;
      case 'read-only':
      case 'refused':
        this.#set(index, { record: conduct });
        return this.#answer(command, { answer: conduct });
      case 'retry':
        this.#set(index, { closed: attempt });
        return this.#answer(command, { answer: 'retry' });
      case 'slow':
        return this.#set(index, { record: 'started', slow: attempt });
      case 'unknown':
      case 'conflict':
        return this.#answer(command, { answer: conduct });
      case 'crash':
        return;
    }
  }

  #take(index: number): void {
    const part = this.parts[index]!;
    check(part.effects === 0, 'a step took effect twice');
    this.#set(index, { record: 'done', effects: 1, slow: 0 });
  }

  #confirm(command: Command, conduct: Conduct): void {
    const { index } = command;
    const part = this.parts[index]!;
    check(part.effects === 1, 'E3: confirm of what took no effect');
    if (conduct === 'refused' || conduct === 'retry' || conduct === 'unknown')
      return this.#answer(command, { answer: conduct });
    if (conduct === 'crash') return;
    this.#set(index, { confirms: part.confirms + 1 });
    if (conduct !== 'crash-with-effect') this.#answer(command, { answer: 'done' });
  }

  /** A slow execution takes effect. */
  finish(index: number): void {
    const { slow } = this.parts[index]!;
    this.#take(index);
    this.#answer({ index, phase: 'execute', attempt: slow }, { answer: 'done' });
  }

  #answer({ index, phase, attempt }: Command, body: Pick<Report, 'answer' | 'mayHaveRun'>): void {
    const { step } = this.facts.plan.steps[index]!;
    const output = body.answer === 'done' && phase === 'execute' ? { output: { of: step } } : {};
    this.reports = [...this.reports, { step, phase, attempt, ...output, ...body }];
  }

  #set(index: number, change: Partial<Part>): void {
    this.parts = this.parts.with(index, { ...this.parts[index]!, ...change });
  }

  #note(step: string, change: (proof: Proof) => Partial<Proof>): void {
    const index = this.facts.plan.indexOf.get(step) ?? -1;
    const proof = this.proofs[index]!;
    this.proofs = this.proofs.with(index, { ...proof, ...change(proof) });
  }

  #prove(body: Body): void {
    if (body.type === 'item_skipped') this.#note(body.step, () => ({ skipped: true }));
    if (body.type !== 'reported') return;
    const { answer, phase, step } = body;
    if (answer !== 'done' && answer !== 'read-only') return;
    if (phase === 'execute') this.#note(step, ({ positive }) => ({ positive: positive ?? answer }));
    else this.#note(step, () => ({ confirmed: true }));
  }

  #carry(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.type === 'command') this.#send(effect);
      else if (effect.type === 'bury') effect.burials.forEach((burial) => this.#bury(burial));
      else if (effect.type === 'decide') check(false, 'a 0.5PS decides nothing');
      else if (effect.type === 'end') {
        check(this.outcome === undefined, 'ended twice');
        this.outcome = effect.outcome;
      }
    }
  }

  #bury(burial: Burial): void {
    this.#note(burial.command.step, ({ positive, buried }) => {
      check(positive === undefined, 'E4: buried although it was taken');
      check(buried === undefined, 'E2: buried twice');
      return { buried: burial };
    });
  }

  #send(command: CommandEffect): void {
    const { step, phase, attempt } = command;
    const name = `${phase} ${attempt} of ${step}`;
    this.#note(step, ({ executes, confirms, positive, confirmed, buried }) => {
      if (phase === 'execute') {
        check(positive === undefined, `${name} although it was taken`);
        check(buried === undefined, `E2: ${name} although it is dead`);
        check(attempt === executes + 1, `${name}: attempts rise by one`);
        return { executes: attempt };
      }
      check(phase === 'confirm', `${name} does not exist`);
      check(positive === 'done', `E3: ${name} although it was not done`);
      check(!confirmed, `${name} although it was confirmed`);
      check(attempt === confirms + 1, `${name}: attempts rise by one`);
      check(JSON.stringify(command.output) === JSON.stringify({ of: step }), `${name} without its output`);
      return { confirms: attempt };
    });
    const index = this.facts.plan.indexOf.get(step) ?? -1;
    this.commands = [...this.commands, { index, phase: phase as Command['phase'], attempt }];
  }

  /** How the run ended, judged once nothing is in flight any more. */
  judgeEnd(): void {
    const { status } = this.outcome ?? {};
    const wantsConfirm = this.facts.plan.deadlines.confirm !== undefined;
    let dead = 0;
    this.facts.plan.steps.forEach(({ step }, index) => {
      const { positive, buried, confirmed, skipped } = this.proofs[index]!;
      const { effects, confirms } = this.parts[index]!;
      check(positive !== undefined || buried !== undefined, `E1: ${step} was lost`);
      if (buried?.mayHaveRun === false)
        check(effects === 0, `${step} has an effect and was said not to have run`);
      if (positive === undefined) {
        dead += 1;
        return;
      }
      check(positive === 'read-only' || effects === 1, `${step} was taken without its effect`);
      if (!wantsConfirm || positive === 'read-only') return;
      check(confirmed || skipped, `${step} was neither confirmed nor skipped`);
      check(skipped || confirms > 0, `${step} was confirmed by nobody`);
    });
    const skips = this.proofs.some(({ skipped, confirmed }) => skipped && !confirmed);
    const expected = dead > 0 ? ['dead'] : skips ? ['resolved'] : ['completed', 'resolved'];
    check(expected.includes(status ?? 'none'), `ended ${status}, expected ${expected.join(' or ')}`);
  }
}
