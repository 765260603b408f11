import { done, retry, type Action, type KeyValue } from '../../src/index.ts';
import { changeRecord, recordOf } from './records.ts';

interface Payment {
  readonly amount: number;
  readonly state: 'charged' | 'refunded';
}

/** Attempts that find the bank's gateway busy. */
const FLAKY_ATTEMPTS = 2;

/** Payment by a gateway that seldom works at the first try: the plan's retry policy deals with it. */
export function paymentActions(records: KeyValue): Readonly<Record<string, Action>> {
  return {
    charge: {
      execute: async (call) => {
        if (call.attempt <= FLAKY_ATTEMPTS) return retry('gateway-busy');
        const { amount } = call.input as { readonly amount: number };
        const payment = recordOf(call);
        await changeRecord<Payment>(records, payment, (now) =>
          now === undefined ? { amount, state: 'charged' } : undefined,
        );
        return done({ payment });
      },
      compensate: async (call) => {
        await changeRecord<Payment>(records, recordOf(call), (now) =>
          now?.state === 'charged' ? { ...now, state: 'refunded' } : undefined,
        );
        return done();
      },
    },
  };
}
