// Goal: with two or three participants, no interleaving with one crash or duplicate, one attempt or deadline that runs
// out at the worst moment and a cancel at any time makes 2PC disagree, guess, leave locks behind or get stuck.
// Method: breadth-first search over every order of deliveries; all events bear the same mark, so that equal states meet.
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Effect, Mark, RunFacts } from '../../src/protocol/machine.ts';
import { twoPhaseCommit, type TwoPhaseCommitState } from '../../src/protocol/two-phase-commit.ts';
import { compiled } from '../kit/compiled.ts';
import type { Body } from '../kit/machine-invariants.ts';
import { factsOf } from '../kit/machine-spec.ts';
import * as worlds from '../kit/two-phase-commit-world.ts';

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
/** What may still go wrong: crashes and duplicates; deadlines and cancels. */
interface Budget {
  readonly faults: number;
  readonly disturbances: number;
}
interface Trace {
  readonly move: string;
  readonly before: Trace | undefined;
}

function planOf(size: number): CompiledPlan {
  const steps = worlds.STEP_NAMES.slice(0, size).map((step) => ({
    step,
    retry: AT_ONCE,
    undoRetry: { ...AT_ONCE, maxAttempts: 50 },
    commitRetry: { ...AT_ONCE, maxAttempts: Infinity },
  }));
  return compiled('2pc', steps, { deadlines: { prepare: none, commit: none, 'commit-one-phase': none } });
}

const trace = (path: Trace | undefined): string =>
  path === undefined ? 'begin' : `${trace(path.before)}\n  ${path.move}`;

function search(
  votes: readonly worlds.Inclination[],
  budget: Budget,
): {
  readonly states: number;
  readonly ends: Set<string>;
} {
  const facts = factsOf(planOf(votes.length));
  const started = twoPhaseCommit.start(facts, NOW);
  const world = worlds.send(worlds.worldOf(votes), started.effects);
  const first: Node = { state: started.state, world, commanded: 'nothing', budget, path: undefined };
  const seen = new Set([keyOf(first)]);
  const ends = new Set<string>();
  let frontier = [first];
  while (frontier.length > 0) {
    const next: Node[] = [];
    for (const node of frontier) {
      const moves = movesOf(facts, node);
      if (moves.length === 0 || quiet(node)) ends.add(judgeEnd(facts, node));
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
  const key: unknown[] = [commanded, budget.faults, budget.disturbances];
  for (const value of state.phase === 'ended' ? [state.status] : (Object.values(state) as unknown[])) {
    if (Array.isArray(value)) key.push(...value.map(numberOf));
    else key.push(typeof value === 'object' && value !== null ? numberOf(value) : value);
  }
  key.push(...world.participants.map(numberOf));
  key.push('c', ...world.commands.map(numberOf).sort(), 'r', ...world.reports.map(numberOf).sort());
  return key.join();
}

/** Nothing is in flight: only faults, deadlines and cancels could still move the world. */
const quiet = ({ world, state }: Node): boolean =>
  world.commands.length === 0 && world.reports.length === 0 && state.phase === 'ended';

/** Alone and in doubt a run may stay open, with attention; every other one must have ended well. */
function judgeEnd(facts: RunFacts, { state, world, path }: Node): string {
  if (state.phase === 'ended') {
    const problem = worlds.leftoverOf(world, state.status);
    if (problem !== undefined) throw new Error(`${problem}:\n${trace(path)}`);
    return state.status;
  }
  const inDoubt =
    state.phase === 'committing_one_phase' && twoPhaseCommit.view(facts, state).attention.length > 0;
  if (!inDoubt) throw new Error(`stuck while ${state.phase}:\n${trace(path)}`);
  return 'in doubt';
}

function movesOf(facts: RunFacts, node: Node): Node[] {
  const { world, state, budget } = node;
  const moves: Node[] = [];
  const to = (move: string, change: Partial<Node>): void => {
    const path = { move, before: node.path };
    const problem = worlds.violationOf(change.world ?? world);
    if (problem !== undefined) throw new Error(`${problem}:\n${trace(path)}`);
    moves.push(settled({ ...node, ...change, path }));
  };
  const feed = (move: string, body: Body, change: Partial<Node>): void => {
    const stepped = twoPhaseCommit.step(facts, state, { ...body, mark: NOW });
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
  for (const { dueMs: _, ...timer } of twoPhaseCommit.timers(facts, state)) {
    const name = `${timer.kind} ${timer.step ?? timer.phase ?? ''} passed`;
    const body: Body = { type: 'deadline_passed', ...timer };
    // A back-off always ends: it is no disturbance.
    if (timer.kind === 'backoff') feed(name, body, {});
    else if (budget.disturbances > 0) feed(name, body, { budget: disturbed });
  }
  if (budget.disturbances > 0 && state.phase === 'preparing')
    feed('cancelled', { type: 'cancelled', reason: 'x' }, { budget: disturbed });
  return moves;
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

/** Participants are alike to the machine but for their place, so each mix is searched in one order. */
const TWO = ['yes yes', 'yes no', 'yes read-only', 'no no', 'no read-only', 'no slow', 'read-only read-only'];
const THREE = ['yes yes yes', 'yes yes no', 'yes yes read-only', 'yes no read-only'];
const CASES: readonly { readonly mixes: readonly string[]; readonly budget: Budget }[] = [
  { mixes: ['yes', 'no', 'read-only', 'slow'], budget: { faults: 2, disturbances: 2 } },
  { mixes: TWO, budget: { faults: 1, disturbances: 1 } },
  { mixes: [...THREE, 'yes no slow'], budget: { faults: 1, disturbances: 0 } },
  { mixes: THREE, budget: { faults: 0, disturbances: 1 } },
];

describe('2PC, every interleaving: all agree, end, leave no locks', () => {
  for (const { mixes, budget } of CASES) {
    const { faults, disturbances } = budget;
    const size = mixes[0]!.split(' ').length;
    const name = `${size} participants, ${faults} crashes or duplicates, ${disturbances} deadlines or cancels`;
    it(name, () => {
      let total = 0;
      const reached = new Set<string>();
      for (const mix of mixes) {
        const { states, ends } = search(mix.split(' ') as worlds.Inclination[], budget);
        total += states;
        ends.forEach((end) => reached.add(end));
      }
      console.info(`2PC, ${name}: ${total} states, ends: ${[...reached].sort().join(', ')}`);
      expect(reached).toContain('committed');
      expect(reached).toContain('aborted');
    });
  }
});
