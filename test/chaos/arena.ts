/**
 * Real processes on a real nats-server, and a load of transfers. Nothing here judges: see books.ts.
 */
import path from 'node:path';
import { BANKS, openAccounts, type Bank } from '../../examples/bank/ledger.ts';
import { transfer, transferSaga, type Place, type Transfer } from '../../examples/bank/plans.ts';
import { randomFrom } from '../../examples/demo/bulk.ts';
import { PhasorError, saga, type BuiltPlan, type Client, type Pattern } from '../../src/index.ts';
import type { NatsServerHandle } from '../../src/nats/server/index.ts';
import { eventually } from '../kit/eventually.ts';
import { spawnNode, type NodeProcess } from '../kit/exec.ts';
import { Rig } from '../kit/rig.ts';

const DIST = path.join(import.meta.dirname, '../../dist');
export const OPENING_BALANCE = 10_000;
const CUSTOMERS = 10;
/** Small, so that a killed worker's commands are soon somebody else's. */
const ACK_WAIT_MS = 2_000;
const READY_MS = 30_000;

export type Barrier = 'kv' | 'none';
export type Role = 'coordinator' | Bank;

export const accounts: readonly Place[] = BANKS.flatMap((bank) =>
  Array.from({ length: CUSTOMERS }, (_, index) => ({ bank, account: `customer-${index}` })),
);

/** CHAOS_SEED, or another one each time; printed, so that a failure can be looked for again. */
export function chaosSeed(): number {
  const given = process.env['CHAOS_SEED'];
  const seed = given === undefined ? Math.floor(Math.random() * 1_000_000) : Number(given);
  process.stderr.write(`CHAOS_SEED=${seed}\n`);
  return seed;
}

export class Arena {
  readonly rig: Rig;
  readonly barrier: Barrier;
  readonly #processes = new Map<Role, NodeProcess>();

  private constructor(rig: Rig, barrier: Barrier) {
    this.rig = rig;
    this.barrier = barrier;
  }

  static async start(barrier: Barrier): Promise<Arena> {
    const rig = await Rig.start();
    const arena = new Arena(rig, barrier);
    const { world } = await rig.world();
    for (const bank of BANKS) {
      const own = accounts.filter((place) => place.bank === bank);
      await openAccounts(
        world.keyValue,
        bank,
        Object.fromEntries(own.map(({ account }) => [account, OPENING_BALANCE])),
      );
    }
    await Promise.all([arena.launch('coordinator'), ...BANKS.map((bank) => arena.launch(bank))]);
    return arena;
  }

  get nats(): NatsServerHandle {
    return this.rig.nats;
  }

  /** Starts the role's process, in place of whichever one it had. */
  async launch(role: Role): Promise<NodeProcess> {
    const started = await this.extra(role);
    this.#processes.set(role, started);
    return started;
  }

  /** One more process of the role. */
  async extra(role: Role): Promise<NodeProcess> {
    const started = this.#spawn(role);
    await started.waitForLine(/ready/, READY_MS);
    return started;
  }

  /** Starts the role's process, which kills itself as it passes the crash point for the nth time. */
  doom(role: Role, point: string, nth: number): NodeProcess {
    const started = this.#spawn(role, { PHASOR_CRASH: `${point}:${nth}` });
    this.#processes.set(role, started);
    return started;
  }

  #spawn(role: Role, more: Readonly<Record<string, string>> = {}): NodeProcess {
    const ackWait = String(ACK_WAIT_MS);
    const env = { NATS_URL: this.nats.url, BANK_BARRIER: this.barrier, BANK_ACK_WAIT_MS: ackWait, ...more };
    return role === 'coordinator'
      ? spawnNode(path.join(DIST, 'src/cli/main.js'), ['coordinator', '--log-level', 'error'], { env })
      : spawnNode(path.join(DIST, 'examples/bank/worker.js'), [role], { env });
  }

  of(role: Role): NodeProcess {
    const found = this.#processes.get(role);
    if (found === undefined) throw new Error(`${role} was never started`);
    return found;
  }

  async kill(role: Role): Promise<void> {
    const victim = this.of(role);
    victim.kill('SIGKILL');
    await victim.waitForExit();
  }

  /** No command waits for a worker, and none is being worked on. */
  async workersAreIdle(timeoutMs = 20_000): Promise<void> {
    const { connection } = await this.rig.world();
    for (const stream of ['DTX_2PC_STREAM', 'DTX_SAGA_STREAM']) {
      await eventually(
        async () => {
          const answer = await connection.nc.request(`$JS.API.CONSUMER.LIST.${stream}`, '{}');
          const { consumers } = answer.json<{ readonly consumers: readonly ConsumerState[] }>();
          const workers = consumers.filter(({ config }) => config.durable_name !== undefined);
          return workers.length > 0 && workers.every((each) => each.num_pending + each.num_ack_pending === 0);
        },
        { what: `idle workers of ${stream}`, timeoutMs, everyMs: 100 },
      );
    }
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#processes.values()].map((each) => each.stop()));
    await this.rig.stop();
  }
}

