// Goal: every message reaches one worker, comes again until it is acknowledged, and never faster than asked for.
import { afterAll, beforeAll, describe, expect } from 'vitest';

import type { Clock } from '../../src/ports/clock.ts';
import type { Delivery, Work, WorkOptions, WorkSource } from '../../src/ports/work.ts';
import type { Subject } from '../../src/kernel/subjects.ts';
import { eventually } from '../kit/eventually.ts';
import {
  bytes,
  freshStream,
  range,
  specWith,
  textOf,
  type ContractOptions,
  type ContractWorld,
} from './contract-world.ts';

interface Working {
  readonly source: WorkSource;
  readonly deliveries: Delivery[];
  readonly troubles: string[];
}

const textsOf = (deliveries: readonly Delivery[]): string[] => deliveries.map(({ data }) => textOf(data));
const acked = (delivery: Delivery): void => delivery.ack();

async function working(
  work: Work,
  options: Pick<WorkOptions, 'stream' | 'filters'> & Partial<WorkOptions>,
  then: (delivery: Delivery) => void = acked,
): Promise<Working> {
  const deliveries: Delivery[] = [];
  const troubles: string[] = [];
  const source = await work.open({
    durable: 'w-open',
    ackWaitMs: 30_000,
    onTrouble: (why) => void troubles.push(why),
    onDelivery: (delivery) => {
      deliveries.push(delivery);
      then(delivery);
    },
    ...options,
  });
  return { source, deliveries, troubles };
}

