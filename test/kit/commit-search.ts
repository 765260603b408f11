/**
 * Breadth-first search over every order of deliveries around one run of 2PC or 3PC; all events bear the same mark, so
 * that equal states meet.
 */
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Effect, Machine, Mark, RunFacts } from '../../src/protocol/machine.ts';
import type { TwoPhaseCommitState } from '../../src/protocol/two-phase-commit.ts';
import { compiled } from './compiled.ts';
import type { Body } from './machine-invariants.ts';
import { factsOf } from './machine-spec.ts';
import * as worlds from './two-phase-commit-world.ts';

/** Every timer is due at once, so the search alone chooses when it fires. */
const NOW: Mark = { at: '1.0', time: 0 };
const AT_ONCE = { maxAttempts: 2, initialMs: 0, factor: 1, maxMs: 0, attemptMs: 0 };
const none = { lowerMs: 0, upperMs: 0 };

interface Node {
  readonly state: TwoPhaseCommitState;
  readonly world: worlds.World;
  readonly commanded: 'nothing' | 'commit' | 'abort';
  readonly budget: Budget;
  readonly path: Trace | undefined;
}
/** What may still go wrong: crashes and duplicates; deadlines and cancels; participants that end on their own (3PC). */
export interface Budget {
  readonly faults: number;
  readonly disturbances: number;
  readonly terminations?: number;
}

export interface Searched {
  readonly machine: Machine<TwoPhaseCommitState>;
  readonly votes: readonly worlds.Inclination[];
  readonly budget: Budget;
  /**
   * How a participant ends on its own. `told`: its report is in the log before any vote that was not there, and nobody
   * may ever disagree. `late`: votes may overtake it, as behind a pause or partition; a split must then be told.
   */
  readonly termination?: 'told' | 'late';
}

interface Trace {
  readonly move: string;
  readonly before: Trace | undefined;
}

function planOf(pattern: Pattern, size: number): CompiledPlan {
  const steps = worlds.STEP_NAMES.slice(0, size).map((step) => ({
    step,
    retry: AT_ONCE,
    undoRetry: { ...AT_ONCE, maxAttempts: 50 },
    commitRetry: { ...AT_ONCE, maxAttempts: Infinity },
  }));
  return compiled(pattern, steps, {
    deadlines: { prepare: none, precommit: none, commit: none, 'commit-one-phase': none },
  });
}

const trace = (path: Trace | undefined): string =>
  path === undefined ? 'begin' : `${trace(path.before)}\n  ${path.move}`;

export function search(searched: Searched): { readonly states: number; readonly ends: Set<string> } {
  const { machine, votes, budget } = searched;
  const facts = factsOf(planOf(machine.pattern, votes.length));
  const started = machine.start(facts, NOW);
  const world = worlds.send(worlds.worldOf(votes), started.effects);
  const first: Node = { state: started.state, world, commanded: 'nothing', budget, path: undefined };
  const seen = new Set([keyOf(first)]);
  const ends = new Set<string>();
  let frontier = [first];
  while (frontier.length > 0) {
    const next: Node[] = [];
    for (const node of frontier) {
      const moves = movesOf(searched, facts, node);
      if (moves.length === 0 || quiet(node)) ends.add(judgeEnd(searched, facts, node));
      for (const moved of moves) {
        const key = keyOf(moved);
        if (seen.has(key)) continue;
        seen.add(key);
        next.push(moved);
      }
    }
    frontier = next;
  }
  return { states: seen.size, ends };
}

const numbers = new Map<string, number>();
const numbered = new WeakMap<object, number>();
/** Equal parts have equal numbers; most parts are shared by many nodes and are spelled out only once. */
function numberOf(part: object): number {
  const known = numbered.get(part);
  if (known !== undefined) return known;
  const text = JSON.stringify(part);
  const number = numbers.get(text) ?? numbers.size;
  numbers.set(text, number);
  numbered.set(part, number);
  return number;
}

function keyOf({ state, world, commanded, budget }: Node): string {
  const key: unknown[] = [commanded, budget.faults, budget.disturbances, budget.terminations];
  for (const value of state.phase === 'ended' ? [state.status] : (Object.values(state) as unknown[])) {
    if (Array.isArray(value)) key.push(...value.map(numberOf));
    else key.push(typeof value === 'object' && value !== null ? numberOf(value) : value);
  }
  key.push(...world.participants.map(numberOf));
  key.push('c', ...world.commands.map(numberOf).sort(), 'r', ...world.reports.map(numberOf).sort());
  return key.join();
}

/** Nothing is in flight: only faults, deadlines and cancels could still move the world. */
const quiet = ({ world, state }: Node): boolean => atRest(world) && state.phase === 'ended';
const atRest = ({ commands, reports }: worlds.World): boolean =>
  commands.length === 0 && reports.length === 0;

