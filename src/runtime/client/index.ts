export { createClient, Client, type ClientOptions, type Sent, type SignalRequest } from './client.ts';
export type { BeginRequest } from './begin-request.ts';
export {
  eventual,
  from,
  saga,
  threePhaseCommit,
  threePhaseSaga,
  twoPhaseCommit,
  twoPhaseSaga,
} from './plans.ts';
export type { TransactionHandle } from './transaction-handle.ts';
export type { WatchEvent } from './watch.ts';
