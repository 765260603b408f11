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
  readonly plan: { readonly steps: readonly { readonly input: unknown }[] };
}

interface Pending {
  readonly inputs: readonly unknown[];
  answers: number;
}

const TIME = 1_700_000_000_000;
const RUN = `1000.0.${TIME}`;
const CAUSE = `{"at":"1000.0","time":${TIME}}`;
const DIGEST = '0123456789abcdef';

/** Counts reports and sends what comes next. */
class FloorCoordinator {
  readonly #publisher: RawPublisher;
  readonly #pending = new Map<string, Pending>();

  constructor(
    private readonly nc: NatsConnection,
    private readonly pattern: BenchPattern,
    private readonly shards: number,
  ) {
    this.#publisher = new RawPublisher(nc);
  }

  onMessage(message: Msg): void {
    const kind = message.subject.split('.')[2];
    if (kind === 'decided') return;
    for (const envelope of message.json<readonly Envelope[]>()) {
      if (kind === 'begin') this.#begin(envelope);
      else this.#report(envelope.tx);
    }
  }

  #begin({ tx, plan }: Envelope): void {
    const inputs = plan.steps.map((step) => step.input);
    this.#pending.set(tx, { inputs, answers: 0 });
    const first = this.pattern === '2pc' ? PARTICIPANTS.length : 1;
    for (let index = 0; index < first; index += 1) {
      this.#command(tx, index, { phase: PHASES[this.pattern].open[0], input: inputs[index] });
    }
  }

  #report(tx: string): void {
    const run = this.#pending.get(tx);
    if (run === undefined) return;
    run.answers += 1;
    const all = PARTICIPANTS.length;
    if (this.pattern === 'saga') {
      if (run.answers < all)
        this.#command(tx, run.answers, { phase: 'execute', input: run.inputs[run.answers] });
      else {
        this.#note(tx, 'decision', 'commit');
        this.#end(tx, 'completed');
      }
    } else if (run.answers === all) {
      this.#note(tx, 'decision', 'commit');
      for (let index = 0; index < all; index += 1) this.#command(tx, index, { phase: 'commit' });
    } else if (run.answers === 2 * all) this.#end(tx, 'committed');
  }

  #command(tx: string, index: number, { phase, input }: { phase: string; input?: unknown }): void {
    const participant = PARTICIPANTS[index] ?? '';
    const rest = input === undefined ? '' : `,"input":${JSON.stringify(input)}`;
    this.#publisher.add(
      `${this.pattern}.${participant}.${phase}`,
      `{"v":1,"tx":"${tx}","run":"${RUN}","step":"${participant}","phase":"${phase}","attempt":1,"shard":${shardOf(tx, this.shards)},"action":"work","cause":${CAUSE},"since":${TIME},"due":${TIME}${rest}}`,
    );
  }

  #note(tx: string, kind: string, value: string): void {
    this.#publisher.add(
      `${this.pattern}.coordinator.decided.${shardOf(tx, this.shards)}`,
      `{"v":1,"tx":"${tx}","run":"${RUN}","kind":"${kind}","at":"1000.0","value":"${value}","digest":"${DIGEST}"}`,
    );
  }

  #end(tx: string, status: string): void {
    this.nc.publish(
      `response.${tx}.coordinator.outcome`,
      `[{"v":1,"tx":"${tx}","run":"${RUN}","pattern":"${this.pattern}","status":"${status}","scope":"all","at":"1000.0","time":${TIME}}]`,
    );
    this.#note(tx, 'outcome', status);
    this.#pending.delete(tx);
  }
}

export async function floorCoordinator(
  nc: NatsConnection,
  pattern: BenchPattern,
  shards: number,
): Promise<void> {
  const coordinator = new FloorCoordinator(nc, pattern, shards);
  for (let shard = 0; shard < shards; shard += 1) {
    const filters = [`${pattern}.*.*.${shard}`];
    await consume(nc, { stream: STREAMS[pattern], filters }, (message) => coordinator.onMessage(message));
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
            publisher.add(
              `${pattern}.${participant}.report.${shard}`,
              `{"v":1,"tx":"${tx}","run":"${run}","step":"${step}","phase":"${phase}","attempt":1,"cause":${CAUSE},"answer":"done"}`,
            );
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
      return new Promise<string>((resolve) => {
        waiting.set(tx, resolve);
        const head = `{"v":1,"tx":"${tx}","id":"fresh","shards":${shards},"plan":`;
        publisher.add(
          `${load.pattern}.client.begin.${shardOf(tx, shards)}`,
          `${head}${JSON.stringify(load.plan)}}`,
        );
      });
    });
}
