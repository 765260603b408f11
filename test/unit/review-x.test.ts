// @ts-nocheck
import { describe, expect, it } from 'vitest';
import { FoldRig, T0, FRESH, twoSteps } from '../kit/fold-rig.ts';
import { HandClock, CountingRandom, settled } from '../kit/hand-clock.ts';
import { ShardRunner } from '../../src/runtime/shard-runner.ts';
import { ShardActions } from '../../src/runtime/shard-actions.ts';
import { PhaseMonitor } from '../../src/reliability/phase-monitor.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { outcomeEnvelope, decisionNote } from '../../src/runtime/notes.ts';
import { outcomeSchema } from '../../src/protocol/envelopes.ts';
import { startAct, reportAct } from '../../src/protocol/act.ts';
import { Executor } from '../../src/runtime/worker-execute.ts';
import { Batcher } from '../../src/runtime/batcher.ts';

const facts = { pattern: '2pc', shard: 0, shards: 1, duplicateWindowMs: 120_000 };
function world() {
  const clock = new HandClock(T0);
  const subs = [];
  const log = {
    read: async (o) => { const s = { o, pending: log.pending - o.after, close: async () => {} }; subs.push(s); return s; },
    state: async () => ({ created: 'c', nowMs: T0 }),
    get: async (_s, seq) => log.messages[seq - 1],
    append: async () => ({ seq: 1, duplicate: false }),
    pending: 0,
    messages: [],
  };
  const w = { log, clock, random: new CountingRandom(), logger: silentLogger, passing: () => {}, bus: { publish() {} } };
  const sent = { commands: [], inputs: [] };
  const judged = [];
  const deadLetters = [];
  const fails = [];
  const batch = (to) => ({ add: (subject, text) => to.push({ subject, ...JSON.parse(text) }), ready: () => undefined });
  const monitor = new PhaseMonitor({ clock, nowMs: () => T0 + clock.monotonicMs(), fire: (run, timer) => actions.fire(run, timer) });
  const actions = new ShardActions({ world: w, pattern: '2pc', dedupWindowMs: 1000, commands: batch(sent.commands), inputs: batch(sent.inputs), monitor,
    keys: { judge: async (b) => { judged.push(b.tx); return { value: 'admit' }; } }, recent: { add() {} }, deadLetter: (l) => deadLetters.push(l), onHalt() {} }, facts);
  const runner = new ShardRunner({ world: w, stream: 'S', facts, actions, onLost() {}, onVerified() {}, onFailure: (e) => fails.push(e), onTime() {}, ready: () => undefined });
  const msg = (seq, subject, body, headers) => { const m = { seq, timeMs: T0, subject, data: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), headers }; log.messages[seq - 1] = m; return m; };
  return { clock, log, subs, sent, judged, deadLetters, fails, monitor, actions, runner, msg };
}
const begin = (more = {}) => ({ v: 1, tx: FRESH, id: 'fresh', shards: 1, plan: twoSteps, ...more });
const H = new Map([['Nats-Msg-Id', 'x']]);

