/** What the demo plays on: a nats-server, the streams, every participant as a process of its own, and a client. */
import { connect, createClient, createLogger, type Client, type Connection } from '../../src/index.ts';
import { startNatsServer, type NatsServerHandle } from '../../src/nats/server/index.ts';
import { BANKS, openAccounts, readAccounts, type Bank } from '../bank/ledger.ts';
import type { Account, Rupees } from '../bank/account.ts';
import type { Place } from '../bank/plans.ts';
import { stockItems } from '../shop/inventory.ts';
import { SHOP } from '../shop/plans.ts';
import { bucketOf as shopBucketOf } from '../shop/records.ts';
import { Children, type Child } from './children.ts';

/** Accounts of each bank for the random transfers. */
const CROWD = 25;
const CROWD_BALANCE: Rupees = 10_000;
export const ITEM = 'bicycle';
/** What the flash sale has to offer, and how many. */
export const OFFER = 'helmet';
export const OFFERED = 3;

export interface Stage {
  readonly server: NatsServerHandle;
  readonly connection: Connection;
  readonly client: Client;
  readonly children: Children;
  readonly customer: Readonly<Record<Bank, Place>>;
  readonly tax: Place;
  readonly crowd: readonly Place[];
  coordinator: Child;
  close(): Promise<void>;
}

export async function setStage(): Promise<Stage> {
  const close: (() => Promise<void>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const each of close.splice(0).reverse()) await each();
  };
  try {
    return { ...(await build(close)), close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** @param close what has been opened so far is closed by, last first. */
async function build(close: (() => Promise<void>)[]): Promise<Omit<Stage, 'close'>> {
  const server = await startNatsServer();
  close.push(() => server.stop());
  const { url } = server;
  const connection = await connect({ url, name: 'demo', logger: createLogger({ level: 'error' }) });
  close.push(() => connection.close());
  await connection.applyStreams();
  const { customer, tax, crowd } = await openBooks(
    connection,
    server.managed ? '' : `-${Date.now().toString(36)}`,
  );
  const children = new Children({ NATS_URL: url });
  close.push(() => children.stopAll());
  const [coordinator] = await Promise.all([
    children.start('coordinator'),
    ...BANKS.map((bank) => children.start('bank/worker', [bank])),
    ...SHOP.map((service) => children.start('shop/worker', [service])),
  ]);
  const client = await createClient(connection.world, { sender: 'demo' });
  close.push(() => client.close());
  return { server, connection, client, children, customer, tax, crowd, coordinator };
}

/** @param suffix on a server that is not the demo's own, the accounts of an earlier demo stay as they are. */
async function openBooks(
  connection: Connection,
  suffix: string,
): Promise<Pick<Stage, 'customer' | 'tax' | 'crowd'>> {
  const { keyValue } = connection.world;
  const asha = `asha${suffix}`;
  const savings: Readonly<Record<Bank, Rupees>> = {
    hdfc: 12_00_000,
    icici: 8_00_000,
    axis: 5_00_000,
    sbi: 50_000,
  };
  const names = Array.from({ length: CROWD }, (_, index) => `customer-${index + 1}${suffix}`);
  const tax: Place = { bank: 'sbi', account: `income-tax${suffix}` };
  await Promise.all(
    BANKS.map((bank) =>
      openAccounts(keyValue, bank, {
        [asha]: savings[bank],
        ...(bank === tax.bank ? { [tax.account]: 0 } : {}),
        ...Object.fromEntries(names.map((name) => [name, CROWD_BALANCE])),
      }),
    ),
  );
  const inventory = await keyValue.ensureBucket(shopBucketOf('inventory'), {});
  await stockItems(inventory, { [ITEM]: 1_000_000, [OFFER]: OFFERED });
  const place = (bank: Bank): Place => ({ bank, account: asha });
  return {
    customer: { hdfc: place('hdfc'), icici: place('icici'), axis: place('axis'), sbi: place('sbi') },
    tax,
    crowd: BANKS.flatMap((bank) => names.map((account) => ({ bank, account }))),
  };
}

/** Every account of every bank, as stored. */
export async function books({ connection }: Stage): Promise<ReadonlyMap<string, Account>> {
  const all = await Promise.all(
    BANKS.map(async (bank) => {
      const accounts = await readAccounts(connection.world.keyValue, bank);
      return [...accounts].map(([name, account]) => [nameOf({ bank, account: name }), account] as const);
    }),
  );
  return new Map(all.flat());
}

export const nameOf = ({ bank, account }: Place): string => `${bank}/${account}`;