export function workContract({ name, makeWorld, skip, clock }: ContractOptions & { clock: Clock }): void {
  const spec = specWith(skip);
  describe(`work port: ${name}`, () => {
    let at: ContractWorld;
    let work: Work;
    beforeAll(async () => {
      at = await makeWorld();
      work = at.world.work;
    });
    afterAll(() => at.close());

    async function filled(count: number): Promise<{ stream: string; filters: Subject[]; subject: Subject }> {
      const { stream, subject } = await freshStream(at);
      for (const index of range(count)) await at.world.log.append(subject('do'), bytes(`m${index}`));
      return { stream, filters: [subject('do')], subject: subject('do') };
    }
    const waitMs = (ms: number): Promise<void> => new Promise((resolve) => clock.after(ms, resolve));

    spec('delivers what is asked for, no more, and demand adds up', async () => {
      const { stream, filters } = await filled(10);
      const { source, deliveries } = await working(work, { stream, filters });
      source.request(2);
      source.request(1);
      await eventually(() => deliveries.length >= 3, { what: 'three deliveries' });
      // A delivery beyond the demand would have been on its way with these: a round trip shows that none is.
      await at.world.log.state(stream);
      expect(textsOf(deliveries)).toEqual(['m0', 'm1', 'm2']);
      source.request(100);
      await eventually(() => deliveries.length >= 10, { what: 'all deliveries' });
      expect(deliveries.map(({ seq }) => seq)).toEqual(range(10).map((index) => index + 1));
      expect(deliveries.every((each) => each.deliveries === 1)).toBe(true);
      const first = await at.world.log.get(stream, 1);
      expect(deliveries[0]).toMatchObject({ subject: filters[0], timeMs: first?.timeMs });
      await source.close();
    });

    spec('serves demand that was there before the message', async () => {
      const { stream, filters, subject } = await filled(0);
      const { source, deliveries } = await working(work, { stream, filters });
      source.request(1);
      await at.world.log.append(subject, bytes('late'));
      await eventually(() => deliveries.length === 1, { what: 'the delivery' });
      for (const index of range(50)) {
        source.request(1);
        await at.world.log.append(subject, bytes(`late ${index}`));
      }
      await eventually(() => deliveries.length === 51, { what: 'all deliveries' });
      await source.close();
    });

    spec('gives every message to one of two workers', async () => {
      const { stream, filters } = await filled(200);
      const mine = await working(work, { stream, filters }, (delivery) => {
        delivery.ack();
        mine.source.request(1);
      });
      const theirs = await working((await at.another()).work, { stream, filters }, (delivery) => {
        delivery.ack();
        theirs.source.request(1);
      });
      mine.source.request(4);
      theirs.source.request(4);
      const all = (): string[] => textsOf([...mine.deliveries, ...theirs.deliveries]);
      await eventually(() => all().length >= 200, { what: '200 deliveries' });
      expect(all().sort()).toEqual(
        range(200)
          .map((index) => `m${index}`)
          .sort(),
      );
      expect(Math.min(mine.deliveries.length, theirs.deliveries.length)).toBeGreaterThan(0);
      await mine.source.close();
      await theirs.source.close();
    });

    spec('delivers again after the ack wait, to any worker, and counts', async () => {
      const { stream, filters } = await filled(1);
      const options = { stream, filters, ackWaitMs: 500 };
      const idle = await working(work, options, () => undefined);
      idle.source.request(1);
      await eventually(() => idle.deliveries.length === 1, { what: 'the first delivery' });
      const next = await working((await at.another()).work, options);
      next.source.request(1);
      await eventually(() => next.deliveries.length === 1, { what: 'the second delivery' });
      expect([idle.deliveries[0]?.deliveries, next.deliveries[0]?.deliveries]).toEqual([1, 2]);
      await idle.source.close();
      await next.source.close();
    });

    spec('does not deliver again while the worker signals that it is at work', async () => {
      const { stream, filters } = await filled(1);
      const options = { stream, filters, ackWaitMs: 1_000 };
      const busy = await working(work, options, () => undefined);
      busy.source.request(3);
      await eventually(() => busy.deliveries.length === 1, { what: 'the delivery' });
      for (const _ of range(10)) {
        await waitMs(250);
        busy.deliveries[0]?.working();
      }
      expect(busy.deliveries.length).toBe(1);
      await eventually(() => busy.deliveries.length === 2, { what: 'the delivery after the silence' });
      busy.deliveries[1]?.ack();
      await busy.source.close();
    });

    spec('delivers again when told to, at once or later', async () => {
      const { stream, filters } = await filled(1);
      const times: number[] = [];
      const { source, deliveries } = await working(work, { stream, filters }, (delivery) => {
        times.push(clock.monotonicMs());
        if (delivery.deliveries === 1) delivery.nak();
        else if (delivery.deliveries === 2) delivery.nak(600);
        else delivery.ack();
      });
      source.request(3);
      await eventually(() => deliveries.length === 3, { what: 'three deliveries' });
      const [first = 0, second = 0, third = 0] = times;
      expect(second - first).toBeLessThan(600);
      expect(third - second).toBeGreaterThanOrEqual(590);
      await source.close();
    });

    spec('keeps the bytes in hand below the bound, and a larger message does not stop it', async () => {
      const { stream, subject } = await freshStream(at);
      const sizes = [400, 400, 400, 9_000, 400, 400];
      for (const size of sizes) await at.world.log.append(subject('do'), new Uint8Array(size));
      const inHand = new Set<Delivery>();
      const { source, deliveries } = await working(work, { stream, filters: [subject('do')] }, (delivery) => {
        inHand.add(delivery);
      });
      const bound = 2_000;
      source.request(sizes.length, bound);
      const held: number[][] = [];
      await eventually(
        async () => {
          const before = deliveries.length;
          await at.world.log.state(stream);
          if (before !== deliveries.length) return false;
          held.push([...inHand].map(({ data }) => data.length));
          const [first] = inHand;
          if (first !== undefined) {
            inHand.delete(first);
            first.ack();
          }
          return deliveries.length === sizes.length && inHand.size === 0;
        },
        { what: 'every message, however large' },
      );
      expect(deliveries.map(({ data }) => data.length)).toEqual(sizes);
      const tooMuch = held.filter((each) => each.length > 1 && each.reduce((a, b) => a + b, 0) > bound);
      expect(tooMuch).toEqual([]);
      await source.close();
    });

    spec('survives a handler that throws: the message comes again', async () => {
      const { stream, filters } = await filled(2);
      const { source, deliveries } = await working(work, { stream, filters, ackWaitMs: 500 }, (delivery) => {
        if (delivery.deliveries === 1) throw new Error('a bug');
        delivery.ack();
      });
      source.request(4);
      await eventually(() => deliveries.length === 4, { what: 'both again' });
      await source.close();
    });

    spec('can be opened by many workers at the same moment', async () => {
      const { stream, filters } = await filled(20);
      const opened = await Promise.all(range(10).map(() => working(work, { stream, filters })));
      for (const { source } of opened) source.request(2);
      const all = (): Delivery[] => opened.flatMap(({ deliveries }) => deliveries);
      await eventually(() => all().length >= 20, { what: '20 deliveries' });
      expect(new Set(textsOf(all())).size).toBe(20);
      await Promise.all(opened.map(({ source }) => source.close()));
    });

    spec('asks for nothing after close; what it had not got goes to others', async () => {
      const { stream, filters, subject } = await filled(3);
      const closed = await working(work, { stream, filters });
      closed.source.request(100);
      await eventually(() => closed.deliveries.length === 3, { what: 'three deliveries' });
      await closed.source.close();
      closed.source.request(100);
      const open = await working(work, { stream, filters });
      open.source.request(100);
      for (const index of range(20)) await at.world.log.append(subject, bytes(`later ${index}`));
      await eventually(() => open.deliveries.length === 20, { what: 'the later ones' });
      expect(closed.deliveries.length).toBe(3);
      await open.source.close();
    });

    spec('acknowledges what arrived before it was closed', async () => {
      const { stream, filters } = await filled(5);
      const options = { stream, filters, ackWaitMs: 500 };
      const closing = await working(work, options, () => undefined);
      closing.source.request(5);
      await eventually(() => closing.deliveries.length === 5, { what: 'five deliveries' });
      await closing.source.close();
      for (const delivery of closing.deliveries) delivery.ack();
      const next = await working(work, options);
      next.source.request(10);
      await waitMs(1_500);
      expect(next.deliveries).toEqual([]);
      await next.source.close();
    });

    spec('heals when its consumer is deleted', async (ctx) => {
      ctx.skip(at.dropConsumers === undefined, 'this world cannot drop consumers');
      const { stream, filters, subject } = await filled(1);
      const { source, deliveries, troubles } = await working(work, { stream, filters });
      source.request(50);
      await eventually(() => deliveries.length === 1, { what: 'the first' });
      await at.dropConsumers?.(stream);
      await at.world.log.append(subject, bytes('after'));
      await eventually(() => textsOf(deliveries).includes('after'), { what: 'the one after' });
      expect(troubles.length).toBeGreaterThan(0);
      await source.close();
    });

    spec('heals after a crash of the server, with its demand', async (ctx) => {
      ctx.skip(at.crash === undefined, 'this world cannot crash its server');
      const { stream, filters, subject } = await filled(1);
      const options = { stream, filters, ackWaitMs: 1_000 };
      const { source, deliveries, troubles } = await working(work, options);
      source.request(50);
      await eventually(() => deliveries.length === 1, { what: 'the first' });
      await at.crash?.();
      for (const index of range(20)) await at.world.log.append(subject, bytes(`after ${index}`));
      const seen = (): number => new Set(textsOf(deliveries)).size;
      await eventually(() => seen() === 21, { what: 'all of them', timeoutMs: 30_000 });
      expect(troubles.length).toBeGreaterThan(0);
      await source.close();
    });

    spec('tells the newest message of its filters, and up to where all are acknowledged', async () => {
      const { stream, subject: place } = await freshStream(at);
      const [one, other, foreign] = [place('one'), place('other'), place('foreign')];
      const named = { stream, durable: 'w-progress', filters: [one, other] };
      const progress = (): ReturnType<Work['progress']> => work.progress(named);
      expect(await progress()).toEqual({ lastSeq: 0, ackFloor: 0 });
      const deliveries: Delivery[] = [];
      const source = await work.open({
        ...named,
        ackWaitMs: 30_000,
        onDelivery: (delivery) => void deliveries.push(delivery),
      });
      const append = async (subject: Subject): Promise<number> =>
        (await at.world.log.append(subject, bytes('x'))).seq;
      const first = await append(one);
      const second = await append(other);
      await append(foreign);
      source.request(2);
      await eventually(() => deliveries.length === 2, { what: 'both' });
      expect(await progress()).toEqual({ lastSeq: second, ackFloor: 0 });
      deliveries[1]?.ack();
      deliveries[0]?.working();
      expect((await progress()).ackFloor).toBeLessThan(first);
      deliveries[0]?.ack();
      await eventually(async () => (await progress()).ackFloor === second, { what: 'the floor' });
      await source.close();
    });

    spec('says that a stream is missing', async () => {
      const filters = ['nosuchstream.do' as Subject];
      const opening = working(work, { stream: 'NOSUCHSTREAM', filters });
      await expect(opening).rejects.toMatchObject({ code: 'STREAM_MISSING' });
      const asking = work.progress({ stream: 'NOSUCHSTREAM', durable: 'w-open', filters });
      await expect(asking).rejects.toMatchObject({ code: 'STREAM_MISSING' });
    });
  });
}
