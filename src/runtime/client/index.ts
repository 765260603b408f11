export { createClient, Client, type ClientOptions, type Sent, type SignalRequest } from './client.ts';
export type { BeginRequest } from './begin-request.ts';
export {
  from,
  saga,
  twoPhaseCommit,
  type BuiltPlan,
  type PlanOptions,
  type SagaBuilder,
  type SagaStepOptions,
  type StepOptions,
  type TwoPhaseCommitBuilder,
} from './plans.ts';
export type { TransactionHandle } from './transaction-handle.ts';
export type { WatchEvent } from './watch.ts';
