import { systemClock } from '../../src/nats/clock.ts';
import { callApi } from '../../src/nats/api.ts';
import { natsWorld, type NatsWorld } from '../../src/nats/index.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { eventually } from '../kit/eventually.ts';
import { testNats } from '../kit/nats.ts';
import { busContract } from './bus.contract.ts';
import type { ContractStream, ContractWorld } from './contract-world.ts';
import { keyValueContract } from './key-value.contract.ts';
import { logTroubleContract } from './log-trouble.contract.ts';
import { logContract } from './log.contract.ts';
import { workContract } from './work.contract.ts';

async function makeWorld(): Promise<ContractWorld> {
  const server = await testNats();
  const opened: NatsWorld[] = [];
  const open = async (): Promise<NatsWorld> => {
    const made = await natsWorld({ url: server.url, logger: silentLogger });
    opened.push(made);
    return made;
  };
  const { world, connection } = await open();
  const crash = async (): Promise<void> => {
    await server.kill();
    await server.restart();
    await eventually(() => callApi(connection, { subject: '$JS.API.INFO' }), {
      what: 'the restarted server',
      timeoutMs: 20_000,
    });
  };
  return {
    world,
    another: async () => (await open()).world,
    makeStream: async (stream) => {
      const subject = `$JS.API.STREAM.CREATE.${stream.name}`;
      await callApi(connection, { subject, body: streamConfig(stream) });
    },
    dropConsumers: async (stream) => {
      const { consumers } = await callApi(connection, { subject: `$JS.API.CONSUMER.NAMES.${stream}` });
      for (const name of consumers as string[]) {
        await callApi(connection, { subject: `$JS.API.CONSUMER.DELETE.${stream}.${name}` });
      }
    },
    removeMessages: async (stream, seqs) => {
      const subject = `$JS.API.STREAM.MSG.DELETE.${stream}`;
      await Promise.all(seqs.map((seq) => callApi(connection, { subject, body: { seq } })));
    },
    ...(server.managed ? { crash } : {}),
    close: async () => {
      for (const each of opened) await each.close();
      await server.stop();
    },
  };
}

function streamConfig({
  name,
  subjects,
  maxBytes,
  shards = 1,
  dedupWindowMs = 86_400_000,
}: ContractStream): object {
  return {
    name,
    subjects,
    storage: 'file',
    discard: 'new',
    max_bytes: maxBytes ?? -1,
    metadata: { shards: String(shards), dedupWindow: String(dedupWindowMs) },
  };
}

const real = { name: 'nats-server', makeWorld };
logContract(real);
logTroubleContract(real);
workContract({ ...real, clock: systemClock });
busContract(real);
keyValueContract(real);
