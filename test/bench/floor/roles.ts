/** The floor's three processes: exactly the messages of the pattern, no schema check, no machine, no recovery. */
import type { Msg, NatsConnection } from '@nats-io/nats-core';
import { shardOf } from '../../../src/kernel/hash.ts';
import { PARTICIPANTS, type BenchPattern, type Load, type Measured } from '../workload.ts';
import { closedLoop } from '../closed-loop.ts';
import { consume, RawPublisher } from './wire.ts';

const STREAMS = { '2pc': 'DTX_2PC_STREAM', saga: 'DTX_SAGA_STREAM' } as const;
const PHASES = {
  '2pc': { open: ['prepare'], close: ['commit', 'abort'] },
  saga: { open: ['execute'], close: ['compensate'] },
} as const;

interface Envelope {
  readonly tx: string;
  readonly run: string;
  readonly step: string;
  readonly phase: string;
  readonly shard: number;
}

interface Pending {
  readonly inputs: readonly unknown[];
  answers: number;
}

const DIGEST = '0123456789abcdef';

/** Counts reports and sends what comes next. */
export async function floorCoordinator(
  nc: NatsConnection,
  pattern: BenchPattern,
  shards: number,
): Promise<void> {
  const publisher = new RawPublisher(nc);
  const pending = new Map<string, Pending>();
  const command = (tx: string, index: number, phase: string, input?: unknown): void => {
    const participant = PARTICIPANTS[index] ?? '';
    const body = {
      ...{
        v: 1,
        tx,
        run: '1.0.1700000000000',
        step: participant,
        phase,
        attempt: 1,
        action: 'work',
        shard: shardOf(tx, shards),
      },
      cause: { at: '1000.0', time: 1_700_000_000_000 },
      since: 1_700_000_000_000,
      due: 1_700_000_030_000,
      ...(input === undefined ? {} : { input }),
    };
    publisher.add(`${pattern}.${participant}.${phase}`, JSON.stringify(body));
  };
  const note = (tx: string, kind: string, value: string): void => {
    const body = { v: 1, tx, run: '1.0.1700000000000', kind, at: '1000.0', value, digest: DIGEST };
    publisher.add(`${pattern}.coordinator.decided.${shardOf(tx, shards)}`, JSON.stringify(body));
  };
  const end = (tx: string, status: string): void => {
    const outcome = {
      v: 1,
      tx,
      run: '1.0.1700000000000',
      pattern,
      status,
      scope: 'all',
      at: '1000.0',
      time: 1_700_000_000_000,
    };
    nc.publish(`response.${tx}.coordinator.outcome`, JSON.stringify([outcome]));
    note(tx, 'outcome', status);
    pending.delete(tx);
  };
  const all = PARTICIPANTS.length;
  const onReport2pc = (tx: string, run: Pending): void => {
    if (run.answers === all) {
      note(tx, 'decision', 'commit');
      for (let index = 0; index < all; index += 1) command(tx, index, 'commit');
    } else if (run.answers === 2 * all) end(tx, 'committed');
  };
  const onReportSaga = (tx: string, run: Pending): void => {
    if (run.answers < all) command(tx, run.answers, 'execute', run.inputs[run.answers]);
    else {
      note(tx, 'decision', 'commit');
      end(tx, 'completed');
    }
  };
  const onReport = pattern === '2pc' ? onReport2pc : onReportSaga;
  const onMessage = (message: Msg): void => {
    const kind = message.subject.split('.')[2];
    if (kind === 'decided') return;
    for (const envelope of message.json<
      readonly (Envelope & { plan: { steps: { input: unknown }[] } })[]
    >()) {
      if (kind === 'begin') {
        const inputs = envelope.plan.steps.map((step) => step.input);
        pending.set(envelope.tx, { inputs, answers: 0 });
        const first = pattern === '2pc' ? all : 1;
        for (let index = 0; index < first; index += 1) {
          command(envelope.tx, index, PHASES[pattern].open[0], inputs[index]);
        }
        continue;
      }
      const run = pending.get(envelope.tx);
      if (run === undefined) continue;
      run.answers += 1;
      onReport(envelope.tx, run);
    }
  };
  for (let shard = 0; shard < shards; shard += 1) {
    await consume(nc, { stream: STREAMS[pattern], filters: [`${pattern}.*.*.${shard}`] }, onMessage);
  }
}

/** Answers every command with `done`, then acknowledges it. */
export async function floorParticipants(nc: NatsConnection, pattern: BenchPattern): Promise<void> {
  const publisher = new RawPublisher(nc);
  for (const participant of PARTICIPANTS) {
    for (const [kind, phases] of Object.entries(PHASES[pattern])) {
      const filters = [...phases].map((phase: string) => `${pattern}.${participant}.${phase}`);
      await consume(
        nc,
        { stream: STREAMS[pattern], filters, durable: `floor-${pattern}-${participant}-${kind}` },
        (message) => {
          for (const { tx, run, step, phase, shard } of message.json<readonly Envelope[]>()) {
            const report = {
              v: 1,
              tx,
              run,
              step,
              phase,
              attempt: 1,
              cause: { at: '1000.0', time: 1_700_000_000_000 },
              answer: 'done',
            };
            publisher.add(`${pattern}.${participant}.report.${shard}`, JSON.stringify(report));
          }
          message.respond('+ACK');
        },
      );
    }
  }
}

/** Begins transactions and waits for their outcomes. */
export function floorClient(nc: NatsConnection, shards: number): (load: Load) => Promise<Measured> {
  const publisher = new RawPublisher(nc);
  const waiting = new Map<string, (status: string) => void>();
  nc.subscribe('response.>', {
    callback: (_, message) => {
      for (const { tx, status } of message.json<readonly { tx: string; status: string }[]>()) {
        const resolve = waiting.get(tx);
        waiting.delete(tx);
        resolve?.(status);
      }
    },
  });
  let count = 0;
  return (load) =>
    closedLoop(load, () => {
      const tx = `${process.pid.toString(36).toUpperCase().padStart(6, '0')}${(count += 1).toString(36).toUpperCase().padStart(20, '0')}`;
      const body = { v: 1, tx, id: 'fresh', shards, plan: load.plan };
      return new Promise<string>((resolve) => {
        waiting.set(tx, resolve);
        publisher.add(`${load.pattern}.client.begin.${shardOf(tx, shards)}`, JSON.stringify(body));
      });
    });
}
