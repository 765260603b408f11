/** What the log proves of a step, and which commands that allows (S1 to S4 of `src/protocol/saga.ts`). */
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { CommandEffect } from '../../src/protocol/machine.ts';
import type { Body } from './machine-invariants.ts';

export interface Proof {
  /** Attempts of execute and of compensate commanded so far. */
  readonly commanded: number;
  readonly undoCommanded: number;
  /** Attempts of execute that were answered so that they left nothing behind. */
  readonly clean: readonly number[];
  readonly positive: 'done' | 'read-only' | undefined;
  /** The last attempt of execute was answered, or its deadline is in the log. */
  readonly settled: boolean;
  readonly undone: boolean;
}

export const newProof = (): Proof => ({
  commanded: 0,
  undoCommanded: 0,
  clean: [],
  positive: undefined,
  settled: false,
  undone: false,
});

export function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`violated: ${what}`);
}

export function prove(proof: Proof, body: Body): Proof {
  if (body.type === 'deadline_passed') {
    const last = body.kind === 'step' || body.attempt === proof.commanded;
    return body.phase === 'execute' && last ? { ...proof, settled: true } : proof;
  }
  if (body.type === 'item_resolved' && body.phase === 'execute') {
    if (body.answer === 'done') return { ...proof, settled: true, positive: 'done' };
    return { ...proof, clean: Array.from({ length: proof.commanded }, (_, index) => index + 1) };
  }
  if (body.type !== 'reported') return proof;
  const { phase, attempt, answer } = body;
  const positive = answer === 'done' || answer === 'read-only';
  if (phase === 'compensate')
    return positive && attempt <= proof.undoCommanded ? { ...proof, undone: true } : proof;
  if (phase !== 'execute' || attempt > proof.commanded) return proof;
  // The first yes stands, except that an effect outweighs read-only.
  if (positive) return { ...proof, settled: true, positive: proof.positive ?? answer };
  const clean = (answer === 'refused' || answer === 'retry') && body.mayHaveRun !== true;
  return {
    ...proof,
    settled: proof.settled || attempt === proof.commanded,
    clean: clean && !proof.clean.includes(attempt) ? [...proof.clean, attempt] : proof.clean,
  };
}

/** Some attempt was commanded that nothing proves to have left nothing behind. */
export function mayHaveRun(proof: Proof): boolean {
  if (proof.positive !== undefined) return proof.positive === 'done';
  return proof.clean.length < proof.commanded;
}

export function judgeCommand(
  command: CommandEffect,
  world: {
    readonly plan: CompiledPlan;
    readonly proofs: readonly Proof[];
    readonly decided: 'commit' | 'undo' | undefined;
    /** Everything that depends on the step. */
    readonly later: readonly number[];
  },
): void {
  const { plan, proofs, decided, later } = world;
  const step = plan.steps[plan.indexOf.get(command.step) ?? -1]!;
  const proof = proofs[step.index]!;
  const name = `${command.phase} ${command.attempt} of ${step.step}`;
  if (command.phase === 'execute') {
    check(decided !== 'undo', `S3: ${name} after undo was decided`);
    check(command.attempt === proof.commanded + 1, `${name}: attempts rise by one`);
    check(proof.positive === undefined, `${name} although it has succeeded`);
    const ready = step.after.every((dependency) => proofs[dependency]!.positive !== undefined);
    check(ready, `${name} before its dependencies`);
    check(step.kind !== 'retriable' || decided === 'commit', `${name} before the point of no return`);
    return;
  }
  check(command.phase === 'compensate', `${name} does not exist`);
  check(decided === 'undo', `S4: ${name} although undo is not decided`);
  check(step.kind === 'compensatable', `S1: ${name}, which is ${step.kind}`);
  check(proof.settled, `S1: ${name} before the act settled`);
  // An undo once commanded goes on, also when its own tombstone makes a late copy of the act answer no.
  check(proof.undoCommanded > 0 || mayHaveRun(proof), `S1: ${name}, which is known not to have run`);
  check(command.attempt === proof.undoCommanded + 1, `${name}: attempts rise by one`);
  check(command.ran !== true || proof.positive === 'done', `${name} claims that the act ran`);
  // An undo that has begun goes on, also when a late effect further down the order is taken back again meanwhile.
  if (proof.undoCommanded > 0) return;
  for (const index of later) {
    const other = proofs[index]!;
    const clear = other.commanded === 0 || (other.settled && (!mayHaveRun(other) || other.undone));
    check(clear, `S2: ${name} before ${plan.steps[index]!.step} was undone`);
  }
}
