/**
 * One bank as a process: `node dist/examples/bank/worker.js hdfc`.
 *
 * NATS_URL names the server. BANK_BARRIER=kv puts Phasor's own barrier in front; it is not needed, because every
 * account remembers its operations (account.ts). BANK_ACCOUNTS=asha=1000,ravi=0 opens accounts. BANK_ACK_WAIT_MS is how long the commands of a dead worker wait for
 * another one. Prints `hdfc ready`; SIGTERM ends it after what it works on, and
 * so does the end of its stdin when EXAMPLE_STDIN=hold, so that it never outlives whoever started it.
 */
import { connect, createLogger, startWorker } from '../../src/index.ts';
import { amountsOf, runService } from '../process.ts';
import { KEEP_MS } from './account.ts';
import { bankActions } from './actions.ts';
import { BANKS, bucketOf, isBank, Ledger, openAccounts } from './ledger.ts';

const bank = process.argv[2] ?? '';
if (!isBank(bank)) {
  process.stderr.write(`usage: worker ${BANKS.join('|')}\n`);
  process.exit(64);
}

await runService(bank, async (url) => {
  const logger = createLogger({ level: 'warn' });
  const connection = await connect({ url, name: `bank-${bank}`, logger });
  await openAccounts(connection.world.keyValue, bank, amountsOf('BANK_ACCOUNTS'));
  const ledger = new Ledger(await connection.world.keyValue.ensureBucket(bucketOf(bank), {}));
  const common = {
    participant: bank,
    actions: bankActions(ledger),
    ackWaitMs: Number(process.env['BANK_ACK_WAIT_MS'] ?? 30_000),
  };
  const worker = await startWorker(connection.world, {
    ...common,
    patterns: ['2pc', 'saga'],
    barrier: process.env['BANK_BARRIER'] === 'kv' ? 'kv' : 'none',
    // Acts older than half of it are not begun: the accounts remember twice as long.
    barrierKeepMs: KEEP_MS,
    concurrency: { open: 512, close: 512 },
  });
  // In 3PC a bank may have to end a transaction by itself: that needs the durable record of a barrier.
  const threePhase = await startWorker(connection.world, { ...common, patterns: ['3pc'], barrier: 'kv' });
  return async () => {
    await Promise.all([worker.drain(), threePhase.drain()]);
    await connection.close();
  };
});
