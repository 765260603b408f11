// @ts-nocheck
import { describe, expect, it } from 'vitest';
import { FoldRig, T0, FRESH, twoSteps } from '../kit/fold-rig.ts';
import { HandClock } from '../kit/hand-clock.ts';
import { PendingRun } from '../../src/runtime/client/pending-run.ts';
import { ServerClock } from '../../src/runtime/server-clock.ts';
import { Consumer } from '../../src/runtime/worker-consumer.ts';
import { Executor } from '../../src/runtime/worker-execute.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';

describe('review', () => {
  it('a: a frozen run does not end and leave before an operator acts', () => {
    const rig = new FoldRig();
    rig.begin();
    rig.report('debit', 'prepare'); rig.report('credit', 'prepare');
    rig.feed('coordinator.decided', { ...rig.named(), kind: 'conflict', at: '3.0', value: 'abort', digest: '0123456789abcdef' });
    rig.report('debit', 'commit');
    const lines = rig.report('credit', 'commit');
    const run = rig.runs[0];
    const note = { ...rig.named(), kind: 'outcome', at: run.outcome?.at ?? '1.0', value: 'committed', digest: run.outcome?.digest ?? '0123456789abcdef' };
    const after = rig.feed('coordinator.decided', note);
    expect([...lines, ...after]).toEqual(['accepted report']);
  });
  it('b: the first of two own begins learns that it repeats the second', () => {
    const host = { serverNowMs: () => T0, wallMs: () => T0, ended() {}, lapsed() {}, doubtful() {} };
    const p = new PendingRun(host, { pattern: '2pc', tx: 'order', shard: 0, checked: { own: true, digest: () => 'd' } });
    p.stored('5.0');
    const outcome = { v: 1, tx: 'order', run: `6.0.${T0}`, pattern: '2pc', status: 'committed', scope: 'all', at: '9.0', time: T0, duplicate: true };
    p.received({ subject: 'response.order.coordinator.outcome', data: Buffer.from(JSON.stringify([outcome])) });
    p.found([{ tx: 'order', pattern: '2pc', run: `6.0.${T0}`, open: false, digest: 'd', outcome }]);
    expect(p.outcome?.status).toBe('committed');
  });
  it('c: after the server clock stepped back a fresh command is not expired', () => {
    const clock = new HandClock(T0);
    const server = new ServerClock(clock);
    server.observe(T0 + 60_000);
    server.observe(T0); // new leader, a minute behind
    const ex = new Executor({ actions: { move: { prepare: () => undefined } }, barrier: undefined, barrierKeepMs: 1e9, clock, server, logger: silentLogger, passing() {} });
    let reply;
    ex.execute({ pattern: '2pc', redelivered: false, command: { v: 1, tx: FRESH, run: '1.0.1', step: 's', phase: 'prepare', attempt: 1, action: 'move', shard: 0, since: T0, due: T0 + 30_000, cause: { at: '1.0', time: T0 } } }, (r) => (reply = r));
    expect(reply).toEqual({ answer: 'done' });
  });
});
