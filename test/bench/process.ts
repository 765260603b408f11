/**
 * One process of a benchmark: `process.js SIDE ROLE PATTERN URL SHARDS`. Prints `ready`, then, as a client, answers each
 * line of JSON (a `Load`) with one line of JSON (a `Measured`).
 */
import { createInterface } from 'node:readline';
import { connect as connectNats } from '@nats-io/transport-node';
import { connect } from '../../src/index.ts';
import { floorClient, floorCoordinator, floorParticipants } from './floor/roles.ts';
import { productClient, productCoordinator, productParticipants } from './product.ts';
import type { BenchPattern, Load, Measured } from './workload.ts';

type Client = (load: Load) => Promise<Measured>;

async function floor(
  role: string,
  pattern: BenchPattern,
  at: { url: string; shards: number },
): Promise<Client | undefined> {
  const nc = await connectNats({ servers: at.url });
  if (role === 'client') return floorClient(nc, at.shards);
  if (role === 'coordinator') await floorCoordinator(nc, pattern, at.shards);
  else await floorParticipants(nc, pattern);
  return undefined;
}

async function product(role: string, pattern: BenchPattern, url: string): Promise<Client | undefined> {
  const { world } = await connect({ url });
  if (role === 'client') return productClient(world);
  if (role === 'coordinator') await productCoordinator(world, pattern);
  else await productParticipants(world, pattern);
  return undefined;
}

// Leaves by the door, so that `node --cpu-prof dist/test/bench/main.js` writes a profile of every process.
process.once('SIGTERM', () => process.exit(0));

const [side = '', role = '', pattern = '', url = '', shards = ''] = process.argv.slice(2);
const client =
  side === 'floor'
    ? await floor(role, pattern as BenchPattern, { url, shards: Number(shards) })
    : await product(role, pattern as BenchPattern, url);
console.log('ready');
if (client !== undefined) {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await client(JSON.parse(line) as Load)));
  }
  process.exit(0);
}
