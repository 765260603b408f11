import {
  saga,
  threePhaseCommit,
  twoPhaseCommit,
  type BuiltPlan,
  type StepsBuilder,
} from '../../src/index.ts';
import type { Rupees } from './account.ts';
import type { Bank } from './ledger.ts';

export interface Place {
  readonly bank: Bank;
  readonly account: string;
}

/** Default: 5 s. On a laptop that runs everything at once a commit may take longer without being in doubt. */
const PATIENT = { deadlines: { commit: { lower: 30_000 } } } as const;

export interface Transfer {
  readonly from: Place;
  readonly to: Place;
  readonly amount: Rupees;
}

/** Both banks prepare; the money moves when both can do their part, and not at all otherwise. */
export function transfer({ from, to, amount }: Transfer): BuiltPlan<'2pc'> {
  return twoPhaseCommit('transfer')
    .step('debit', { participant: from.bank, action: 'debit', input: { account: from.account, amount } })
    .step('credit', { participant: to.bank, action: 'credit', input: { account: to.account, amount } })
    .build(PATIENT);
}

/** First takes, then gives; gives back what it took when the other bank refuses. */
export function transferSaga({ from, to, amount }: Transfer): BuiltPlan<'saga'> {
  return saga('transfer')
    .step('debit', { participant: from.bank, action: 'debit', input: { account: from.account, amount } })
    .step('credit', { participant: to.bank, action: 'credit', input: { account: to.account, amount } })
    .build();
}

export interface Consolidation {
  readonly sources: readonly { readonly from: Place; readonly amount: Rupees }[];
  readonly into: Place;
  /** Deducted from the sum. */
  readonly tax: { readonly to: Place; readonly amount: Rupees };
}

/** The money of several banks in one account, less tax: one transaction over all of them. */
export const consolidation = (wanted: Consolidation): BuiltPlan<'2pc'> =>
  consolidate(twoPhaseCommit('consolidation'), wanted);

/** The same for sums that must not hang: were the coordinator lost for long, the banks would end it themselves. */
export const highValueConsolidation = (wanted: Consolidation): BuiltPlan<'3pc'> =>
  consolidate(threePhaseCommit('high-value-consolidation'), wanted);

function consolidate<P extends '2pc' | '3pc'>(
  empty: StepsBuilder<P>,
  { sources, into, tax }: Consolidation,
): BuiltPlan<P> {
  let plan = empty;
  let sum = 0;
  for (const { from, amount } of sources) {
    sum += amount;
    plan = plan.step(`debit-${from.bank}`, {
      participant: from.bank,
      action: 'debit',
      input: { account: from.account, amount },
    });
  }
  return plan
    .step('credit', {
      participant: into.bank,
      action: 'credit',
      input: { account: into.account, amount: sum - tax.amount },
    })
    .step('tax', {
      participant: tax.to.bank,
      action: 'credit',
      input: { account: tax.to.account, amount: tax.amount },
    })
    .build(PATIENT);
}
