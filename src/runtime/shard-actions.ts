/** Carries out what a shard's fold implies, while the shard is live; while it is not, remembers which runs moved. */
import { parsePosition, type RunId } from '../kernel/position.ts';
import { subjects, type Subject } from '../kernel/subjects.ts';
import { isUndoPhase, type Pattern } from '../kernel/vocabulary.ts';
import type { RunExpiry } from '../reliability/adaptive-expiry.ts';
import type { PhaseMonitor } from '../reliability/phase-monitor.ts';
import type { World } from '../ports/world.ts';
import type { ShardFacts } from '../protocol/admission.ts';
import type { DeadlineEnvelope, DecidedEnvelope } from '../protocol/envelopes.ts';
import type { FoldInput, FoldSink } from '../protocol/fold-sink.ts';
import type { ShardFold } from '../protocol/fold.ts';
import type { AttentionItem, CommandEffect, Mark, OutcomeBody, Timer } from '../protocol/machine.ts';
import { endOf } from '../protocol/fold-rules.ts';
import type { Buried, ParentRef, RunRecord } from '../protocol/run.ts';
import type { Batcher } from './batcher.ts';
import type { Children } from './children.ts';
import { letterData, lettersOf, type DeadLetter } from './dead-letters.ts';
import {
  commandText,
  conflictNote,
  decisionNote,
  outcomeEnvelope,
  outcomeNote,
  outcomeText,
  refusalNote,
  verdictNote,
} from './notes.ts';
import type { OutcomeKeys } from './outcome-keys.ts';
import type { RecentOutcomes } from './recent-outcomes.ts';

/** What the shards of one pattern share. */
export interface PatternResources {
  readonly world: World;
  readonly pattern: Pattern;
  readonly dedupWindowMs: number;
  readonly commands: Batcher;
  /** Isolated commands: one a message, or the poison would share it with its neighbours again. */
  readonly alone: Batcher;
  readonly inputs: Batcher;
  readonly monitor: PhaseMonitor;
  /** Undefined: deadlines pass at their lower bound. */
  readonly expiry: RunExpiry | undefined;
  readonly keys: OutcomeKeys;
  readonly recent: RecentOutcomes;
  readonly children: Children;
  /** `stored` is called once the letter is durable. */
  readonly deadLetter: (letter: DeadLetter, stored?: () => void) => void;
  readonly onHalt: (why: string) => void;
}

const KEY_RETRY_MS = 500;
const bodyOf = (envelope: string): Buffer => Buffer.from(`[${envelope}]`);

export class ShardActions implements FoldSink {
  /** Rule 6: false until the head is reached, and again from a lost subscription to the next head. */
  live = false;
  readonly #shared: PatternResources;
  readonly #shard: ShardFacts;
  readonly #decidedSubject: Subject;
  readonly #deadlineSubject: Subject;
  readonly #commandSubjects = new Map<string, Subject>();
  /** Runs that moved while not live. */
  readonly #moved = new Set<RunRecord>();
  /** Resolve once everything that died so far in a run is stored. */
  readonly #graves = new WeakMap<RunRecord, Promise<unknown>>();
  #closed = false;

  constructor(shared: PatternResources, shard: ShardFacts) {
    this.#shared = shared;
    this.#shard = shard;
    this.#decidedSubject = subjects.input(shard.pattern, 'coordinator', 'decided', shard.shard);
    this.#deadlineSubject = subjects.input(shard.pattern, 'coordinator', 'deadline', shard.shard);
  }

  close(): void {
    this.live = false;
    this.#closed = true;
  }

  /** At the head: sends once what the log implies above `resumeSeq` and nobody has answered yet (S2). */
  catchUp(fold: ShardFold, resumeSeq: number): void {
    const runs = resumeSeq === 0 ? fold.runs.values() : this.#moved.values();
    for (const run of runs) if (fold.runs.has(run.facts.run)) this.#resume(run, resumeSeq);
    this.#moved.clear();
  }

