// Goal: deadlines are appended when due by the stream's time, once each, and never in a loop (Rule 2).
// Method: a hand-driven clock, runs with machines that only hold timers.
import { beforeEach, describe, expect, it } from 'vitest';
import { mixDigest, EMPTY_DIGEST } from '../../src/kernel/hash.ts';
import type { DeadlineEnvelope } from '../../src/protocol/envelopes.ts';
import { stay, type Machine, type Timer } from '../../src/protocol/machine.ts';
import { newRun, type RunRecord } from '../../src/protocol/run.ts';
import { PhaseMonitor } from '../../src/reliability/phase-monitor.ts';
import { compiled } from '../kit/compiled.ts';
import { HandClock } from '../kit/hand-clock.ts';

const START = 1_000_000;
let clock: HandClock;
let skewMs: number;
let fired: string[];
let monitor: PhaseMonitor;

const holder: Machine<unknown> = {
  pattern: '2pc',
  version: 1,
  start: () => stay<unknown>([]),
  step: (_facts, state) => stay(state),
  outstanding: () => [],
  timers: (_facts, state) => state as readonly Timer[],
  view: () => ({ phase: 'holding', waitsFor: 'nothing', steps: [], attention: [] }),
};

let seq = 0;
function runWith(...timers: readonly Timer[]): RunRecord {
  seq += 1;
  const run = newRun({
    facts: { pattern: '2pc', tx: `tx-${seq}`, run: `${seq}.0.${START}`, plan: compiled('2pc', ['a', 'b']) },
    machine: holder,
    begin: {
      v: 1,
      tx: `tx-${seq}`,
      id: 'own',
      shards: 1,
      plan: { name: 'p', steps: [{ participant: 'a', action: 'x' }] },
    },
    begun: { at: `${seq}.0`, time: START },
    sender: 'client',
    input: { seq, index: 0, sha: mixDigest(EMPTY_DIGEST, { seq, index: 0, sha: EMPTY_DIGEST }) },
  });
  run.phase = 'active';
  run.state = timers;
  return run;
}

const phaseTimer = (dueMs: number): Timer => ({ kind: 'phase', phase: 'prepare', armed: '1.0', dueMs });
const backoffTimer = (dueMs: number): Timer => ({
  kind: 'backoff',
  step: 'a',
  phase: 'commit',
  attempt: 1,
  armed: '2.0',
  dueMs,
});
const inputOf = (run: RunRecord, { dueMs: _, ...timer }: Timer): DeadlineEnvelope => ({
  v: 1,
  tx: run.facts.tx,
  run: run.facts.run,
  ...timer,
});

beforeEach(() => {
  clock = new HandClock();
  skewMs = 0;
  fired = [];
  monitor = new PhaseMonitor({
    clock,
    nowMs: () => START + clock.monotonicMs() + skewMs,
    fire: (run, timer) => fired.push(`${run.facts.tx} ${timer.kind} ${timer.dueMs - START}`),
  });
});

