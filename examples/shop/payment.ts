import { done, refused, retry, type Action, type Answer, type Call, type KeyValue } from '../../src/index.ts';
import { changeRecord, recordOf } from './records.ts';

interface Payment {
  readonly amount: number;
  readonly state: 'authorised' | 'charged' | 'voided' | 'refunded';
}

/** Attempts that find the bank's gateway busy. */
const FLAKY_ATTEMPTS = 2;

/** Payment by a gateway that seldom works at the first try: the plan's retry policy deals with it. */
export function paymentActions(records: KeyValue): Readonly<Record<string, Action>> {
  const authorise = async (call: Call): Promise<Answer> => {
    const { amount } = call.input as { readonly amount: number };
    const payment = recordOf(call);
    await changeRecord<Payment>(records, payment, (now) =>
      now === undefined ? { amount, state: 'authorised' } : undefined,
    );
    return done({ payment });
  };
  const isAuthorised = async (call: Call): Promise<Answer> => {
    const payment = await changeRecord<Payment>(records, recordOf(call), () => undefined);
    return payment?.state === 'authorised' ? done({ payment: recordOf(call) }) : refused('stale');
  };
  const become = async (call: Call, from: Payment['state'], to: Payment['state']): Promise<Answer> => {
    await changeRecord<Payment>(records, recordOf(call), (now) =>
      now?.state === from ? { ...now, state: to } : undefined,
    );
    return done({ payment: recordOf(call) });
  };
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
    /** Authorised first, charged later, for 2PS and 3PS. */
    pay: {
      prepare: authorise,
      reserve: authorise,
      verify: isAuthorised,
      validate: isAuthorised,
      execute: (call) => become(call, 'authorised', 'charged'),
      cancel: (call) => become(call, 'authorised', 'voided'),
      release: (call) => become(call, 'authorised', 'voided'),
      compensate: async (call) => {
        await become(call, 'authorised', 'voided');
        return become(call, 'charged', 'refunded');
      },
    },
  };
}
