// Goal: many orders at once on one account, from one process and from several, are each carried out once.
// Method: ledgers over a bucket in memory that counts writes and loses compare-and-sets like the real one.
import { expect, it } from 'vitest';
import {
  decodeAccount,
  encodeAccount,
  openAccount,
  type Order,
  type Verb,
} from '../../examples/bank/account.ts';
import { Ledger } from '../../examples/bank/ledger.ts';
import type { KeyValue } from '../../src/index.ts';

class Bucket implements KeyValue {
  writes = 0;
  lost = 0;
  readonly #entries = new Map<string, { value: Uint8Array; revision: number; timeMs: number }>();
  #revision = 0;

  async get(key: string) {
    await Promise.resolve();
    return this.#entries.get(key);
  }

  create(key: string, value: Uint8Array) {
    return this.update(key, value, { revision: 0 });
  }

  async update(key: string, value: Uint8Array, { revision }: { readonly revision: number }) {
    await new Promise((resolve) => setImmediate(resolve));
    const current = this.#entries.get(key);
    if ((current?.revision ?? 0) !== revision) {
      this.lost += 1;
      return { won: false as const, current };
    }
    this.writes += 1;
    this.#revision += 1;
    this.#entries.set(key, { value, revision: this.#revision, timeMs: this.#revision });
    return { won: true as const, revision: this.#revision };
  }

  async keys() {
    return [...this.#entries.keys()];
  }

  balance(key: string): number {
    const entry = this.#entries.get(key);
    if (entry === undefined) throw new Error(`no ${key}`);
    return decodeAccount(entry.value).balance;
  }
}

const order = (verb: Verb, amount: number, operation: string): Order => {
  return { verb, amount, operation, begunMs: 0 };
};

async function bucketWith(balance: number): Promise<Bucket> {
  const bucket = new Bucket();
  await bucket.create('asha', encodeAccount(openAccount(balance)));
  return bucket;
}

it('shares writes among the orders of a hot account, and loses no race against itself', async () => {
  const bucket = await bucketWith(0);
  const ledger = new Ledger(bucket);
  const orders = Array.from({ length: 2_000 }, (_, index) =>
    ledger.carryOut('asha', order('execute', 1, `op-${index}`)),
  );
  expect(new Set((await Promise.all(orders)).map(({ type }) => type))).toEqual(new Set(['done']));
  expect(bucket.balance('asha')).toBe(2_000);
  expect(bucket.lost).toBe(0);
  expect(bucket.writes).toBeLessThan(50);
});

it('with several processes of a bank, and every order given to all of them, moves money once', async () => {
  const bucket = await bucketWith(0);
  const ledgers = [new Ledger(bucket), new Ledger(bucket), new Ledger(bucket)];
  const orders = Array.from({ length: 100 }, (_, index) =>
    ledgers.map((ledger) => ledger.carryOut('asha', order('execute', 1, `op-${index}`))),
  );
  const verdicts = await Promise.all(orders.flat());
  expect(verdicts.every(({ type }) => type === 'done')).toBe(true);
  expect(bucket.balance('asha')).toBe(100);
  expect(bucket.lost).toBeGreaterThan(0);
});

it('refuses accounts that it does not have, and goes on after a failed write', async () => {
  const bucket = await bucketWith(10);
  const ledger = new Ledger(bucket);
  const nobody = await ledger.carryOut('nobody', order('execute', 1, 'op'));
  expect(nobody).toMatchObject({ type: 'refused', code: 'no-such-account' });
  const update = bucket.update.bind(bucket);
  bucket.update = () => Promise.reject(new Error('planted'));
  await expect(ledger.carryOut('asha', order('execute', 1, 'op'))).rejects.toThrow('planted');
  bucket.update = update;
  expect(await ledger.carryOut('asha', order('execute', 1, 'op'))).toEqual({ type: 'done' });
  expect(bucket.balance('asha')).toBe(11);
});
