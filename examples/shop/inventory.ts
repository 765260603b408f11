import {
  done,
  refused,
  type Action,
  type Answer,
  type Call,
  type Json,
  type KeyValue,
} from '../../src/index.ts';
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

/** How long a reservation is kept for somebody who does not say more. */
const RESERVATION_MS = 10 * 60_000;

export function inventoryActions(records: KeyValue): Readonly<Record<string, Action>> {
  const putAside = async (call: Call): Promise<Answer> => {
    const { item, quantity } = readInput(call.input);
    const reservation = recordOf(call);
    const shelf = await changeRecord<Shelf>(records, item, (now) => {
      if (now === undefined || now.reserved[reservation] !== undefined) return undefined;
      if (now.stock < quantity) return undefined;
      return { stock: now.stock - quantity, reserved: { ...now.reserved, [reservation]: quantity } };
    });
    if (shelf?.reserved[reservation] === undefined) return refused('out-of-stock', `not enough of ${item}`);
    const expiresAtMs = call.serverTimeMs + RESERVATION_MS;
    return call.phase === 'reserve'
      ? done({ item, reservation }, { expiresAtMs })
      : done({ item, reservation });
  };
  const putBack = async (call: Call): Promise<Answer> => {
    const { item } = readInput(call.input);
    await changeRecord<Shelf>(records, item, (now) => {
      const { [recordOf(call)]: quantity, ...reserved } = now?.reserved ?? {};
      return now === undefined || quantity === undefined
        ? undefined
        : { stock: now.stock + quantity, reserved };
    });
    return done();
  };
  const isStillAside = async (call: Call): Promise<Answer> => {
    const { item, reservation } = call.output as { readonly item: string; readonly reservation: string };
    const shelf = await changeRecord<Shelf>(records, item, () => undefined);
    return shelf?.reserved[reservation] === undefined ? refused('stale') : done({ item, reservation });
  };
  return {
    /** In one go, for sagas. */
    reserve: { execute: putAside, compensate: putBack },
    /** Put aside first, handed over later, for 2PS and 3PS. */
    sell: {
      prepare: putAside,
      reserve: putAside,
      verify: isStillAside,
      validate: isStillAside,
      execute: isStillAside,
      cancel: putBack,
      release: putBack,
      compensate: putBack,
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
