/** Worlds around any staged machine, whose every step is checked or which can be forked. */
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Effect, Machine, Mark, RunFacts } from '../../src/protocol/machine.ts';
import { saga } from '../../src/protocol/saga.ts';
import type { StagedState } from '../../src/protocol/staged/state.ts';
import { threePhaseSaga } from '../../src/protocol/three-phase-saga.ts';
import { twoPhaseSaga } from '../../src/protocol/two-phase-saga.ts';
import { CheckedRun, type Body } from './machine-invariants.ts';
import { BEGUN, factsOf } from './machine-spec.ts';
import { StagedWorld, type Folder } from './staged-world.ts';

/** Every step is checked for M1 to M4. */
class CheckedFolder implements Folder {
  readonly #run: CheckedRun<StagedState>;
  constructor(machine: Machine<StagedState>, facts: RunFacts) {
    this.#run = new CheckedRun(machine, facts, BEGUN);
  }
  get state(): StagedState {
    return this.#run.state;
  }
  get timeMs(): number {
    return this.#run.mark.time;
  }
  get begun(): readonly Effect[] {
    return this.#run.effects;
  }
  feed(body: Body, timeMs: number): readonly Effect[] {
    return this.#run.feed(body, timeMs);
  }
  clone(): Folder {
    throw new Error('a checked run has one future');
  }
}

/** The bare machine: cheap, and its future can be forked. */
export class BareFolder implements Folder {
  private constructor(
    readonly machine: Machine<StagedState>,
    readonly facts: RunFacts,
    public state: StagedState,
    private mark: Mark,
    private seq: number,
  ) {}
  static begin(
    machine: Machine<StagedState>,
    facts: RunFacts,
  ): { readonly folder: BareFolder; readonly effects: readonly Effect[] } {
    const { state, effects } = machine.start(facts, BEGUN);
    return { folder: new BareFolder(machine, facts, state, BEGUN, 1), effects };
  }
  get timeMs(): number {
    return this.mark.time;
  }
  feed(body: Body, timeMs: number): readonly Effect[] {
    this.seq += 1;
    this.mark = { at: `${this.seq}.0`, time: timeMs };
    const { state, effects } = this.machine.step(this.facts, this.state, {
      ...body,
      mark: this.mark,
    });
    this.state = state;
    return effects;
  }
  clone(): Folder {
    return new BareFolder(this.machine, this.facts, this.state, this.mark, this.seq);
  }
}

const MACHINES: Readonly<Partial<Record<Pattern, Machine<StagedState>>>> = {
  saga,
  '2ps': twoPhaseSaga,
  '3ps': threePhaseSaga,
};

function machineOf({ pattern }: CompiledPlan): Machine<StagedState> {
  const machine = MACHINES[pattern];
  if (machine === undefined) throw new Error(`${pattern} is not staged`);
  return machine;
}

export function checkedWorld(plan: CompiledPlan): StagedWorld {
  const subject = { machine: machineOf(plan), facts: factsOf(plan) };
  const folder = new CheckedFolder(subject.machine, subject.facts);
  return new StagedWorld(subject, folder, folder.begun);
}

export function bareWorld(plan: CompiledPlan): StagedWorld {
  const subject = { machine: machineOf(plan), facts: factsOf(plan) };
  const { folder, effects } = BareFolder.begin(subject.machine, subject.facts);
  return new StagedWorld(subject, folder, effects);
}