  #resume(run: RunRecord, resumeSeq: number): void {
    if (run.frozen !== undefined) return;
    if (run.contradicted !== undefined) {
      return this.#append(this.#decidedSubject, conflictNote(run, run.contradicted));
    }
    // What an operator's thaw released counts from there, however old its causes are.
    const thawed = run.thawed !== undefined && parsePosition(run.thawed).seq > resumeSeq;
    const isNew = (at: string): boolean => thawed || parsePosition(at).seq > resumeSeq;
    if (run.decision !== undefined && !run.decisionNoted && isNew(run.decision.at)) {
      this.decided(run, 'decision');
    }
    for (const dead of run.buried) if (isNew(dead.at)) this.buried(run, dead);
    switch (run.phase) {
      case 'awaiting_verdict':
        if (isNew(run.begun.at)) this.decided(run, 'verdict');
        break;
      case 'active':
        for (const command of run.machine.outstanding(run.facts, run.state)) {
          if (isNew(command.cause.at)) this.command(run, command);
        }
        if (run.toldEarly !== undefined) this.told(run, run.toldEarly, false);
        break;
      case 'ended':
        if (run.outcome === undefined || run.outcomeBody === undefined || !isNew(run.outcome.at)) break;
        this.decided(run, 'outcome');
        this.told(run, run.outcomeBody, true);
        break;
      case 'refused':
        if (run.refusal === undefined || !isNew(run.begun.at)) break;
        this.decided(run, 'refusal');
        this.told(run, { status: 'refused', ...run.refusal }, true);
        break;
      case 'scheduled':
        break;
    }
    this.#shared.monitor.look(run);
  }

  command(run: RunRecord, command: CommandEffect): void {
    if (!this.live) {
      this.#moved.add(run);
      return;
    }
    if (run.contradicted !== undefined) return;
    const { world, commands, alone, children } = this.#shared;
    if (command.child !== undefined) children.begin(run, command);
    else {
      const subject = this.#commandSubject(command);
      (command.alone === true ? alone : commands).add(subject, commandText(run, command, this.#shard.shard));
    }
    world.passing(command.phase === 'commit' ? 'c6' : isUndoPhase(command.phase) ? 'c16' : 'c3');
  }

  #commandSubject({ participant, phase }: CommandEffect): Subject {
    const key = `${participant}.${phase}`;
    let subject = this.#commandSubjects.get(key);
    if (subject === undefined) {
      subject = subjects.command(this.#shard.pattern, participant, phase);
      this.#commandSubjects.set(key, subject);
    }
    return subject;
  }

  decided(run: RunRecord, what: 'decision' | 'outcome' | 'refusal' | 'verdict'): void {
    if (!this.live) {
      this.#moved.add(run);
      return;
    }
    switch (what) {
      case 'decision':
        this.#shared.world.passing('c5');
        return this.#append(this.#decidedSubject, decisionNote(run));
      case 'refusal':
        if (run.begin.parent === undefined) return this.#append(this.#decidedSubject, refusalNote(run));
        return this.#inBackground(run, 'report to the parent', () => this.#finish(run));
      case 'verdict':
        return this.#inBackground(run, 'verdict', () => this.#judge(run));
      case 'outcome':
        this.#shared.world.passing('c7');
        if (run.begin.id === 'fresh' && run.buried.length === 0)
          return this.#append(this.#decidedSubject, outcomeNote(run, undefined));
        return this.#inBackground(run, 'end', () => this.#finish(run));
    }
  }

  contradicted(run: RunRecord, note: DecidedEnvelope): void {
    const { tx, run: id } = run.facts;
    const { decision, outcome } = run;
    this.#shared.world.logger.error({ tx, run: id, note, decision, outcome }, 'contradiction');
    if (this.live) this.#append(this.#decidedSubject, conflictNote(run, note));
    else this.#moved.add(run);
  }

  told(run: RunRecord, outcome: OutcomeBody, ended: boolean): void {
    const body = bodyOf(outcomeText(run, outcome));
    const { tx } = run.facts;
    if (ended) this.#shared.recent.add(tx, body);
    if (!this.live) {
      this.#moved.add(run);
      return;
    }
    if (ended) this.#shared.expiry?.ended(run);
    this.#shared.world.passing('c8');
    if (run.begin.reply?.includes('outcome') !== false) this.#tell(tx, body);
    if (ended && run.duplicates > 0) this.#tell(tx, bodyOf(outcomeText(run, outcome, true)));
  }

  judged(run: RunRecord, verdict: 'duplicate' | 'mismatch', of: RunId | undefined): void {
    if (!this.live) return;
    const { tx } = run.facts;
    const { parent } = run.begin;
    if (verdict === 'mismatch') {
      const message = `this id names run ${of ?? 'unknown'}, begun with another plan`;
      const outcome: OutcomeBody = { status: 'mismatch', code: 'plan-differs', message };
      if (parent === undefined) return this.#tell(tx, bodyOf(outcomeText(run, outcome)));
      return this.#inBackground(run, 'mismatch', () => this.#report(run, [parent], outcome));
    }
    this.#inBackground(run, 'duplicate', async () => {
      const { keys, pattern, recent } = this.#shared;
      // A fresh run has no key; while it is open it tells its duplicates itself.
      const found = run.beside === undefined ? await keys.find(pattern, tx) : endedIn(recent, tx, of);
      // Without an outcome the run is still open, and tells its duplicates when it ends: it reads who they are after
      // it has written the outcome here.
      if (found?.outcome === undefined) return;
      const { outcome } = found;
      if (parent !== undefined)
        await this.#shared.children.report(parent, { pattern, tx, run: found.run, outcome });
      else this.#tell(tx, bodyOf(JSON.stringify({ ...outcome, duplicate: true })));
    });
  }

  buried(run: RunRecord, dead: Buried): void {
    if (!this.live) {
      this.#moved.add(run);
      return;
    }
    const stored = lettersOf(run, dead, this.#shard.shard).map(
      (letter) => new Promise<void>((resolve) => this.#shared.deadLetter(letter, resolve)),
    );
    this.#graves.set(run, Promise.all([this.#graves.get(run), ...stored]));
  }

  armed(run: RunRecord, dueMs: number): void {
    if (this.live) this.#shared.monitor.arm(run, dueMs);
    else this.#moved.add(run);
  }

  deadlineRead(run: RunRecord, deadline: DeadlineEnvelope, mark: Mark): void {
    this.#shared.monitor.read(run, deadline, mark);
  }

  attend(
    _run: RunRecord | undefined,
    item: AttentionItem & { readonly tx: string; readonly run: RunId },
  ): void {
    if (this.live) this.#shared.world.logger.warn({ ...item, pattern: this.#shard.pattern }, 'attention');
  }

  accepted(_run: RunRecord, input: FoldInput): void {
    if (!this.live) return;
    if (input.address.kind === 'report') this.#shared.expiry?.reported(input);
    else if (input.address.sender === 'operator') this.#shared.world.passing('c17');
  }

  left(run: RunRecord): void {
    this.#shared.monitor.forget(run);
    this.#moved.delete(run);
  }

  dead(input: FoldInput, problem: string): void {
    const { pattern, sender, kind, shard } = input.address;
    this.deadLetter({
      position: `${input.seq}.${input.index}`,
      subject: subjects.input(pattern, sender, kind, shard),
      problem,
      data: letterData(input.envelope, new Uint8Array()),
    });
  }

  /** Also during replay: the letter is keyed by its position, so a repeated one is the same letter. */
  deadLetter(letter: Omit<DeadLetter, 'pattern' | 'participant'>): void {
    this.#shared.deadLetter({ ...letter, pattern: this.#shard.pattern, participant: 'coordinator' });
  }

  halt(why: string): void {
    this.#shared.onHalt(why);
  }

  /** Appends the deadline input of a timer; whether it counts is decided where it stands in the log (Rule 2). */
  fire(run: RunRecord, timer: Timer): void {
    this.#shared.world.passing('c9');
    const { dueMs: _, ...named } = timer;
    const { tx, run: id } = run.facts;
    const text = JSON.stringify({ v: 1, tx, run: id, ...named } satisfies DeadlineEnvelope);
    this.#shared.inputs.add(this.#deadlineSubject, text, (stored) => {
      if ('at' in stored) this.#shared.world.passing('c10');
    });
  }

  #append(subject: Subject, text: string): void {
    this.#shared.inputs.add(subject, text);
  }

  #tell(tx: string, body: Buffer): void {
    this.#shared.world.bus.publish(subjects.outcome(tx), body);
  }

  async #judge(run: RunRecord): Promise<void> {
    const { keys, pattern } = this.#shared;
    const { tx, run: id } = run.facts;
    const begin = { pattern, tx, run: id, beginMs: run.begun.time, plan: run.begin.plan };
    const judged = run.beside ?? (await keys.judge(begin));
    this.#append(this.#decidedSubject, verdictNote(run, judged));
  }

  /**
   * The note that lets a run leave memory follows whatever must not be lost with it: its dead letters, its key (Rule 7),
   * and what its parents wait for, which are read only after the key tells everyone else how it ended.
   */
  async #finish(run: RunRecord): Promise<void> {
    const { world } = this.#shared;
    const outcome = endOf(run);
    if (outcome === undefined) return;
    await this.#graves.get(run);
    const until = run.begin.id === 'own' && run.refusal === undefined ? await this.#storeKey(run) : undefined;
    const { parent } = run.begin;
    if (parent !== undefined) {
      world.passing('c18');
      await this.#report(run, [parent, ...run.parents], outcome);
    }
    const note = run.refusal === undefined ? outcomeNote(run, until) : refusalNote(run);
    this.#append(this.#decidedSubject, note);
  }

  async #report(run: RunRecord, parents: readonly ParentRef[], outcome: OutcomeBody): Promise<void> {
    const { pattern, tx, run: id } = run.facts;
    const child = { pattern, tx, run: id, outcome };
    await Promise.all(parents.map((parent) => this.#shared.children.report(parent, child)));
  }

  /** Resolves with the end of the id's dedup window. */
  async #storeKey(run: RunRecord): Promise<number | undefined> {
    const { keys, pattern, dedupWindowMs } = this.#shared;
    if (run.outcome === undefined || run.outcomeBody === undefined) return undefined;
    const until = run.outcome.time + dedupWindowMs;
    const outcome = outcomeEnvelope(run, run.outcomeBody);
    await keys.end({ pattern, outcome, plan: run.begin.plan, until });
    return until;
  }

  /** Retries for as long as this process lives: a successor would do the same from the log. */
  #inBackground(run: RunRecord, what: string, work: () => Promise<void>): void {
    const { world } = this.#shared;
    work().catch((err: unknown) => {
      if (this.#closed) return;
      world.logger.warn(
        { err, tx: run.facts.tx, what },
        'what must precede a note was not stored; trying again',
      );
      world.clock.after(KEY_RETRY_MS, () => {
        if (!this.#closed) this.#inBackground(run, what, work);
      });
    });
  }
}

function endedIn(recent: RecentOutcomes, tx: string, of: RunId | undefined) {
  const outcome = recent.find(tx);
  return outcome !== undefined && outcome.run === of ? { run: outcome.run, outcome } : undefined;
}
