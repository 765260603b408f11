/** Feeds inputs to a `ShardFold` and writes down what it implies; positions and times are filled in. */
import type { Digest } from '../../src/kernel/hash.ts';
import { parseInputSubject } from '../../src/kernel/subjects.ts';
import type { BeginEnvelope, DecidedEnvelope, Plan } from '../../src/protocol/envelopes.ts';
import { ShardFold } from '../../src/protocol/fold.ts';
import type { FoldInput, FoldSink } from '../../src/protocol/fold-sink.ts';
import type { RunRecord } from '../../src/protocol/run.ts';
import type { Pattern } from '../../src/kernel/vocabulary.ts';

const DAY_MS = 86_400_000;
export const T0 = 1_700_000_000_000;
/** A ULID whose time is `T0`. */
export const FRESH = '01HF7YAT000000000000000001';

export const twoSteps: Plan = {
  name: 'transfer',
  steps: [
    { participant: 'debit', action: 'move', input: { amount: 5 } },
    { participant: 'credit', action: 'move', input: { amount: 5 } },
  ],
};

export interface Fed {
  readonly timeMs?: number;
  readonly headers?: 'none' | 'msg-id' | 'other';
}

export class FoldRig implements FoldSink {
  readonly fold: ShardFold;
  /** What was implied, as short lines, in order. */
  readonly implied: string[] = [];
  readonly runs: RunRecord[] = [];
  /** Due times that were armed, in order. */
  readonly due: number[] = [];
  #seq = 0;

  constructor(readonly pattern: Pattern = '2pc') {
    this.fold = new ShardFold(
      { pattern, shard: 0, shards: 1, duplicateWindowMs: 120_000, dedupWindowMs: DAY_MS },
      this,
    );
  }

  /** Folds one envelope published on `{pattern}.{sender}.{kind}.0`; returns the lines it implied. */
  feed(from: string, envelope: object, { timeMs = T0, headers = 'none' }: Fed = {}): readonly string[] {
    const address = parseInputSubject(`${this.pattern}.${from}.0`);
    if (address === undefined) throw new Error(`not an input subject: ${from}`);
    this.#seq += 1;
    const sha: Digest = { hi: this.#seq * 7_919, lo: this.#seq * 104_729 };
    const before = this.implied.length;
    this.fold.fold({
      seq: this.#seq,
      index: 0,
      timeMs,
      address,
      envelope,
      sha,
      natsHeaders: headers !== 'none',
      identified: headers === 'msg-id',
    });
    return this.implied.slice(before);
  }

  get seq(): number {
    return this.#seq;
  }

  begin(more: Partial<BeginEnvelope> = {}, fed: Fed = {}): readonly string[] {
    const envelope: BeginEnvelope = { v: 1, tx: FRESH, id: 'fresh', shards: 1, plan: twoSteps, ...more };
    return this.feed('client.begin', envelope, { headers: 'msg-id', ...fed });
  }

  /** A report of the last begun run. */
  report(step: string, phase: string, more: object = {}, fed: Fed = {}): readonly string[] {
    const cause = { at: '1.0', time: T0 };
    const report = { ...this.named(), step, phase, attempt: 1, cause, answer: 'done', ...more };
    return this.feed(`${step}.report`, report, fed);
  }

  named(run = this.runs.at(-1)): { v: 1; tx: string; run: string } {
    return { v: 1, tx: run?.facts.tx ?? 'none', run: run?.facts.run ?? '1.0.0' };
  }

  command(_run: RunRecord, command: { step: string; phase: string; attempt: number }): void {
    this.implied.push(`command ${command.step} ${command.phase} ${command.attempt}`);
  }
  decided(run: RunRecord, what: string): void {
    const value =
      what === 'decision' ? run.decision?.value : what === 'outcome' ? run.outcome?.value : run.refusal?.code;
    this.implied.push(`${what}${value === undefined ? '' : ` ${value}`}`);
  }
  contradicted(_run: RunRecord, note: DecidedEnvelope): void {
    this.implied.push(`contradicted ${note.kind}`);
  }
  told(_run: RunRecord, outcome: { status: string }, ended: boolean): void {
    this.implied.push(`told ${outcome.status}${ended ? '' : ' early'}`);
  }
  judged(_run: RunRecord, verdict: string): void {
    this.implied.push(`judged ${verdict}`);
  }
  buried(_run: RunRecord, { burials }: { burials: readonly { command: { step: string } }[] }): void {
    this.implied.push(`buried ${burials.map(({ command }) => command.step).join(' ')}`);
  }
  armed(_run: RunRecord, dueMs: number): void {
    this.due.push(dueMs);
  }
  attend(_run: RunRecord | undefined, item: { code: string }): void {
    this.implied.push(`attend ${item.code}`);
  }
  accepted(run: RunRecord, input: FoldInput): void {
    if (!this.runs.includes(run)) this.runs.push(run);
    this.implied.push(`accepted ${input.address.kind}`);
  }
  deadlineRead(): void {
    // The phase monitor's business.
  }
  left(): void {
    this.implied.push('left');
  }
  dead(_input: FoldInput, problem: string): void {
    this.implied.push(`dead: ${problem}`);
  }
  halt(why: string): void {
    this.implied.push(`halt: ${why}`);
  }
}