/** Alone and in doubt a run may stay open, with attention; every other one must have ended well. */
function judgeEnd({ machine }: Searched, facts: RunFacts, { state, world, path }: Node): string {
  const attended = state.phase !== 'ended' && machine.view(facts, state).attention.length > 0;
  const ownEnd = world.participants.some(({ terminated }) => terminated === true);
  if (attended && ownEnd && 'mixed' in state && state.mixed) return 'mixed';
  if (worlds.isSplit(world)) throw new Error(`split, and nobody is told:\n${trace(path)}`);
  if (state.phase === 'ended') {
    const problem = worlds.leftoverOf(world, state.status);
    if (problem !== undefined) throw new Error(`${problem}:\n${trace(path)}`);
    return state.status;
  }
  const inDoubt = state.phase === 'committing_one_phase' && attended;
  if (!inDoubt) throw new Error(`stuck while ${state.phase}:\n${trace(path)}`);
  return 'in doubt';
}

function movesOf(searched: Searched, facts: RunFacts, node: Node): Node[] {
  const { machine } = searched;
  const { world, state, budget } = node;
  const moves: Node[] = [];
  const to = (move: string, change: Partial<Node>): void => {
    const path = { move, before: node.path };
    const next = change.world ?? world;
    const problem = worlds.violationOf(next);
    const excused = searched.termination === 'late' && worlds.isSplit(next);
    if (problem !== undefined && !excused) throw new Error(`${problem}:\n${trace(path)}`);
    moves.push(settled({ ...node, ...change, path }));
  };
  const feed = (move: string, body: Body, change: Partial<Node>): void => {
    const stepped = machine.step(facts, state, { ...body, mark: NOW });
    const commanded = decisionOf(node, stepped.effects, move);
    const sent = worlds.send(change.world ?? world, stepped.effects);
    to(move, { ...change, state: stepped.state, world: sent, commanded });
  };
  const faulty = { ...budget, faults: budget.faults - 1 };
  const disturbed = { ...budget, disturbances: budget.disturbances - 1 };
  world.commands.forEach((command, index) => {
    const name = `${worlds.STEP_NAMES[command.step]} ${command.phase} ${command.attempt}`;
    to(`${name} delivered`, { world: worlds.deliver(world, index, 'delivered') });
    if (budget.faults === 0) return;
    for (const fate of worlds.FAULTS)
      to(`${name} ${fate}`, { world: worlds.deliver(world, index, fate), budget: faulty });
  });
  world.reports.forEach((_, index) => {
    const report = worlds.reportAt(world, index);
    const name = `report ${report.step} ${report.phase} ${report.attempt} ${report.answer}`;
    feed(name, report, { world: worlds.withoutReport(world, index) });
    if (budget.faults > 0) feed(`${name}, kept`, report, { budget: faulty });
  });
  for (const { dueMs: _, ...timer } of machine.timers(facts, state)) {
    const name = `${timer.kind} ${timer.step ?? timer.phase ?? ''} passed`;
    const body: Body = { type: 'deadline_passed', ...timer };
    // A back-off always ends, and so does the wait for precommits that do not come: that is no disturbance.
    const waits = timer.phase === 'precommit' && timer.kind === 'phase' && atRest(world);
    if (timer.kind === 'backoff' || waits) feed(name, body, {});
    else if (budget.disturbances > 0) feed(name, body, { budget: disturbed });
  }
  for (const { name, change } of terminationsOf(searched, node)) {
    const last = change.world.reports.length - 1;
    if (searched.termination === 'late') to(name, change);
    else {
      const told = { ...change, world: worlds.withoutReport(change.world, last) };
      feed(name, worlds.reportAt(change.world, last), told);
    }
  }
  if (budget.disturbances > 0 && state.phase === 'preparing')
    feed('cancelled', { type: 'cancelled', reason: 'x' }, { budget: disturbed });
  return moves;
}

function terminationsOf(
  { termination }: Searched,
  { world, budget, state }: Node,
): { readonly name: string; readonly change: Pick<Node, 'world' | 'budget'> }[] {
  const left = budget.terminations ?? 0;
  if (termination === undefined || left === 0 || state.phase === 'ended') return [];
  return world.participants.flatMap((_, step) =>
    worlds.mayTerminate(world, step)
      ? [
          {
            name: `${worlds.STEP_NAMES[step]} ends on its own`,
            change: { world: worlds.terminate(world, step), budget: { ...budget, terminations: left - 1 } },
          },
        ]
      : [],
  );
}

/** What can no longer matter is forgotten, so that more nodes meet: after the end no report and no deadline does. */
function settled(node: Node): Node {
  if (node.state.phase !== 'ended') return node;
  const { world, budget } = node;
  return { ...node, world: { ...world, reports: [] }, budget: { ...budget, disturbances: 0 } };
}

/** I1: never both commit and abort. */
function decisionOf(node: Node, effects: readonly Effect[], move: string): Node['commanded'] {
  let { commanded } = node;
  for (const effect of effects) {
    if (effect.type !== 'command' || (effect.phase !== 'commit' && effect.phase !== 'abort')) continue;
    if (commanded !== 'nothing' && commanded !== effect.phase)
      throw new Error(`${effect.phase} after ${commanded}:\n${trace(node.path)}\n  ${move}`);
    commanded = effect.phase;
  }
  return commanded;
}
