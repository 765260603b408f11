import { done, refused, type Action, type Json, type KeyValue } from '../../src/index.ts';
import { changeRecord, recordOf } from './records.ts';

/** One item: what lies on the shelf, and what is put aside for whom. */
interface Shelf {
  readonly stock: number;
  readonly reserved: Readonly<Record<string, number>>;
}

/** Stocks items that the shop does not know yet. */
export async function stockItems(records: KeyValue, stock: Readonly<Record<string, number>>): Promise<void> {
  for (const [item, count] of Object.entries(stock)) {
    await changeRecord<Shelf>(records, item, (now) =>
      now === undefined ? { stock: count, reserved: {} } : undefined,
    );
  }
}

export function inventoryActions(records: KeyValue): Readonly<Record<string, Action>> {
  return {
    reserve: {
      execute: async (call) => {
        const { item, quantity } = readInput(call.input);
        const reservation = recordOf(call);
        const shelf = await changeRecord<Shelf>(records, item, (now) => {
          if (now === undefined || now.reserved[reservation] !== undefined) return undefined;
          if (now.stock < quantity) return undefined;
          return { stock: now.stock - quantity, reserved: { ...now.reserved, [reservation]: quantity } };
        });
        const isReserved = shelf?.reserved[reservation] !== undefined;
        return isReserved ? done({ reservation }) : refused('out-of-stock', `not enough of ${item}`);
      },
      compensate: async (call) => {
        const { item } = readInput(call.input);
        await changeRecord<Shelf>(records, item, (now) => {
          const { [recordOf(call)]: quantity, ...reserved } = now?.reserved ?? {};
          return now === undefined || quantity === undefined
            ? undefined
            : { stock: now.stock + quantity, reserved };
        });
        return done();
      },
    },
  };
}

/** The plan is the shop's own: what does not look like it is a programming error, reported as such. */
function readInput(input: Json | undefined): { readonly item: string; readonly quantity: number } {
  const { item, quantity } = (input ?? {}) as { readonly item?: unknown; readonly quantity?: unknown };
  if (typeof item !== 'string' || !/^[a-z][a-z0-9-]*$/.test(item)) throw new TypeError('item: not a name');
  if (typeof quantity !== 'number' || !Number.isSafeInteger(quantity) || quantity < 1)
    throw new TypeError('quantity: a whole number above 0');
  return { item, quantity };
}
