// Goal: with two or three participants, no interleaving with one crash or duplicate, one attempt or deadline that runs
// out at the worst moment and a cancel at any time makes 2PC disagree, guess, leave locks behind or get stuck.
// Method: breadth-first search over every order of deliveries; all events bear the same mark, so that equal states meet.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { CompiledPlan } from '../../src/protocol/compiled-plan.ts';
import type { Effect, MachineEvent, Mark, RunFacts } from '../../src/protocol/machine.ts';
import { twoPhaseCommit, type TwoPhaseCommitState } from '../../src/protocol/two-phase-commit.ts';
import { compiled } from '../kit/compiled.ts';
import { factsOf, type Body } from '../kit/machine-spec.ts';
import * as worlds from '../kit/two-phase-commit-world.ts';

/** Every timer is due at once, so the search alone chooses when it fires. */
const NOW: Mark = { at: '1.0', time: 0 };
const AT_ONCE = { maxAttempts: 2, initialMs: 0, factor: 1, maxMs: 0, attemptMs: 0 };
const none = { lowerMs: 0, upperMs: 0 };

interface Node {
  readonly state: TwoPhaseCommitState;
  readonly world: worlds.World;
  readonly commanded: 'nothing' | 'commit' | 'abort';
  /** Faults, deadlines and cancels that may still happen. */
  readonly faults: number;
  readonly deadlines: number;
  readonly cancels: number;
  readonly path: Trace | undefined;
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

function search(votes: readonly worlds.Inclination[]): {
  readonly states: number;
  readonly ends: Set<string>;
} {
  const facts = factsOf(planOf(votes.length));
  const started = twoPhaseCommit.start(facts, NOW);
  const world = worlds.send(worlds.worldOf(votes), started.effects);
  const budget = { faults: 1, deadlines: 1, cancels: 1 };
  const first: Node = { state: started.state, world, commanded: 'nothing', ...budget, path: undefined };
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

/** Most moves change the world alone: a state met again is not spelled out again. */
const spelled = new WeakMap<object, string>();
function spell(value: object): string {
  const known = spelled.get(value);
  if (known !== undefined) return known;
  const text = JSON.stringify(value);
  spelled.set(value, text);
  return text;
}

function keyOf({ state, world, commanded, faults, deadlines, cancels }: Node): string {
  const commands = world.commands.map(spell).sort();
  const reports = world.reports.map(spell).sort();
  const parts = [spell(state), spell(world.participants), ...commands, '/', ...reports];
  const text = `${parts.join()}${commanded}${faults}${deadlines}${cancels}`;
  return createHash('md5').update(text).digest('base64');
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
  const { world, state } = node;
  const moves: Node[] = [];
  const to = (move: string, change: Partial<Node>): void => {
    const moved = { ...node, ...change, path: { move, before: node.path } };
    const problem = worlds.violationOf(moved.world);
    if (problem !== undefined) throw new Error(`${problem}:\n${trace(moved.path)}`);
    moves.push(moved);
  };
  const feed = (move: string, body: Body, change: Partial<Node>): void => {
    const stepped = twoPhaseCommit.step(facts, state, { ...body, mark: NOW } as MachineEvent);
    const commanded = decisionOf(node, stepped.effects, move);
    const sent = worlds.send(change.world ?? world, stepped.effects);
    to(move, { ...change, state: stepped.state, world: sent, commanded });
  };
  world.commands.forEach((command, index) => {
    const name = `${worlds.STEP_NAMES[command.step]} ${command.phase} ${command.attempt}`;
    to(`${name} delivered`, { world: worlds.deliver(world, index, 'delivered') });
    if (node.faults === 0) return;
    for (const fate of worlds.FAULTS)
      to(`${name} ${fate}`, { world: worlds.deliver(world, index, fate), faults: node.faults - 1 });
  });
  world.reports.forEach((_, index) => {
    const report = worlds.reportAt(world, index);
    const name = `report ${report.step} ${report.phase} ${report.attempt} ${report.answer}`;
    feed(name, report, { world: worlds.withoutReport(world, index) });
    if (node.faults > 0) feed(`${name}, kept`, report, { faults: node.faults - 1 });
  });
  for (const { dueMs: _, ...timer } of twoPhaseCommit.timers(facts, state)) {
    const isFree = timer.kind === 'backoff';
    if (!isFree && node.deadlines === 0) continue;
    const left = { deadlines: node.deadlines - Number(!isFree) };
    feed(
      `${timer.kind} ${timer.step ?? timer.phase ?? ''} passed`,
      { type: 'deadline_passed', ...timer },
      left,
    );
  }
  if (node.cancels > 0 && state.phase !== 'ended')
    feed('cancelled', { type: 'cancelled', reason: 'x' }, { cancels: 0 });
  return moves;
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

function combinations(size: number): worlds.Inclination[][] {
  const inclinations: worlds.Inclination[] = ['yes', 'no', 'read-only', 'slow'];
  let all: worlds.Inclination[][] = [[]];
  // Participants are alike to the machine but for their place: sorted combinations are enough.
  for (let i = 0; i < size; i += 1)
    all = all.flatMap((head) =>
      inclinations
        .filter((one) => head.length === 0 || one >= head[head.length - 1]!)
        .map((one) => [...head, one]),
    );
  return all;
}

describe('2PC, every interleaving with one fault, one deadline and one cancel', () => {
  for (const size of [1, 2, 3]) {
    it(`${size} participants agree, end and leave no locks`, () => {
      let total = 0;
      const reached = new Set<string>();
      for (const votes of combinations(size)) {
        const startedAt = performance.now();
        const { states, ends } = search(votes);
        console.info(votes.join(), states, Math.round(performance.now() - startedAt));
        total += states;
        ends.forEach((end) => reached.add(end));
      }
      console.info(`2PC, ${size} participants: ${total} states, ends: ${[...reached].sort().join(', ')}`);
      expect(reached).toContain('committed');
      expect(reached).toContain('aborted');
    });
  }
});
