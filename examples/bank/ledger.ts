/** The accounts of one bank in a NATS KV bucket, one key each, changed only by compare-and-set. */
import type { KeyValue, KeyValueStore } from '../../src/index.ts';
import {
  DONE,
  afterRead,
  apply,
  decodeAccount,
  encodeAccount,
  isUndo,
  moneyIn,
  openAccount,
  type Account,
  type Order,
  type Rupees,
  type Verdict,
} from './account.ts';

export const BANKS = ['hdfc', 'icici', 'axis', 'sbi'] as const;
export type Bank = (typeof BANKS)[number];
export const isBank = (name: string): name is Bank => (BANKS as readonly string[]).includes(name);

export const bucketOf = (bank: Bank): string => `BANK_${bank}`;

/** What is known of an account; the guarded write decides whether it still is so. */
interface Known {
  readonly account: Account;
  readonly revision: number;
  /** Server time of the last write that was read back. */
  readonly writtenMs: number;
}

interface Waiting {
  readonly order: Order;
  readonly resolve: (verdict: Verdict) => void;
  readonly reject: (error: unknown) => void;
}

/** One account's orders wait for each other here, so that a process does not lose races against itself. */
interface Desk {
  readonly queue: Waiting[];
  known: Known | undefined;
  writes: number;
  working: boolean;
}

const NO_SUCH_ACCOUNT: Verdict = {
  type: 'refused',
  code: 'no-such-account',
  message: 'this bank has no such account',
};
/** Nothing was ever done to it, so there is nothing to undo: accounts are opened before the bank works. */
const ofNoAccount = ({ verb }: Order): Verdict => (isUndo(verb) ? DONE : NO_SUCH_ACCOUNT);
/** Reads back what it wrote this often: that dates entries and forgets old ones. */
const WRITES_BETWEEN_READS = 100;
/** Orders in one write. */
const MAX_BATCH = 256;
/** Lost races in a row before the caller hears of it; only other processes can cause them. */
const MAX_RACES = 50;
const MAX_PAUSE_MS = 50;

export class Ledger {
  readonly #accounts: KeyValue;
  readonly #desks = new Map<string, Desk>();

  constructor(accounts: KeyValue) {
    this.#accounts = accounts;
  }

  /** Durable once it resolves. @throws {PhasorError} `TIMEOUT`, `CONNECTION_FAILED`: it may or may not be. */
  carryOut(account: string, order: Order): Promise<Verdict> {
    let desk = this.#desks.get(account);
    if (desk === undefined) {
      desk = { queue: [], known: undefined, writes: 0, working: false };
      this.#desks.set(account, desk);
    }
    const { queue } = desk;
    const verdict = new Promise<Verdict>((resolve, reject) => queue.push({ order, resolve, reject }));
    if (!desk.working) void this.#work(account, desk);
    return verdict;
  }

  /** What arrives during a write shares the next one: a hot account costs one write for many orders. */
  async #work(account: string, desk: Desk): Promise<void> {
    desk.working = true;
    while (desk.queue.length > 0) {
      const batch = desk.queue.splice(0, MAX_BATCH);
      try {
        const verdicts = await this.#write(account, desk, batch);
        batch.forEach(({ order, resolve }, index) => resolve(verdicts[index] ?? ofNoAccount(order)));
      } catch (error) {
        desk.known = undefined;
        for (const { reject } of batch) reject(error);
      }
    }
    desk.working = false;
    if (desk.known === undefined) this.#desks.delete(account);
  }

  /** Of several writers one wins; losing means to apply the orders to what the winner stored. */
  async #write(name: string, desk: Desk, batch: readonly Waiting[]): Promise<readonly Verdict[]> {
    for (let races = 0; ; races += 1) {
      const known = desk.known ?? (await this.#read(name));
      if (known === undefined) return [];
      const orders = batch.map(({ order }) => order);
      const { account, verdicts } = apply(known.account, orders, known.writtenMs);
      desk.known = known;
      if (account === known.account) return verdicts;
      const { revision } = known;
      const written = await this.#accounts.update(name, encodeAccount(account), { revision });
      if (written.won) {
        desk.writes += 1;
        const isReadDue = desk.writes % WRITES_BETWEEN_READS === 0;
        desk.known = isReadDue ? undefined : { ...known, account, revision: written.revision };
        return verdicts;
      }
      desk.known = undefined;
      if (races >= MAX_RACES) throw new Error(`account ${name}: others keep writing to it`);
      await pause(Math.random() * Math.min(MAX_PAUSE_MS, 2 ** races));
    }
  }

  async #read(name: string): Promise<Known | undefined> {
    const entry = await this.#accounts.get(name);
    if (entry === undefined) return undefined;
    const account = afterRead(decodeAccount(entry.value), entry.timeMs);
    return { account, revision: entry.revision, writtenMs: entry.timeMs };
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Balances by account name. */
export type Balances = Readonly<Record<string, Rupees>>;

/** Makes the bucket and the accounts that are missing; others keep their balance. Do it before the bank works. */
export async function openAccounts(store: KeyValueStore, bank: Bank, balances: Balances): Promise<void> {
  const accounts = await store.ensureBucket(bucketOf(bank), {});
  const opened = Object.entries(balances).map(([name, balance]) =>
    accounts.create(name, encodeAccount(openAccount(balance))),
  );
  await Promise.all(opened);
}

/** What is stored, by account: for statements and audits. */
export async function readAccounts(store: KeyValueStore, bank: Bank): Promise<ReadonlyMap<string, Account>> {
  const bucket = await store.bucket(bucketOf(bank));
  const names = await bucket.keys();
  const found = await Promise.all(
    names.map(async (name) => {
      const entry = await bucket.get(name);
      return entry === undefined ? [] : [[name, decodeAccount(entry.value)] as const];
    }),
  );
  return new Map(found.flat());
}

/** All the money of all banks. Transactions move it; none makes or loses any. */
export async function totalMoney(store: KeyValueStore): Promise<Rupees> {
  const books = await Promise.all(BANKS.map((bank) => readAccounts(store, bank)));
  return books.flatMap((accounts) => [...accounts.values()]).reduce((sum, each) => sum + moneyIn(each), 0);
}
