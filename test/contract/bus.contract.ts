// Goal: core messaging reaches whoever listens now, and says at once when nobody does.
import { afterAll, beforeAll, describe, expect } from 'vitest';

import type { Subject } from '../../src/kernel/subjects.ts';
import type { Bus } from '../../src/ports/bus.ts';
import { eventually } from '../kit/eventually.ts';
import {
  bytes,
  range,
  specWith,
  textOf,
  type ContractOptions,
  type ContractWorld,
} from './contract-world.ts';

export function busContract({ name, makeWorld, skip }: ContractOptions): void {
  const spec = specWith(skip);
  describe(`bus port: ${name}`, () => {
    let at: ContractWorld;
    let bus: Bus;
    let other: Bus;
    beforeAll(async () => {
      at = await makeWorld();
      bus = at.world.bus;
      other = (await at.another()).bus;
    });
    afterAll(() => at.close());

    let subjects = 0;
    const fresh = (): Subject => `bus.t${(subjects += 1)}` as Subject;
    /** Once this is answered the server knows every subscription made before it. */
    async function settled(on: Bus): Promise<void> {
      const subject = fresh();
      const echo = on.subscribe(subject, (message) => message.respond?.(message.data));
      await eventually(() => other.request(subject, bytes('?'), { timeoutMs: 1_000 }), { what: 'an echo' });
      echo.unsubscribe();
    }

    spec('brings a message to every subscriber and to one of a queue', async () => {
      const subject = fresh();
      const everyone: string[][] = [[], []];
      const queue: string[][] = [[], []];
      const subscriptions = [
        ...everyone.map((seen) => bus.subscribe(subject, ({ data }) => void seen.push(textOf(data)))),
        ...queue.map((seen) =>
          bus.subscribe(subject, ({ data }) => void seen.push(textOf(data)), { queue: 'q' }),
        ),
      ];
      await settled(bus);
      for (const index of range(50)) other.publish(subject, bytes(`${index}`));
      await eventually(() => everyone.every((seen) => seen.length === 50), { what: '50 each' });
      expect(everyone[0]).toEqual(range(50).map(String));
      await eventually(() => queue.flat().length === 50, { what: '50 in the queue' });
      for (const subscription of subscriptions) subscription.unsubscribe();
    });

    spec('brings nothing after unsubscribing', async () => {
      const subject = fresh();
      const seen: string[] = [];
      const still: string[] = [];
      const gone = bus.subscribe(subject, ({ data }) => void seen.push(textOf(data)));
      const stays = bus.subscribe(subject, ({ data }) => void still.push(textOf(data)));
      await settled(bus);
      other.publish(subject, bytes('one'));
      await eventually(() => seen.length === 1, { what: 'the first' });
      gone.unsubscribe();
      other.publish(subject, bytes('two'));
      await eventually(() => still.length === 2, { what: 'the second at the other' });
      expect(seen).toEqual(['one']);
      stays.unsubscribe();
    });

    spec('answers requests, many at a time', async () => {
      const subject = fresh();
      const echo = bus.subscribe(subject, (message) => {
        message.respond?.(bytes(`re: ${textOf(message.data)}`));
      });
      await settled(bus);
      const answers = await Promise.all(
        range(100).map((index) => other.request(subject, bytes(`${index}`), { timeoutMs: 5_000 })),
      );
      expect(answers.map(textOf)).toEqual(range(100).map((index) => `re: ${index}`));
      echo.unsubscribe();
    });

    spec('times out without an answer, also when nobody listens', async () => {
      const subject = fresh();
      const asked = (): Promise<Uint8Array> => other.request(subject, bytes('?'), { timeoutMs: 300 });
      await expect(asked()).rejects.toMatchObject({ code: 'TIMEOUT' });
      const silent = bus.subscribe(subject, () => undefined);
      await settled(bus);
      await expect(asked()).rejects.toMatchObject({ code: 'TIMEOUT' });
      silent.unsubscribe();
    });

    spec('marks only requests as answerable', async () => {
      const subject = fresh();
      const answerable: boolean[] = [];
      const subscription = bus.subscribe(subject, (message) => {
        answerable.push(message.respond !== undefined);
        message.respond?.(bytes('ok'));
      });
      await settled(bus);
      other.publish(subject, bytes('told'));
      await other.request(subject, bytes('asked'), { timeoutMs: 5_000 });
      expect(answerable).toEqual([false, true]);
      subscription.unsubscribe();
    });

    spec('goes on after a subscriber that throws', async () => {
      const subject = fresh();
      const seen: string[] = [];
      const subscription = bus.subscribe(subject, ({ data }) => {
        seen.push(textOf(data));
        throw new Error('a bug');
      });
      await settled(bus);
      other.publish(subject, bytes('one'));
      other.publish(subject, bytes('two'));
      await eventually(() => seen.length === 2, { what: 'both' });
      subscription.unsubscribe();
    });

    spec('tells the state of its connection, and keeps its subscriptions over a crash', async (ctx) => {
      ctx.skip(at.crash === undefined, 'this world cannot crash its server');
      const subject = fresh();
      const states: string[] = [];
      const unheard: string[] = [];
      const stop = bus.onConnection((state) => void states.push(state));
      bus.onConnection((state) => void unheard.push(state))();
      expect(states).toEqual(['connected']);
      const echo = bus.subscribe(subject, (message) => message.respond?.(message.data));
      await settled(bus);
      await at.crash?.();
      await eventually(() => states.length >= 3, { what: 'the connection again' });
      expect(states).toEqual(['connected', 'disconnected', 'connected']);
      expect(unheard).toEqual(['connected']);
      const again = (): Promise<Uint8Array> => other.request(subject, bytes('still'), { timeoutMs: 1_000 });
      expect(textOf(await eventually(again, { what: 'an answer' }))).toBe('still');
      stop();
      echo.unsubscribe();
    });
  });
}
