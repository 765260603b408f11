/** What the log proves of a step, and which commands that allows: the invariants of the saga, 2PS and 3PS tables. */
import type { Phase } from '../../src/kernel/vocabulary.ts';
import { isUndoPhase } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { CommandEffect } from '../../src/protocol/machine.ts';
import type { Body } from './machine-invariants.ts';

/** Of the act of one stage. */
export interface ActProof {
  /** Attempts commanded so far. */
  readonly commanded: number;
  /** Attempts that were answered so that they left nothing behind. */
  readonly clean: readonly number[];
  readonly positive: 'done' | 'read-only' | undefined;
  /** The last attempt was answered, or its deadline is in the log. */
  readonly settled: boolean;
}

export interface Proof {
  readonly acts: Readonly<Partial<Record<Phase, ActProof>>>;
  readonly undo: Phase | undefined;
  readonly undoCommanded: number;
  readonly undone: boolean;
  /** Its undo was put before a person. */
  readonly asked: boolean;
}

const NO_PROOF: ActProof = { commanded: 0, clean: [], positive: undefined, settled: true };

export const newProof = (): Proof => ({
  acts: {},
  undo: undefined,
  undoCommanded: 0,
  undone: false,
  asked: false,
});

export function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`violated: ${what}`);
}

/** The phases that every step of this plan passes. */
export function stagesOf(plan: CompiledPlan): readonly Phase[] {
  switch (plan.pattern) {
    case '2ps':
      return plan.gate === undefined ? ['prepare', 'execute'] : ['prepare', 'verify', 'execute'];
    case '3ps':
      return ['reserve', 'validate', 'execute'];
    default:
      return ['execute'];
  }
}

const actOf = (proof: Proof, phase: Phase | undefined): ActProof =>
  phase === undefined ? NO_PROOF : (proof.acts[phase] ?? NO_PROOF);

const withAct = (proof: Proof, phase: Phase, change: Partial<ActProof>): Proof => ({
  ...proof,
  acts: { ...proof.acts, [phase]: { ...actOf(proof, phase), ...change } },
});

export function proveCommand(proof: Proof, { phase, attempt }: CommandEffect): Proof {
  if (!isUndoPhase(phase)) return withAct(proof, phase, { commanded: attempt, settled: false });
  return { ...proof, undo: phase, undoCommanded: attempt, undone: false };
}

export function prove(proof: Proof, body: Body): Proof {
  if (body.type === 'deadline_passed') {
    if (body.phase === undefined || isUndoPhase(body.phase) || proof.acts[body.phase] === undefined)
      return proof;
    const last =
      body.kind === 'step' || body.kind === 'phase' || body.attempt === actOf(proof, body.phase).commanded;
    return last ? withAct(proof, body.phase, { settled: true }) : proof;
  }
  if (body.type === 'item_resolved' && body.phase === 'execute') {
    if (body.answer === 'done') return withAct(proof, 'execute', { settled: true, positive: 'done' });
    const { commanded } = actOf(proof, 'execute');
    return withAct(proof, 'execute', { clean: Array.from({ length: commanded }, (_, index) => index + 1) });
  }
  if (body.type !== 'reported') return proof;
  const { phase, attempt, answer } = body;
  const positive = answer === 'done' || answer === 'read-only';
  if (isUndoPhase(phase))
    return positive && phase === proof.undo && attempt <= proof.undoCommanded
      ? { ...proof, undone: true }
      : proof;
  const act = actOf(proof, phase);
  if (attempt > act.commanded) return proof;
  const leftNothing = answer === 'refused' || answer === 'retry' || answer === 'read-only';
  const isClean = leftNothing && body.mayHaveRun !== true && !act.clean.includes(attempt);
  const clean = isClean ? [...act.clean, attempt] : act.clean;
  // The first yes stands, except that an effect outweighs read-only.
  if (positive) return withAct(proof, phase, { settled: true, positive: act.positive ?? answer, clean });
  return withAct(proof, phase, { settled: act.settled || attempt === act.commanded, clean });
}

/** Some attempt was commanded that nothing proves to have left nothing behind. */
function mayHaveRun(act: ActProof): boolean {
  if (act.positive === 'done') return true;
  return act.clean.length < act.commanded;
}

/** What has to undo this step, as far as the log proves; undefined: nothing. */
export function owedUndo(plan: CompiledPlan, proof: Proof): Phase | undefined {
  const [first = 'execute'] = stagesOf(plan);
  const execute = actOf(proof, 'execute');
  // After a stage that holds something, read-only execution does not mean that nothing is left.
  const executed = first !== 'execute' && execute.positive !== undefined ? true : mayHaveRun(execute);
  if (executed) return 'compensate';
  if (first === 'execute' || !mayHaveRun(actOf(proof, first))) return undefined;
  return plan.pattern === '2ps' ? 'cancel' : 'release';
}

