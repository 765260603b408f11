/** Small JSON records in a bucket, changed by compare-and-set. */
import type { Call, KeyValue } from '../../src/index.ts';
import type { ShopService } from './plans.ts';

export const bucketOf = (service: ShopService): string => `SHOP_${service}`;

/** Key of a step's own record: the same over attempts, redeliveries and its undo. */
export const recordOf = ({ run, step }: Call): string => `${run}.${step}`;

/**
 * Changes a record until nobody else changed it in between. Losing a race means to look at what won.
 *
 * @param change undefined leaves it as it is.
 * @returns what is stored in the end.
 */
export async function changeRecord<T extends object>(
  records: KeyValue,
  key: string,
  change: (now: T | undefined) => T | undefined,
): Promise<T | undefined> {
  for (;;) {
    const entry = await records.get(key);
    const now = entry === undefined ? undefined : (JSON.parse(Buffer.from(entry.value).toString()) as T);
    const next = change(now);
    if (next === undefined) return now;
    const value = Buffer.from(JSON.stringify(next));
    const written =
      entry === undefined
        ? await records.create(key, value)
        : await records.update(key, value, { revision: entry.revision });
    if (written.won) return next;
  }
}
