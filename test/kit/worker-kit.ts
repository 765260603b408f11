/** A real nats-server with streams, and the coordinator's side of the wire by hand: commands in, reports out. */
import { ensureStreams } from '../../src/nats/streams.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { natsWorld, type NatsWorld } from '../../src/nats/world.ts';
import { DEAD_LETTER_STREAM, streamOf, subjects } from '../../src/kernel/subjects.ts';
import { isUndoPhase, type Pattern, type Phase } from '../../src/kernel/vocabulary.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import type { Passing } from '../../src/ports/crash-points.ts';
import type { CommandEnvelope, ReportEnvelope } from '../../src/protocol/envelopes.ts';
import { startWorker, type Worker, type WorkerOptions } from '../../src/runtime/worker.ts';
import { eventually } from './eventually.ts';
import { testNats } from './nats.ts';

export const SHARD = 1;
let participants = 0;

export interface DeadLetterBody {
  readonly position: string;
  readonly subject: string;
  readonly problem: string;
  readonly data: string;
}

/** One for a test file: a server, its streams, and what was opened on it. */
export class WorkerWorld {
  readonly #open: NatsWorld[] = [];

  private constructor(
    readonly nats: NatsServerHandle,
    readonly main: NatsWorld,
  ) {}

  static async start(): Promise<WorkerWorld> {
    const nats = await testNats();
    const main = await natsWorld({ url: nats.url, logger: silentLogger });
    await ensureStreams(main.connection.nc, { shards: 4 });
    return new WorkerWorld(nats, main);
  }

  /** A participant of its own for each test. */
  async participant(pattern: Pattern): Promise<Commander> {
    participants += 1;
    const commander = new Commander(this, { pattern, participant: `bank-${participants}` });
    await commander.listen();
    return commander;
  }

  /** Another process, as far as the server can tell. */
  async connect(passing?: Passing): Promise<NatsWorld> {
    const world = await natsWorld({
      url: this.nats.url,
      logger: silentLogger,
      ...(passing === undefined ? {} : { passing }),
    });
    this.#open.push(world);
    return world;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#open.map((world) => world.close()));
    await this.main.close();
    await this.nats.stop();
  }
}

export class Commander {
  readonly pattern: Pattern;
  readonly participant: string;
  readonly reports: ReportEnvelope[] = [];
  /** Messages the reports came in. */
  reportMessages = 0;
  readonly dead: DeadLetterBody[] = [];
  readonly #world: WorkerWorld;
  readonly #workers: Worker[] = [];
  readonly #closers: (() => Promise<void>)[] = [];
  #txs = 0;

  constructor(world: WorkerWorld, named: { readonly pattern: Pattern; readonly participant: string }) {
    this.#world = world;
    this.pattern = named.pattern;
    this.participant = named.participant;
  }

  async listen(): Promise<void> {
    const { log } = this.#world.main.world;
    const onLost = (why: string): void => {
      throw new Error(why);
    };
    const reports = await log.read({
      stream: streamOf(this.pattern),
      filters: [subjects.input(this.pattern, this.participant, 'report', SHARD)],
      after: 0,
      onMessage: ({ data, headers }) => {
        if (headers !== undefined) throw new Error('a report carries headers');
        this.reportMessages += 1;
        this.reports.push(...(JSON.parse(Buffer.from(data).toString()) as ReportEnvelope[]));
      },
      onLost,
    });
    const dead = await log.read({
      stream: DEAD_LETTER_STREAM,
      filters: [subjects.dead(this.pattern, this.participant)],
      after: 0,
      onMessage: ({ data }) =>
        void this.dead.push(JSON.parse(Buffer.from(data).toString()) as DeadLetterBody),
      onLost,
    });
    this.#closers.push(
      () => reports.close(),
      () => dead.close(),
    );
  }

  /** A worker on a connection of its own. */
  async worker(options: Omit<WorkerOptions, 'participant'>, passing?: Passing): Promise<TestWorker> {
    const world = await this.#world.connect(passing);
    const worker = await startWorker(world.world, { participant: this.participant, ...options });
    this.#workers.push(worker);
    return { worker, world };
  }

  command(phase: Phase, fields: Partial<CommandEnvelope> = {}): CommandEnvelope {
    this.#txs += 1;
    return {
      v: 1,
      tx: `tx-${this.#txs}`,
      run: '7.0.1000',
      step: 'pay',
      phase,
      attempt: 1,
      shard: SHARD,
      action: 'charge',
      cause: { at: '9.3', time: 1_000 },
      since: Date.now(),
      ...(isUndoPhase(phase) ? { ran: false } : {}),
      ...fields,
    };
  }

  /** One message with these commands. */
  async send(...commands: readonly CommandEnvelope[]): Promise<void> {
    const [first] = commands;
    if (first === undefined) throw new Error('no commands');
    await this.sendRaw(first.phase, JSON.stringify(commands));
  }

  async sendRaw(phase: Phase, body: string): Promise<void> {
    const subject = subjects.command(this.pattern, this.participant, phase);
    await this.#world.main.world.log.append(subject, Buffer.from(body));
  }

  reportsOf(command: CommandEnvelope): ReportEnvelope[] {
    return this.reports.filter(
      ({ tx, phase, attempt }) => tx === command.tx && phase === command.phase && attempt === command.attempt,
    );
  }

  /** The n-th report of a command's attempt. */
  async report(command: CommandEnvelope, nth = 1): Promise<ReportEnvelope> {
    return eventually(() => this.reportsOf(command)[nth - 1], {
      what: `report ${nth} of ${command.tx} ${command.phase} attempt ${command.attempt}`,
    });
  }

  /** Commands and answers in one breath. */
  async ask(command: CommandEnvelope): Promise<ReportEnvelope> {
    await this.send(command);
    return this.report(command);
  }

  /** Everything delivered was acknowledged. */
  async allAcked(side: 'open' | 'close'): Promise<void> {
    const subject = `$JS.API.CONSUMER.INFO.${streamOf(this.pattern)}.${this.pattern}-${this.participant}-${side}`;
    await eventually(
      async () => {
        const { num_ack_pending, num_pending } = (
          await this.#world.main.connection.nc.request(subject)
        ).json<{ num_ack_pending: number; num_pending: number }>();
        return num_ack_pending === 0 && num_pending === 0;
      },
      { what: `all acks of ${side}` },
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.drain({ timeoutMs: 0 })));
    for (const close of this.#closers) await close();
  }
}

export interface TestWorker {
  readonly worker: Worker;
  readonly world: NatsWorld;
}

/** A promise and its handles. */
export function gate<T = void>(): { readonly opened: Promise<T>; open(value: T): void } {
  let open: (value: T) => void = () => undefined;
  const opened = new Promise<T>((resolve) => (open = resolve));
  return { opened, open: (value) => open(value) };
}