interface ConsumerState {
  readonly config: { readonly durable_name?: string };
  readonly num_pending: number;
  readonly num_ack_pending: number;
}

export interface LoadOptions {
  readonly seed: number;
  readonly count: number;
  /** Transfers open at a time. */
  readonly width: number;
  /** Sets the own ids of several loads apart. Default: `own`. */
  readonly names?: string;
  /** Large ones find too little money. Default: 4_000. */
  readonly maxAmount?: number;
}

/** Gives before it takes: where there is nothing to take, the gift is claimed back. */
function generous({ from, to, amount }: Transfer): BuiltPlan<'saga'> {
  return saga('advance')
    .step('credit', { participant: to.bank, action: 'credit', input: { account: to.account, amount } })
    .step('debit', { participant: from.bank, action: 'debit', input: { account: from.account, amount } })
    .build();
}

/** What the client saw, nothing more: an error says only that it does not know. */
export interface Seen {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly status: string;
}

/** Random transfers, every other one a saga, every other one with an id of its own. */
export class Load {
  readonly seen: Seen[] = [];
  readonly done: Promise<void>;
  readonly #client: Client;
  readonly #options: LoadOptions;
  readonly #random: () => number;
  readonly #watchers = new Set<() => void>();
  #begun = 0;
  #failure: Error | undefined;

  constructor(client: Client, options: LoadOptions) {
    this.#client = client;
    this.#options = options;
    this.#random = randomFrom(options.seed);
    const lanes = Array.from({ length: options.width }, () => this.#lane());
    this.done = Promise.all(lanes).then(() => undefined);
    this.done.catch((error: unknown) => {
      this.#failure = error instanceof Error ? error : new Error(String(error));
      for (const look of this.#watchers) look();
    });
  }

  /** Resolves once this many have ended. */
  async ended(count: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (this.#failure !== undefined) reject(this.#failure);
        else if (this.seen.length < count) return;
        else resolve();
        this.#watchers.delete(look);
      };
      this.#watchers.add(look);
      look();
    });
  }

  async #lane(): Promise<void> {
    while (this.#begun < this.#options.count) {
      const number = (this.#begun += 1);
      const plan = this.#plan(number);
      const tx = number % 4 < 2 ? `${plan.pattern}-${this.#options.names ?? 'own'}-${number}` : undefined;
      this.seen.push(await this.#transact(plan, tx));
      for (const look of [...this.#watchers]) look();
    }
  }

  async #transact(plan: BuiltPlan<Pattern>, tx: string | undefined): Promise<Seen> {
    for (;;) {
      try {
        const handle = await this.#client.begin({ ...plan, ...(tx === undefined ? {} : { tx }) });
        const outcome = await handle.outcome({ timeoutMs: 60_000 });
        return { pattern: plan.pattern, tx: handle.tx, status: outcome.status };
      } catch (error) {
        // Retryable: a fresh id may or may not have been begun, an own one may be begun again.
        if (!PhasorError.is(error) || !error.retryable || error.code === 'OUTCOME_TIMEOUT') throw error;
      }
    }
  }

  #plan(number: number): BuiltPlan<Pattern> {
    const pick = (): Place => accounts[Math.floor(this.#random() * accounts.length)]!;
    const from = pick();
    let to = pick();
    while (to === from) to = pick();
    const amount = 1 + Math.floor(this.#random() * (this.#options.maxAmount ?? 4_000));
    if (number % 2 === 0) return transfer({ from, to, amount });
    return number % 4 === 1 ? transferSaga({ from, to, amount }) : generous({ from, to, amount });
  }
}
