/** The pure rule by which a begin in the log is refused (Rules 7 and 9): its content and its stream time alone. */
import { shardOf } from '../kernel/hash.ts';
import { ulidTimeMs } from '../kernel/ids.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import { quoted } from './bounded.ts';
import type { CompiledPlan } from './compiled-plan.ts';
import type { BeginEnvelope } from './envelopes.ts';
import { compilePlan } from './plan.ts';
import type { Refusal } from './run.ts';

export interface ShardFacts {
  readonly pattern: Pattern;
  readonly shard: number;
  readonly shards: number;
  readonly duplicateWindowMs: number;
  /** How long an own id is remembered after its end (Rule 7). */
  readonly dedupWindowMs: number;
}

export interface BeginArrival {
  readonly sender: string;
  readonly timeMs: number;
  /** Whether the message carried a `Nats-Msg-Id`. */
  readonly identified: boolean;
}

export type Admission =
  | { readonly admitted: true; readonly plan: CompiledPlan }
  | { readonly admitted: false; readonly refusal: Refusal };

const refuse = (code: string, message: string): Admission => ({
  admitted: false,
  refusal: { code, message },
});

export function admit(shard: ShardFacts, begin: BeginEnvelope, arrival: BeginArrival): Admission {
  if (begin.shards !== shard.shards) {
    return refuse('shards-mismatch', `the stream has ${shard.shards} shards, the begin says ${begin.shards}`);
  }
  if (shardOf(begin.tx, shard.shards) !== shard.shard) {
    return refuse('wrong-shard', `this id belongs to shard ${shardOf(begin.tx, shard.shards)}`);
  }
  if (begin.parent !== undefined && arrival.sender !== 'coordinator') {
    return refuse('parent-not-allowed', 'only a coordinator may begin a child');
  }
  if (begin.parent !== undefined && arrival.timeMs - begin.parent.since > shard.dedupWindowMs / 2) {
    // Beyond the window the outcome key of an earlier begin may be gone: this one could run the child once more.
    return refuse('stale', 'the act that this child stands for began too long ago');
  }
  if (begin.id === 'fresh') {
    const refusal = freshProblem(shard, begin, arrival);
    if (refusal !== undefined) return { admitted: false, refusal };
  }
  const compiled = compilePlan(shard.pattern, begin.plan);
  if (!compiled.ok) {
    const { field, problem } = compiled.problem;
    return refuse('plan-invalid', `${quoted(field)}: ${problem}`);
  }
  return { admitted: true, plan: compiled.plan };
}

/** A fresh id needs no key because the server's duplicate window covers every retry of its one message. */
function freshProblem(shard: ShardFacts, begin: BeginEnvelope, arrival: BeginArrival): Refusal | undefined {
  if (!arrival.identified)
    return { code: 'msg-id-missing', message: 'a fresh begin needs a Nats-Msg-Id header' };
  const time = ulidTimeMs(begin.tx);
  if (time === undefined) return { code: 'not-a-ulid', message: 'a fresh id is a ULID' };
  const skewMs = time - arrival.timeMs;
  if (Math.abs(skewMs) <= shard.duplicateWindowMs / 2) return undefined;
  return {
    code: 'clock-skew',
    message: `the id's time is ${skewMs} ms from the stream's time ${arrival.timeMs}`,
  };
}
