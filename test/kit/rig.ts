/** A real nats-server with streams, and the parts of Phasor on it, each on a connection of its own. */
import { ensureStreams, type StreamOptions } from '../../src/nats/streams.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { natsWorld, type NatsWorld } from '../../src/nats/world.ts';
import type { LogMessage } from '../../src/ports/log.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { streamOf, subjects, type Subject } from '../../src/kernel/subjects.ts';
import type { Pattern } from '../../src/kernel/vocabulary.ts';
import { createClient, type Client } from '../../src/runtime/client/index.ts';
import {
  startCoordinator,
  type Coordinator,
  type CoordinatorOptions,
} from '../../src/runtime/coordinator.ts';
import { startWorker, type Worker, type WorkerOptions } from '../../src/runtime/worker.ts';
import { testNats } from './nats.ts';

export class Rig {
  readonly nats: NatsServerHandle;
  readonly #closing: (() => Promise<unknown>)[] = [];

  private constructor(nats: NatsServerHandle) {
    this.nats = nats;
  }

  static async start(streams: StreamOptions = {}): Promise<Rig> {
    const rig = new Rig(await testNats());
    const { connection, close } = await natsWorld({ url: rig.nats.url, logger: silentLogger });
    await ensureStreams(connection.nc, streams);
    await close();
    return rig;
  }

  async world(): Promise<NatsWorld> {
    const made = await natsWorld({ url: this.nats.url, logger: silentLogger });
    this.#closing.push(() => made.close());
    return made;
  }

  async coordinator(options: CoordinatorOptions = {}): Promise<Coordinator> {
    const { world } = await this.world();
    const coordinator = await startCoordinator(world, options);
    this.#closing.push(() => coordinator.close());
    await coordinator.ready;
    return coordinator;
  }

  async worker(
    options: Pick<WorkerOptions, 'participant' | 'actions'> & Partial<WorkerOptions>,
  ): Promise<Worker> {
    const { world } = await this.world();
    const worker = await startWorker(world, { barrier: 'none', ...options });
    this.#closing.push(() => worker.drain({ timeoutMs: 500 }));
    return worker;
  }

  async client(sender = 'client'): Promise<Client> {
    const { world } = await this.world();
    const client = await createClient(world, { sender });
    this.#closing.push(() => client.close());
    return client;
  }

  /** Every message of a pattern's stream so far, or of the subjects named. */
  async messages(pattern: Pattern, ...filters: readonly Subject[]): Promise<readonly LogMessage[]> {
    const { world, close } = await natsWorld({ url: this.nats.url, logger: silentLogger });
    const found: LogMessage[] = [];
    let check: () => void = () => undefined;
    const subscription = await world.log.read({
      stream: streamOf(pattern),
      filters: filters.length > 0 ? filters : [subjects.allInputs(pattern), subjects.allCommands(pattern)],
      after: 0,
      onMessage: (message) => {
        found.push(message);
        check();
      },
      onLost: () => undefined,
    });
    if (found.length < subscription.pending) {
      await new Promise<void>((resolve) => {
        check = () => {
          if (found.length >= subscription.pending) resolve();
        };
      });
    }
    await close();
    return found;
  }

  /** Envelopes of a pattern's stream so far, with the subject and time of their messages. */
  async envelopes(
    pattern: Pattern,
    filter: Subject,
  ): Promise<readonly (Record<string, unknown> & { subject: string })[]> {
    const messages = await this.messages(pattern, filter);
    return messages.flatMap((message) => {
      const body = JSON.parse(Buffer.from(message.data).toString('utf8')) as Record<string, unknown>[];
      return body.map((envelope) => ({ ...envelope, subject: message.subject }));
    });
  }

  /** Closes what was opened since the last call, newest first; the server stays. */
  async reset(): Promise<void> {
    for (const close of this.#closing.splice(0).reverse()) await close().catch(() => undefined);
  }

  async stop(): Promise<void> {
    await this.reset();
    await this.nats.stop();
  }
}