describe('phase monitor', () => {
  it('fires when the stream time is reached, not before', () => {
    const run = runWith(phaseTimer(START + 1_000));
    monitor.look(run);
    clock.advance(990);
    expect(fired).toEqual([]);
    clock.advance(40);
    expect(fired).toEqual([`${run.facts.tx} phase 1000`]);
  });

  it('lets a timer pass later where a strategy says so, and looks at the run again then', () => {
    let extraMs = 500;
    monitor = new PhaseMonitor({
      clock,
      nowMs: () => START + clock.monotonicMs() + skewMs,
      extraMs: (_run, timer) => (timer.kind === 'phase' ? extraMs : 0),
      fire: (run, timer) => fired.push(`${run.facts.tx} ${timer.kind} ${timer.dueMs - START}`),
    });
    const run = runWith(phaseTimer(START + 1_000));
    monitor.look(run);
    clock.advance(1_400);
    expect(fired).toEqual([]);
    extraMs = 2_000;
    clock.advance(1_500);
    expect(fired).toEqual([]);
    clock.advance(140);
    expect(fired).toEqual([`${run.facts.tx} phase 1000`]);
  });

  it('fires what was already due when it is armed', () => {
    const run = runWith(phaseTimer(START - 60_000));
    monitor.look(run);
    clock.advance(40);
    expect(fired).toHaveLength(1);
  });

  it('moves a run forward when an earlier timer is armed, and still fires the later one', () => {
    const run = runWith(phaseTimer(START + 5_000));
    monitor.look(run);
    run.state = [phaseTimer(START + 5_000), backoffTimer(START + 200)];
    monitor.arm(run, START + 200);
    clock.advance(300);
    expect(fired).toEqual([`${run.facts.tx} backoff 200`]);
    run.state = [phaseTimer(START + 5_000)];
    monitor.read(run, inputOf(run, backoffTimer(START + 200)), { at: '9.0', time: START + 201 });
    clock.advance(5_000);
    expect(fired).toEqual([`${run.facts.tx} backoff 200`, `${run.facts.tx} phase 5000`]);
  });

  it('does not fire for a run that was forgotten or whose timer is gone', () => {
    const ended = runWith(phaseTimer(START + 100));
    const disarmed = runWith(phaseTimer(START + 100));
    monitor.look(ended);
    monitor.look(disarmed);
    monitor.forget(ended);
    disarmed.state = [];
    clock.advance(1_000);
    expect(fired).toEqual([]);
    expect(clock.timers, 'an idle monitor holds no timer').toBe(0);
  });

  it('fires a timer once while its input is on its way', () => {
    const run = runWith(phaseTimer(START + 100));
    monitor.look(run);
    clock.advance(200);
    monitor.look(run);
    clock.advance(60_000);
    expect(fired).toHaveLength(1);
  });

  it('fires an early one again only when it is due on the monotonic clock, without a loop', () => {
    skewMs = 10_000;
    const run = runWith(phaseTimer(START + 10_000));
    monitor.look(run);
    clock.advance(32);
    expect(fired).toHaveLength(1);
    monitor.read(run, inputOf(run, phaseTimer(START + 10_000)), { at: '5.0', time: START + 4_000 });
    clock.advance(5_900);
    expect(fired).toHaveLength(1);
    clock.advance(200);
    expect(fired).toHaveLength(2);
  });

  it('backs off while an early one stays early because the run clock stands still', () => {
    skewMs = 60_000;
    const timer = phaseTimer(START + 1_000);
    const run = runWith(timer);
    const read = () => monitor.read(run, inputOf(run, timer), { at: '5.0', time: START + 999 });
    const firedAt: number[] = [];
    monitor.look(run);
    for (let ms = 0; ms < 30_000; ms += 10) {
      clock.advance(10);
      if (fired.splice(0).length === 0) continue;
      firedAt.push(clock.monotonicMs());
      read();
      // The same deadline of another coordinator, and another look at the run, change nothing.
      read();
      monitor.look(run);
    }
    const waits = firedAt.slice(1).map((at, index) => Math.round((at - (firedAt[index] ?? 0)) / 250) * 250);
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000]);
  });

  it('fires anew what was frozen while its input was on its way', () => {
    const timer = phaseTimer(START + 100);
    const run = runWith(timer);
    monitor.look(run);
    clock.advance(200);
    run.frozen = '7.0';
    monitor.read(run, inputOf(run, timer), { at: '8.0', time: START + 99 });
    clock.advance(10_000);
    expect(fired).toHaveLength(1);
    run.frozen = undefined;
    monitor.look(run);
    clock.advance(40);
    expect(fired).toHaveLength(2);
  });

  it('catches up after the process was suspended for long', () => {
    const runs = [1_000, 90_000_000].map((ms) => runWith(phaseTimer(START + ms)));
    for (const run of runs) monitor.look(run);
    skewMs = 100_000_000;
    clock.advance(32);
    expect(fired).toHaveLength(2);
  });
});
