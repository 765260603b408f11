// Goal: whoever waits for an own id learns the outcome of the run that owns it, and of no other. Method: one pending run,
// told and answered by hand.
import { describe, expect, it } from 'vitest';
import type { OutcomeEnvelope } from '../../src/protocol/envelopes.ts';
import type { FoundRun } from '../../src/protocol/query.ts';
import type { CheckedBegin } from '../../src/runtime/client/begin-request.ts';
import { PendingRun } from '../../src/runtime/client/pending-run.ts';

const T0 = 1_700_000_000_000;
const WINDOW_MS = 86_400_000;
const OURS = 'a'.repeat(64);
const OTHER = 'b'.repeat(64);

const outcomeOf = (run: string): OutcomeEnvelope => ({
  ...{ v: 1, tx: 'order', run, pattern: '2pc', at: '9.0', time: T0 },
  status: 'committed',
  scope: 'all',
});
const found = (run: string, digest: string): FoundRun => ({
  ...{ tx: 'order', pattern: '2pc', run, open: false, phase: 'ended', waitsFor: 'nothing' },
  steps: [],
  attention: [],
  outcome: outcomeOf(run),
  digest,
  until: T0 + WINDOW_MS,
});

function pending() {
  let doubts = 0;
  const host = {
    serverNowMs: () => T0,
    wallMs: () => T0,
    ended: () => undefined,
    lapsed: () => undefined,
    doubtful: () => void (doubts += 1),
  };
  const checked = { own: true, digest: () => OURS } as unknown as CheckedBegin;
  const run = new PendingRun(host, { pattern: '2pc', tx: 'order', shard: 0, checked });
  const tell = (named: string): void => {
    const outcome = { ...outcomeOf(named), duplicate: true };
    run.received({
      subject: 'response.order.coordinator.outcome',
      data: Buffer.from(JSON.stringify([outcome])),
    });
  };
  return { run, tell, doubts: () => doubts };
}
const EARLIER = `4.0.${T0}`;
const LATER = `6.0.${T0}`;

describe('a begin with an own id at 5.0', () => {
  it.each([EARLIER, LATER])('that repeats %s, as it was told, gets its outcome', (owner) => {
    const { run, tell, doubts } = pending();
    run.stored('5.0');
    tell(owner);
    expect([run.outcome, doubts()]).toEqual([undefined, 1]);
    run.found([found(owner, OURS)]);
    expect(run.outcome).toEqual({ ...outcomeOf(owner), duplicate: true });
  });

  it('also gets it when it was told before its own acknowledgement', () => {
    const { run, tell } = pending();
    tell(LATER);
    run.stored('5.0');
    run.found([found(LATER, OURS)]);
    expect(run.outcome?.run).toBe(LATER);
  });

  it.each([
    ['its outcome', OURS, 'committed'],
    ['that its plan differs', OTHER, 'mismatch'],
  ])('learns %s from a run that was judged before it, also when nobody tells it', (_, digest, status) => {
    const { run } = pending();
    run.stored('5.0');
    run.found([found(LATER, digest)]);
    expect(run.outcome).toMatchObject({ run: LATER, status });
  });

  it('takes no outcome of a run that may have begun a window after its own end, unless told of that', () => {
    const { run, tell } = pending();
    run.stored('5.0');
    const [next, other] = [`7.0.${T0 + WINDOW_MS}`, `8.0.${T0 + WINDOW_MS}`];
    run.found([found(next, OURS)]);
    tell(next);
    run.found([found(next, OTHER)]);
    run.found([found(other, OURS)]);
    expect(run.outcome).toBeUndefined();
    run.found([found(next, OURS)]);
    expect(run.outcome?.run).toBe(next);
  });
});
