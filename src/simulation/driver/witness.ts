/** Sees what barriers and handlers do, from outside: it outlives every crash and nobody depends on it. */
import type { Phase } from '../../kernel/vocabulary.ts';
import {
  recordWrite,
  type BarrierEvidence,
  type Execution,
  type RecordWrite,
  type Trouble,
} from '../checkers/barrier-evidence.ts';
import type { TraceEvent } from '../trace.ts';

const BARRIERS = '$KV.DTX_BARRIER_';
/** After its end, until connections are made again, questions asked again, and timers of a paused node caught up. */
const GRACE_MS = 8_000;
const NORMAL_LATENCY_MS = 2;

/** What begins a trouble, and what ends it. */
const BEGINS: ReadonlyMap<string, string> = new Map([
  ['crash', 'life'],
  ['pause', 'pause'],
  ['partition', 'link'],
  ['broker-crash', 'life'],
  ['broker-pause', 'pause'],
  ['leader-lost', 'leader'],
]);
const ENDS: ReadonlyMap<string, string> = new Map([
  ['start', 'life'],
  ['resume', 'pause'],
  ['heal', 'link'],
  ['broker-start', 'life'],
  ['broker-resume', 'pause'],
  ['leader', 'leader'],
]);
/** Publishes of the barrier that got lost, and connections that were reset: over at once. */
const MOMENTS: ReadonlySet<string> = new Set([
  'lose',
  'lose-answer',
  'overrun',
  'cut',
  'leader',
  'main-failed',
]);

/** A handler's call in progress. */
export interface Watched {
  answered(answer: string): void;
}

export class Witness {
  readonly #writes: (Pick<RecordWrite, 'atMs' | 'timeMs' | 'node'> & { key: string; data: Uint8Array })[] =
    [];
  readonly #executions: Execution[] = [];
  readonly #troubles: Trouble[] = [];
  /** Since when, by what and where. */
  readonly #since = new Map<string, number>();
  readonly #trusting = new Set<string>();
  /** Of each node: it may have a new one before the broker has given the old one up. */
  readonly #sessions = new Map<string, Set<number>>();

  /** @param bucketMs the broker's clock at that moment. */
  see({ type, where, number, detail = '', data, atMs }: TraceEvent, bucketMs: number): void {
    if (type === 'stored' && data !== undefined && where.startsWith(BARRIERS)) {
      const key = where.slice(where.indexOf('.', BARRIERS.length) + 1);
      this.#writes.push({ key, data, atMs, timeMs: bucketMs, node: detail });
      return;
    }
    if (MOMENTS.has(type)) this.#trouble(where, atMs, atMs);
    if (type === 'latency') this.#turn('latency', number > NORMAL_LATENCY_MS, { where, atMs });
    else if (type === 'session' || type === 'session-over')
      this.#session(type === 'session', number, { where, atMs });
    const [begins, ends] = [BEGINS.get(type), ENDS.get(type)];
    if (begins !== undefined) this.#turn(begins, true, { where, atMs });
    if (ends !== undefined) this.#turn(ends, false, { where, atMs });
  }

  #session(isOpen: boolean, id: number, at: { readonly where: string; readonly atMs: number }): void {
    const open = this.#sessions.get(at.where) ?? new Set();
    this.#sessions.set(at.where, open);
    if (isOpen) open.add(id);
    else open.delete(id);
    this.#turn('session', open.size === 0, at);
  }

  #turn(what: string, on: boolean, { where, atMs }: { readonly where: string; readonly atMs: number }): void {
    const name = `${what} ${where}`;
    const since = this.#since.get(name);
    if (on && since === undefined) this.#since.set(name, atMs);
    if (on || since === undefined) return;
    this.#since.delete(name);
    this.#trouble(where, since, atMs);
  }

  trusts(participant: string): void {
    this.#trusting.add(participant);
  }

  called(call: { key: string; phase: Phase; attempt: number; node: string; startMs: number }): Watched {
    const execution: Execution = { ...call, answer: undefined };
    this.#executions.push(execution);
    return {
      answered: (answer) => {
        execution.answer = answer;
      },
    };
  }

  evidence(nowMs: number): BarrierEvidence {
    const records = new Map<string, RecordWrite[]>();
    for (const { key, data, ...seen } of this.#writes) {
      const write = recordWrite(data, seen);
      if (write === undefined) continue;
      const known = records.get(key);
      if (known === undefined) records.set(key, [write]);
      else known.push(write);
    }
    const troubles = [...this.#troubles];
    for (const [what, fromMs] of this.#since)
      troubles.push({ where: what.slice(what.indexOf(' ') + 1), fromMs, toMs: nowMs });
    return { records, troubles, executions: this.#executions, trusting: this.#trusting };
  }

  #trouble(where: string, fromMs: number, toMs: number): void {
    this.#troubles.push({ where, fromMs, toMs: toMs + GRACE_MS });
  }
}