const isSettled = ({ acts }: Proof): boolean => Object.values(acts).every(({ settled }) => settled);

export interface Judged {
  readonly plan: CompiledPlan;
  readonly proofs: readonly Proof[];
  readonly decided: 'commit' | 'undo' | undefined;
  /** Everything that must be undone before the step. */
  readonly later: readonly number[];
  /** All that its gate waits for is in the log. */
  readonly gateOpen: boolean;
}

export function judgeCommand(command: CommandEffect, world: Judged): void {
  const step = world.plan.steps[world.plan.indexOf.get(command.step) ?? -1]!;
  const name = `${command.phase} ${command.attempt} of ${step.step}`;
  if (isUndoPhase(command.phase)) judgeUndo(command, world, name);
  else if (world.plan.pattern === 'saga') judgeSagaAct(command, world, name);
  else judgeStage(command, world, name);
}

function judgeAct(command: CommandEffect, { plan, proofs, decided }: Judged, name: string): void {
  const act = actOf(proofs[plan.indexOf.get(command.step)!]!, command.phase);
  check(decided !== 'undo', `${name} after undo was decided`);
  check(command.attempt === act.commanded + 1, `${name}: attempts rise by one`);
  check(act.positive === undefined, `${name} although it has succeeded`);
}

function judgeSagaAct(command: CommandEffect, world: Judged, name: string): void {
  const { plan, proofs, decided } = world;
  const step = plan.steps[plan.indexOf.get(command.step)!]!;
  check(command.phase === 'execute', `${name} does not exist`);
  judgeAct(command, world, name);
  const ready = step.after.every(
    (dependency) => actOf(proofs[dependency]!, 'execute').positive !== undefined,
  );
  check(ready, `${name} before its dependencies`);
  check(step.kind !== 'retriable' || decided === 'commit', `${name} before the point of no return`);
}

function judgeStage(command: CommandEffect, world: Judged, name: string): void {
  const { plan, proofs, gateOpen } = world;
  const stages = stagesOf(plan);
  const place = stages.indexOf(command.phase);
  check(place >= 0, `${name} does not exist`);
  judgeAct(command, world, name);
  if (place === 0) return;
  const before = stages[place - 1]!;
  const hasPassed = (proof: Proof): boolean =>
    actOf(proof, stages[0]).positive === 'read-only' || actOf(proof, before).positive !== undefined;
  const own = proofs[plan.indexOf.get(command.step)!]!;
  check(actOf(own, stages[0]).positive === 'done', `${name}, which has no part in it`);
  check(hasPassed(own), `${name} before ${before}`);
  check(command.phase !== 'verify' || gateOpen, `${name} before the gate has opened`);
  const isBarrier = plan.pattern === '2ps' || command.phase === 'execute';
  check(!isBarrier || proofs.every(hasPassed), `${name} before ${before} of all`);
}

function judgeUndo(command: CommandEffect, world: Judged, name: string): void {
  const { plan, proofs, decided, later } = world;
  const step = plan.steps[plan.indexOf.get(command.step)!]!;
  const proof = proofs[step.index]!;
  check(decided === 'undo', `${name} although undo is not decided`);
  check(step.kind === 'compensatable', `${name}, which is ${step.kind}`);
  check(isSettled(proof), `${name} before the act settled`);
  check(proof.undo === undefined || proof.undo === command.phase, `${name} after ${proof.undo}`);
  // An undo once commanded goes on, also when its own tombstone makes a late copy of the act answer no.
  const owed = owedUndo(plan, proof);
  check(proof.undoCommanded > 0 || owed !== undefined, `${name}, which is known not to have run`);
  check(proof.undoCommanded > 0 || owed === command.phase, `${name} instead of ${owed}`);
  check(command.attempt === proof.undoCommanded + 1, `${name}: attempts rise by one`);
  const ran = Object.values(proof.acts).some(({ positive }) => positive === 'done');
  check(command.ran !== true || ran, `${name} claims that the act ran`);
  // An undo that has begun goes on, also when a late effect further down the order is taken back again meanwhile.
  if (proof.undoCommanded > 0) return;
  for (const index of later) {
    const other = proofs[index]!;
    const passes = plan.pattern !== 'saga' && other.asked;
    const clear = isSettled(other) && (owedUndo(plan, other) === undefined || other.undone || passes);
    check(clear, `${name} before ${plan.steps[index]!.step} was undone`);
  }
}
