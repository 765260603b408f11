/** The public door: everything a service needs to run transactions, under explicit names. */
export { PhasorError } from './errors/phasor-error.ts';
export type { ErrorDetails } from './errors/phasor-error.ts';
export type { ErrorCode } from './errors/table.ts';
export type { Json } from './kernel/json.ts';
export type { Position, RunId } from './kernel/position.ts';
export type { Answer as ReportAnswer, Pattern, Phase, Status } from './kernel/vocabulary.ts';

export { connect } from './service/connect.ts';
export type { Connection, ConnectOptions, StreamChange, StreamOptions } from './service/connect.ts';
export { createLogger } from './service/logger.ts';
export type { LoggerOptions, LogLevel } from './service/logger.ts';

export { startCoordinator } from './runtime/coordinator.ts';
export type { Coordinator, CoordinatorOptions } from './runtime/coordinator.ts';
export type { ExpiryStrategy } from './reliability/adaptive-expiry.ts';

export { startWorker } from './runtime/worker.ts';
export type { Worker, WorkerOptions } from './runtime/worker.ts';
export { done, heuristic, readOnly, refused, retry } from './runtime/worker-answers.ts';
export type { Answer } from './runtime/worker-answers.ts';
export type { Action, Call, Handler } from './runtime/worker-call.ts';
export type { Barrier, Execution, GuardedCommand, Permit, Reply } from './reliability/barrier.ts';

export { createClient } from './runtime/client/client.ts';
export type { Client, ClientOptions, Sent, SignalRequest } from './runtime/client/client.ts';
export type { BeginRequest } from './runtime/client/begin-request.ts';
export {
  eventual,
  from,
  saga,
  threePhaseCommit,
  threePhaseSaga,
  twoPhaseCommit,
  twoPhaseSaga,
} from './runtime/client/plans.ts';
export type {
  BuiltPlan,
  ChildOptions,
  DelayGate,
  EventualBuilder,
  GateOptions,
  PlanOptions,
  SagaBuilder,
  SagaStepOptions,
  SignalGate,
  StepOptions,
  StepsBuilder,
  TwoPhaseSagaBuilder,
} from './runtime/client/plans.ts';
export type { TransactionHandle } from './runtime/client/transaction-handle.ts';
export type { WatchEvent } from './runtime/client/watch.ts';

export { replayLog } from './runtime/audit.ts';
export type { AuditProblem, ReplayOptions, Story } from './runtime/audit.ts';
export type { StoryEvent } from './runtime/story.ts';

export type {
  BeginEnvelope,
  CommandEnvelope,
  OutcomeEnvelope,
  Plan,
  PlanStep,
  ReportEnvelope,
  RetryPolicy,
} from './protocol/envelopes.ts';
export type { FoundRun } from './protocol/query.ts';

export type { Bus, BusMessage, BusSubscription } from './ports/bus.ts';
export type { Clock, Random, Timeout } from './ports/clock.ts';
export type { Entry, KeyValue, KeyValueStore, WriteOptions, Written } from './ports/key-value.ts';
export type { Log } from './ports/log.ts';
export type { Logger } from './ports/telemetry.ts';
export type { Work } from './ports/work.ts';
export type { World } from './ports/world.ts';