describe('review', () => {
  it('1 signal named constructor does not throw in the fold', () => {
    const rig = new FoldRig();
    rig.begin({ allow: { signal: { ok: ['client'] } } });
    rig.feed('client.signal', { ...rig.named(), name: 'constructor' });
  });
  it('2 deeply nested garbage becomes a dead letter', async () => {
    const w = world(); w.log.pending = 1;
    await w.runner.start('c');
    const n = 100_000;
    w.subs[0].o.onMessage(w.msg(1, '2pc.client.begin.0', '[' + '['.repeat(n) + ']'.repeat(n) + ']'));
    expect(w.fails.map((e) => [e.code, String(e.cause)])).toEqual([]);
  });
  it('3 a replay that is interrupted still sends what was implied before', async () => {
    const w = world(); w.log.pending = 4;
    await w.runner.start('c');
    await settled();
    w.subs[0].o.onMessage(w.msg(1, '2pc.client.begin.0', [begin()], H));
    w.subs[0].o.onMessage(w.msg(2, '2pc.client.begin.0', [begin({ tx: 'order-1', id: 'own' })]));
    w.subs[0].o.onLost('gap');
    await settled(); await settled();
    expect(w.subs.length).toBe(2);
    w.subs[1].o.onMessage(w.msg(3, '2pc.client.begin.0', [begin({ tx: 'order-2', id: 'own' })]));
    w.subs[1].o.onMessage(w.msg(4, '2pc.client.begin.0', [begin({ tx: 'order-3', id: 'own' })]));
    await settled();
    expect(w.actions.live).toBe(true);
    expect({ judged: w.judged, commands: w.sent.commands.map((c) => c.tx) }).toEqual({ judged: ['order-1', 'order-2', 'order-3'], commands: [FRESH, FRESH] });
  });
  it('4 a contradiction found in replay is answered by a conflict note', async () => {
    const w = world(); w.log.pending = 2;
    await w.runner.start('c'); await settled();
    w.subs[0].o.onMessage(w.msg(1, '2pc.client.begin.0', [begin()], H));
    w.subs[0].o.onMessage(w.msg(2, '2pc.coordinator.decided.0', [{ v: 1, tx: FRESH, run: `1.0.${T0}`, kind: 'decision', at: '1.0', value: 'commit', digest: '0123456789abcdef' }]));
    await settled();
    expect(w.actions.live).toBe(true);
    expect(w.sent.inputs.map((i) => i.kind)).toContain('conflict');
  });
  it('5 timers go on after a thaw', async () => {
    const w = world(); w.log.pending = 0;
    await w.runner.start('c'); await settled();
    const named = { v: 1, tx: FRESH, run: `1.0.${T0}` };
    const on = (m) => w.subs[0].o.onMessage(m);
    on(w.msg(1, '2pc.client.begin.0', [begin()], H));
    on(w.msg(2, '2pc.coordinator.decided.0', [{ ...named, kind: 'conflict', at: '1.0', value: 'none', digest: '0123456789abcdef' }]));
    w.clock.advance(40_000);
    on(w.msg(3, '2pc.operator.retry.0', [{ ...named, by: 'me', reason: 'go on', raised: '2.0', step: 'debit', phase: 'prepare' }]));
    w.clock.advance(120_000);
    expect(w.sent.inputs.map((i) => i.kind)).toContain('phase');
  });
  it('6a isolate of an isolated command counts', () => {
    const policy = { maxAttempts: 3, initialMs: 100, factor: 2, maxMs: 1000, attemptMs: 1000 };
    let act = startAct({ phase: 'execute', mark: { at: '1.0', time: 1 }, policy });
    let n = 0;
    for (; n < 1000; n += 1) {
      const r = reportAct(act, { step: 's', phase: 'execute', attempt: act.attempt, answer: 'retry', code: 'isolate' }, { mark: { at: `${n + 2}.0`, time: 1 }, policy, seed: 'x' });
      if (r.type !== 'commanded') break;
      act = r.act;
    }
    expect(n).toBeLessThan(10);
  });
  it('6b isolated commands are published alone', async () => {
    const w = world(); w.log.pending = 0;
    const bodies = [];
    const real = new Batcher({ log: { append: async (_s, data) => { bodies.push(JSON.parse(Buffer.from(data).toString())); return { seq: 1 }; } }, clock: w.clock, random: new CountingRandom(), logger: silentLogger, identified: true });
    w.actions.command; // shared batcher swapped in
    const a2 = new ShardActions({ world: { passing() {}, logger: silentLogger, clock: w.clock }, pattern: '2pc', commands: real, inputs: real, monitor: w.monitor }, facts);
    a2.live = true;
    const run = { facts: { tx: FRESH, run: '1.0.1' }, begin: begin() };
    const cmd = { type: 'command', step: 's', participant: 'debit', phase: 'prepare', attempt: 2, action: 'move', cause: { at: '1.0', time: 1 }, since: 1, alone: true };
    a2.command(run, cmd); a2.command(run, { ...cmd, step: 't' });
    await settled();
    expect(bodies.map((b) => b.length)).toEqual([1, 1]);
  });
  it('7 an outcome about a long dangling pointer follows its schema', () => {
    const rig = new FoldRig('saga');
    const plan = { name: 'p', steps: [{ participant: 'a', action: 'x' }, { participant: 'b', action: 'x', input: { k: { $from: 'a/' + 'y'.repeat(1500) } } }] };
    rig.begin({ plan });
    rig.report('a', 'execute', { output: { z: 1 } });
    rig.report('a', 'compensate');
    const run = rig.runs[0];
    expect(run.phase).toBe('ended');
    const e = JSON.parse(JSON.stringify(outcomeEnvelope(run, run.outcomeBody)));
    expect(outcomeSchema.safeParse(e).error?.issues ?? []).toEqual([]);
  });
  it('8 an early deadline is not fired in a loop while the run clock stands still', () => {
    const clock = new HandClock(T0);
    const rig = new FoldRig();
    rig.begin();
    const run = rig.runs[0];
    let fired = 0;
    const monitor = new PhaseMonitor({ clock, nowMs: () => T0 + 3_600_000 + clock.monotonicMs(), fire: (r, timer) => {
      fired += 1;
      const { dueMs, ...named } = timer;
      // the server's clock was set back: the run's clock stands 1 ms before the due time
      queue.push(() => monitor.read(r, named, { at: '9.0', time: timer.dueMs - 1 }));
    } });
    const queue = [];
    monitor.look(run);
    for (let i = 0; i < 1000; i += 1) { clock.advance(2); for (const q of queue.splice(0)) q(); }
    expect(fired).toBeLessThan(20); // 2 s
  });
  it('9 an expired copy of a command does not vouch for the other copy', () => {
    const clock = new HandClock(T0);
    const ex = new Executor({ actions: { move: { prepare: () => undefined } }, barrier: { name: 'b', guard: () => { throw new Error('asked'); } }, barrierKeepMs: 1e9, handlerTimeoutMs: undefined, clock, server: { nowMs: () => T0 + 50 }, logger: silentLogger, passing() {} });
    let reply;
    ex.execute({ pattern: '2pc', redelivered: false, command: { v: 1, tx: FRESH, run: '1.0.1', step: 's', phase: 'prepare', attempt: 1, action: 'move', shard: 0, since: 1, due: T0, cause: { at: '1.0', time: 1 } } }, (r) => (reply = r));
    expect(reply).toMatchObject({ mayHaveRun: true });
  });
});
