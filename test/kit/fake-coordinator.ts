import { subjects } from '../../src/kernel/subjects.ts';
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import type { BusSubscription } from '../../src/ports/bus.ts';
import type { LogMessage } from '../../src/ports/log.ts';
import type { World } from '../../src/ports/world.ts';
import { decodeBody } from '../../src/protocol/codec.ts';
import type { BeginEnvelope, CancelEnvelope, OutcomeEnvelope } from '../../src/protocol/envelopes.ts';
import {
  encodeQueryReply,
  queryRequestSchema,
  type FoundRun,
  type QueryRequest,
} from '../../src/protocol/query.ts';
import { streamOf } from '../../src/kernel/subjects.ts';
import { eventually } from './eventually.ts';

export interface SeenInput<E = BeginEnvelope> {
  readonly message: LogMessage;
  readonly at: string;
  readonly run: string;
  readonly envelope: E;
}

/** Reads a pattern's inputs and answers nothing by itself: the test says what is told and what a query finds. */
export class FakeCoordinator {
  readonly begins: SeenInput[] = [];
  readonly others: SeenInput<unknown>[] = [];
  readonly questions: QueryRequest[] = [];
  readonly known = new Map<string, FoundRun>();
  onBegin: ((begin: SeenInput) => void) | undefined;
  readonly #subscriptions: BusSubscription[] = [];

  constructor(
    readonly world: World,
    readonly pattern: Pattern,
  ) {}

  async start(): Promise<this> {
    const { log, bus } = this.world;
    const { shards } = await log.state(streamOf(this.pattern));
    await this.#read(0);
    for (let shard = 0; shard < shards; shard += 1) {
      this.#subscriptions.push(
        bus.subscribe(subjects.query(this.pattern, shard), ({ data, respond }) => {
          const request = queryRequestSchema.parse(JSON.parse(new TextDecoder().decode(data)));
          this.questions.push(request);
          const found = request.txs.flatMap((tx) => this.known.get(tx) ?? []);
          respond?.(new TextEncoder().encode(encodeQueryReply(found)));
        }),
      );
    }
    return this;
  }

  /** From now on nobody answers questions. */
  fallSilent(): void {
    for (const subscription of this.#subscriptions.splice(0)) subscription.unsubscribe();
  }

  begun(tx: string): Promise<SeenInput> {
    return eventually(() => this.begins.find(({ envelope }) => envelope.tx === tx), {
      what: `the begin of ${tx}`,
    });
  }

  cancels(): SeenInput<CancelEnvelope>[] {
    return this.others as SeenInput<CancelEnvelope>[];
  }

  outcome(begin: SeenInput, fields: Partial<OutcomeEnvelope> = {}): OutcomeEnvelope {
    const { tx } = begin.envelope;
    const fixed = { v: 1, tx, run: begin.run, pattern: this.pattern, scope: 'all' } as const;
    return { ...fixed, status: 'committed', at: begin.at, time: begin.message.timeMs, ...fields };
  }

  tell(outcome: OutcomeEnvelope): void {
    const subject = subjects.response(outcome.tx, 'coordinator', 'outcome');
    this.world.bus.publish(subject, new TextEncoder().encode(JSON.stringify([outcome])));
  }

  found(begin: SeenInput, fields: Partial<FoundRun> = {}): FoundRun {
    const { tx } = begin.envelope;
    const views = { phase: 'voting', waitsFor: 'votes', steps: [], attention: [] };
    return { tx, pattern: this.pattern, run: begin.run, open: true, ...views, ...fields };
  }

  async #read(after: number): Promise<void> {
    await this.world.log.read({
      stream: streamOf(this.pattern),
      filters: [subjects.allInputs(this.pattern)],
      after,
      onMessage: (message) => {
        after = message.seq;
        this.#take(message);
      },
      onLost: () => void this.#again(after),
    });
  }

  async #again(after: number): Promise<void> {
    try {
      await this.#read(after);
    } catch {
      this.world.clock.after(100, () => void this.#again(after));
    }
  }

  #take(message: LogMessage): void {
    const body = decodeBody(message.data);
    if (!body.ok) throw new Error(body.problem);
    body.envelopes.forEach((envelope, index) => {
      const at = `${message.seq}.${index}`;
      const seen = { message, at, run: `${at}.${message.timeMs}`, envelope: envelope as BeginEnvelope };
      if (message.subject.includes('.begin.')) {
        this.begins.push(seen);
        this.onBegin?.(seen);
      } else this.others.push(seen);
    });
  }
}
