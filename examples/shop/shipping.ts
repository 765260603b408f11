import { done, refused, type Action, type KeyValue } from '../../src/index.ts';
import { changeRecord, recordOf } from './records.ts';

interface Parcel {
  readonly address: string;
  readonly reservation: string;
}

/** Ships to anywhere on this planet. There is no undo: the plan makes it the point of no return. */
export function shippingActions(records: KeyValue): Readonly<Record<string, Action>> {
  return {
    ship: {
      execute: async (call) => {
        const { address, reservation } = call.input as unknown as Parcel;
        if (/\bmoon\b/i.test(address)) return refused('out-of-reach', 'no carrier goes there');
        const tracking = recordOf(call);
        await changeRecord<Parcel>(records, tracking, (now) =>
          now === undefined ? { address, reservation } : undefined,
        );
        return done({ tracking });
      },
    },
  };
}
