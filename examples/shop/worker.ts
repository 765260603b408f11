/**
 * One service of the shop as a process: `node dist/examples/shop/worker.js inventory|payment|shipping|mailer|analytics`.
 *
 * Phasor's `kv` barrier stands in front of the handlers, so they see a step once, save for crashes in the middle of
 * one; every effect is a record named by the step's operation id, so that even then it is made once.
 * SHOP_STOCK=bicycle=10,helmet=3 fills the shelves of the inventory.
 */
import { connect, createLogger, startWorker, type Action, type KeyValue } from '../../src/index.ts';
import { amountsOf, runService } from '../process.ts';
import { inventoryActions, stockItems } from './inventory.ts';
import { messengerActions } from './messenger.ts';
import { paymentActions } from './payment.ts';
import { SHOP, type ShopService } from './plans.ts';
import { bucketOf } from './records.ts';
import { shippingActions } from './shipping.ts';

const ACTIONS: Readonly<Record<ShopService, (records: KeyValue) => Readonly<Record<string, Action>>>> = {
  inventory: inventoryActions,
  payment: paymentActions,
  shipping: shippingActions,
  mailer: messengerActions,
  analytics: messengerActions,
};

const service = SHOP.find((name) => name === process.argv[2]);
if (service === undefined) {
  process.stderr.write(`usage: worker ${SHOP.join('|')}\n`);
  process.exit(64);
}

await runService(service, async (url) => {
  const connection = await connect({ url, name: service, logger: createLogger({ level: 'warn' }) });
  const records = await connection.world.keyValue.ensureBucket(bucketOf(service), {});
  if (service === 'inventory') await stockItems(records, amountsOf('SHOP_STOCK'));
  const actions = ACTIONS[service](records);
  const worker = await startWorker(connection.world, { participant: service, actions, barrier: 'kv' });
  return async () => {
    await worker.drain();
    await connection.close();
  };
});
