// Goal: a compare-and-set has one winner, a record's life is what its last write said, and nobody takes its own
// write for a defeat.
import { afterAll, beforeAll, describe, expect } from 'vitest';

import { PhasorError } from '../../src/errors/phasor-error.ts';
import type { Entry, KeyValue, Written } from '../../src/ports/key-value.ts';
import { eventually } from '../kit/eventually.ts';
import {
  bytes,
  range,
  specWith,
  textOf,
  type ContractOptions,
  type ContractWorld,
} from './contract-world.ts';

const valueOf = (entry: Entry | undefined): string | undefined =>
  entry === undefined ? undefined : textOf(entry.value);

function revisionOf(written: Written): number {
  if (!written.won) throw new Error(`lost against ${valueOf(written.current) ?? 'nothing'}`);
  return written.revision;
}

export function keyValueContract({ name, makeWorld, skip }: ContractOptions): void {
  const spec = specWith(skip);
  describe(`key-value port: ${name}`, () => {
    let at: ContractWorld;
    let bucket: KeyValue;
    let other: KeyValue;
    beforeAll(async () => {
      at = await makeWorld();
      bucket = await at.world.keyValue.ensureBucket('contract', {});
      other = await (await at.another()).keyValue.bucket('contract');
    });
    afterAll(() => at.close());

    let keys = 0;
    const fresh = (): string => `k.${(keys += 1)}`;

    spec('creates once: the second sees what is there', async () => {
      const key = fresh();
      expect(await bucket.get(key)).toBeUndefined();
      const revision = revisionOf(await bucket.create(key, bytes('mine')));
      const second = await other.create(key, bytes('theirs'));
      expect(second.won).toBe(false);
      expect(!second.won && [valueOf(second.current), second.current?.revision]).toEqual(['mine', revision]);
      expect(valueOf(await other.get(key))).toBe('mine');
      expect(Math.abs(((await bucket.get(key))?.timeMs ?? 0) - Date.now())).toBeLessThan(60_000);
    });

    spec('takes equal bytes of another for a defeat when nothing got lost', async () => {
      const key = fresh();
      revisionOf(await bucket.create(key, bytes('same')));
      expect((await other.create(key, bytes('same'))).won).toBe(false);
    });

    spec('updates over exactly the named revision; revisions rise', async () => {
      const key = fresh();
      const first = revisionOf(await bucket.create(key, bytes('1')));
      const second = revisionOf(await other.update(key, bytes('2'), { revision: first }));
      expect(second).toBeGreaterThan(first);
      const stale = await bucket.update(key, bytes('stale'), { revision: first });
      expect(stale.won).toBe(false);
      expect(!stale.won && stale.current).toMatchObject({ revision: second });
      expect(valueOf(await bucket.get(key))).toBe('2');
    });

    spec('does not update what was never there', async () => {
      expect(await bucket.update(fresh(), bytes('x'), { revision: 4 })).toEqual({
        won: false,
        current: undefined,
      });
    });

    spec('has one winner among 50 creations at once', async () => {
      const key = fresh();
      const writers = range(50).map((index) => [bucket, other][index % 2] ?? bucket);
      const written = await Promise.all(writers.map((each, index) => each.create(key, bytes(`w${index}`))));
      expect(written.filter(({ won }) => won).length).toBe(1);
      const winner = `w${written.findIndex(({ won }) => won)}`;
      expect(valueOf(await bucket.get(key))).toBe(winner);
      const seen = written.flatMap((each) => (each.won ? [] : [valueOf(each.current)]));
      expect(new Set(seen)).toEqual(new Set([winner]));
    });

    spec('has one winner among 50 updates at once, again and again', async () => {
      const key = fresh();
      let revision = revisionOf(await bucket.create(key, bytes('start')));
      for (const round of range(5)) {
        const expected = revision;
        const written = await Promise.all(
          range(50).map((index) =>
            (index % 2 === 0 ? bucket : other).update(key, bytes(`${round}-${index}`), {
              revision: expected,
            }),
          ),
        );
        const winners = written.filter(({ won }) => won);
        expect(winners.length).toBe(1);
        revision = Math.max(...winners.map(revisionOf));
        expect(revision).toBeGreaterThan(expected);
      }
    });

    spec('lets a record expire; then another may create it, with a higher revision', async () => {
      const key = fresh();
      const first = revisionOf(await bucket.create(key, bytes('brief'), { ttlMs: 1_000 }));
      expect((await other.create(key, bytes('too early'))).won).toBe(false);
      await eventually(async () => (await bucket.get(key)) === undefined, { what: 'expiry' });
      const late = await bucket.update(key, bytes('too late'), { revision: first });
      expect(late).toEqual({ won: false, current: undefined });
      const second = revisionOf(await other.create(key, bytes('next')));
      expect(second).toBeGreaterThan(first);
    });

    spec('renews a life with every write that names it', async () => {
      const key = fresh();
      const outlived = fresh();
      revisionOf(await bucket.create(outlived, bytes('x'), { ttlMs: 2_000 }));
      let revision = revisionOf(await bucket.create(key, bytes('x'), { ttlMs: 2_000 }));
      await eventually(
        async () => {
          revision = revisionOf(await bucket.update(key, bytes('x'), { revision, ttlMs: 2_000 }));
          return (await bucket.get(outlived)) === undefined;
        },
        { what: 'the expiry of the other', everyMs: 200 },
      );
      expect(valueOf(await bucket.get(key))).toBe('x');
      await eventually(async () => (await bucket.get(key)) === undefined, { what: 'expiry in the end' });
    });

    spec('keeps a record for ever when the last write names no life', async () => {
      const key = fresh();
      const witness = fresh();
      const revision = revisionOf(await bucket.create(key, bytes('x'), { ttlMs: 1_000 }));
      revisionOf(await bucket.update(key, bytes('kept'), { revision }));
      revisionOf(await bucket.create(witness, bytes('x'), { ttlMs: 2_000 }));
      await eventually(async () => (await bucket.get(witness)) === undefined, { what: 'a later expiry' });
      expect(valueOf(await bucket.get(key))).toBe('kept');
    });

    spec('lists live keys', async () => {
      const own = await at.world.keyValue.ensureBucket('contract-keys', {});
      expect(await own.keys()).toEqual([]);
      for (const index of range(300)) await own.create(`run.${index}/a=b`, bytes('x'));
      await own.create('brief', bytes('x'), { ttlMs: 1_000 });
      await eventually(async () => !(await own.keys()).includes('brief'), { what: 'expiry' });
      expect([...(await own.keys())].sort()).toEqual(
        range(300)
          .map((index) => `run.${index}/a=b`)
          .sort(),
      );
    });

    spec('opens a bucket that exists, as often as it is asked for', async () => {
      await bucket.create('shared', bytes('x'));
      const again = await at.world.keyValue.ensureBucket('contract', {});
      expect(valueOf(await again.get('shared'))).toBe('x');
    });

    spec('says that a bucket is missing', async () => {
      await expect(at.world.keyValue.bucket('nosuch')).rejects.toMatchObject({ code: 'STREAM_MISSING' });
    });

    spec('refuses keys that would be wildcards or shift tokens', async () => {
      for (const key of ['', '*', 'a.>', 'a b', '.a', 'a..b', 'a.']) {
        await expect(bucket.create(key, bytes('x'))).rejects.toThrow('not a key');
      }
    });

    spec('never takes its own write for a defeat, also over a crash', async (ctx) => {
      ctx.skip(at.crash === undefined, 'this world cannot crash its server');
      const stop = { now: false };
      const won: { key: string; value: string }[] = [];
      const unknown: PhasorError[] = [];
      const lost: string[] = [];
      const writers = range(8).map(async (writer) => {
        for (let index = 0; !stop.now; index += 1) {
          const key = `crash.${writer}.${index}`;
          const value = `w${writer}`;
          try {
            const written = await bucket.create(key, bytes(value));
            if (written.won) won.push({ key, value });
            else lost.push(key);
          } catch (error) {
            if (!PhasorError.is(error) || !error.retryable) throw error;
            unknown.push(error);
          }
        }
      });
      await eventually(() => won.length > 50, { what: 'some writes' });
      await at.crash?.();
      const before = won.length;
      await eventually(() => won.length > before + 50, { what: 'writes again', timeoutMs: 30_000 });
      stop.now = true;
      await Promise.all(writers);
      expect(lost).toEqual([]);
      // The server was back well within the time a write may take, so every answer was found out.
      expect(unknown).toEqual([]);
      for (const { key, value } of won) expect(valueOf(await bucket.get(key))).toBe(value);
    });
  });
}
