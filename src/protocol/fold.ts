/**
 * The fold of one shard of one pattern: inputs in stream order in, what they imply out (Rule 1). The same code runs in
 * the coordinator, in the auditor and in the simulator; only the sink differs. It reads no clock and does no I/O.
 *
 * Invariants:
 *  F1 an input that changes nothing leaves no trace: not in the run's clock, not in its digest (Rules 1, 2 and 4);
 *  F2 a run leaves memory only after its outcome (or refusal) note has been read back, and a contradicted one only
 *     after an operator acted (Rules 4 and 7);
 *  F3 what names another run, another sender than its subject, or nobody, never reaches a machine (Rule 8);
 *  F4 while a run is frozen nothing is commanded, told or ended; what its state implies follows the thaw (Rule 4).
 */
import { mixDigest } from '../kernel/hash.ts';
import { position, type Position, type RunId } from '../kernel/position.ts';
import type { Decision, OperatorAction, Status } from '../kernel/vocabulary.ts';
import { admit, type ShardFacts } from './admission.ts';
import { boundedWhy } from './bounded.ts';
import type * as wire from './envelopes.ts';
import { deadlineEvent, operatorEvent, reportedEvent } from './fold-events.ts';
import * as rules from './fold-rules.ts';
import type { AttentionItem, Mark, MachineEvent, OutcomeBody, Step } from './machine.ts';
import { FIRST_VERSION, machineOf } from './registry.ts';
import { conflictItem, derived, isOpen, matches, timersOf } from './run.ts';
import type { LatchedSignal, Refusal, RunRecord } from './run.ts';
import type { FoldInput, FoldSink } from './fold-sink.ts';

type VerdictNote = wire.DecidedEnvelope & { readonly kind: 'verdict' };

export class ShardFold {
  /** Every run that has not left memory, by run. */
  readonly runs = new Map<RunId, RunRecord>();
  /** The run that a transaction's id names now: the open one, else the first that waits for its verdict. */
  readonly #named = new Map<string, RunRecord>();
  #version = FIRST_VERSION;
  #survived: readonly rules.Survived[] = [];

  constructor(
    readonly facts: ShardFacts,
    private readonly sink: FoldSink,
  ) {}

  /** Highest machine version enabled so far; part of the checkpoint. */
  get version(): number {
    return this.#version;
  }

  /** The run that this id names now, if it has not left memory. */
  runOf(tx: string): RunRecord | undefined {
    return this.#named.get(tx);
  }

  fold(input: FoldInput): void {
    const { sender, kind } = input.address;
    const trusted = sender === 'coordinator' || sender === 'operator';
    if (trusted && input.natsHeaders)
      return this.sink.dead(input, 'Nats-* headers are not allowed on coordinator and operator inputs');
    if (sender === 'operator') return this.#operator(input, kind as OperatorAction);
    switch (kind) {
      case 'begin':
        return this.#begin(input, input.envelope as wire.BeginEnvelope);
      case 'report':
        return this.#report(input, input.envelope as wire.ReportEnvelope);
      case 'deadline':
        return this.#deadline(input, input.envelope as wire.DeadlineEnvelope);
      case 'decided':
        return this.#decided(input, input.envelope as wire.DecidedEnvelope);
      case 'signal':
        return this.#signal(input, input.envelope as wire.SignalEnvelope);
      case 'cancel':
        return this.#cancel(input, input.envelope as wire.CancelEnvelope);
      case 'enable':
        return this.#enable(input.envelope as wire.EnableEnvelope);
      default:
        this.sink.dead(input, `nobody reads ${kind} from ${sender}`);
    }
  }

  #begin(input: FoldInput, begin: wire.BeginEnvelope): void {
    // A fresh id is only ever sent again as the identical message: a second one is the first.
    if (begin.id === 'fresh' && this.#named.has(begin.tx)) return;
    const { address, timeMs, identified } = input;
    const admission = admit(this.facts, begin, { sender: address.sender, timeMs, identified });
    const machine = machineOf(this.facts.pattern, this.#version);
    if (machine === undefined) {
      this.sink.halt(`machine version ${this.#version} of ${this.facts.pattern} is unknown to this build`);
      return;
    }
    const { pattern } = this.facts;
    const plan = admission.admitted ? admission.plan : undefined;
    const run = rules.recordOf(input, begin, { pattern, machine, plan, named: this.#named.get(begin.tx) });
    this.runs.set(run.facts.run, run);
    if (!this.#named.has(begin.tx)) this.#named.set(begin.tx, run);
    this.sink.accepted(run, input);
    if (!admission.admitted) return this.#refuse(run, admission.refusal);
    if (begin.id === 'own') return this.sink.decided(run, 'verdict');
    this.#activate(run, run.begun);
  }

  #refuse(run: RunRecord, refusal: Refusal): void {
    run.phase = 'refused';
    run.refusal = boundedWhy(refusal);
    this.#announce(run);
  }

  /** The run is admitted: it starts now, or waits for `startAt`, or for its thaw. */
  #activate(run: RunRecord, mark: Mark): void {
    this.#named.set(run.facts.tx, run);
    run.phase = 'scheduled';
    if (run.frozen !== undefined) return;
    const { startAt } = run.begin;
    if (run.earlyCancel !== undefined) {
      return this.#end(run, mark, { status: 'cancelled', code: 'cancelled', message: run.earlyCancel });
    }
    if (startAt !== undefined && startAt > mark.time) return this.sink.armed(run, startAt);
    run.phase = 'active';
    this.#carry(run, run.machine.start(run.facts, mark), mark);
    for (const signal of run.signals) this.#signalled(run, signal, mark);
  }

  #report(input: FoldInput, report: wire.ReportEnvelope): void {
    const run = this.#find(report);
    const isLost = rules.isLostLog(report, this.#survived);
    if (run?.phase !== 'active') {
      for (const code of rules.strayCodes(report, isLost))
        this.#attend(report, code, position(input.seq, input.index));
      return isLost ? this.sink.dead(input, rules.LOST_LOG) : undefined;
    }
    const { sender } = input.address;
    if (rules.ownerOf(run.facts.plan, report.step) !== sender)
      return this.sink.dead(input, `step ${report.step} of this run does not belong to ${sender}`);
    const mark = rules.markOf(run, input);
    if (isLost) run.lost = this.#attend(report, 'lost-log', mark.at);
    this.#apply(run, input, reportedEvent(mark, report));
  }

  #attend({ tx, run, step, phase }: wire.ReportEnvelope, code: string, raised: Position): AttentionItem {
    const item = { step, phase, code, raised };
    this.sink.attend(this.runs.get(run), { tx, run, ...item });
    return item;
  }

  #deadline(input: FoldInput, deadline: wire.DeadlineEnvelope): void {
    const run = this.#find(deadline);
    if (run === undefined) return;
    const mark = rules.markOf(run, input);
    if (run.phase === 'active') this.#apply(run, input, deadlineEvent(mark, deadline));
    else if (rules.isStart(run, deadline, mark)) {
      this.#accept(run, input);
      this.#activate(run, mark);
    }
    this.sink.deadlineRead(run, deadline, mark);
  }

  #signal(input: FoldInput, signal: wire.SignalEnvelope): void {
    const run = this.#find(signal);
    if (run === undefined || !isOpen(run)) return;
    const problem = rules.signalProblem(run, input.address.sender, signal);
    if (problem !== undefined) return this.sink.dead(input, problem);
    if (run.signals.some((latched) => latched.name === signal.name)) return;
    this.#accept(run, input);
    this.#latch(run, signal, rules.markOf(run, input));
  }

  #latch(run: RunRecord, signal: wire.SignalEnvelope, mark: Mark): void {
    const latched = rules.latched(run, signal);
    if (latched !== undefined && run.phase === 'active') this.#signalled(run, latched, mark);
  }

  #signalled(run: RunRecord, signal: LatchedSignal, mark: Mark): void {
    const event = { type: 'signalled', mark, ...signal } as const;
    this.#carry(run, run.machine.step(run.facts, run.state, event), mark);
  }

  #cancel(input: FoldInput, cancel: wire.CancelEnvelope): void {
    const run = this.#find(cancel);
    if (run === undefined || !isOpen(run)) return;
    const { sender } = input.address;
    if (!rules.mayCancel(run, sender)) return this.sink.dead(input, `${sender} may not cancel this run`);
    const mark = rules.markOf(run, input);
    if (run.phase === 'active') {
      return this.#apply(run, input, { type: 'cancelled', mark, reason: cancel.reason });
    }
    if (run.earlyCancel !== undefined) return;
    run.earlyCancel = cancel.reason;
    this.#accept(run, input);
    if (run.phase === 'scheduled') this.#activate(run, mark);
  }

  #enable(enable: wire.EnableEnvelope): void {
    if (enable.machine <= this.#version) return;
    this.#version = enable.machine;
    if (machineOf(this.facts.pattern, enable.machine) === undefined) {
      this.sink.halt(`machine version ${enable.machine} of ${this.facts.pattern} is unknown to this build`);
    }
  }

  #operator(input: FoldInput, action: OperatorAction): void {
    if (action === 'recover') {
      const { survived } = input.envelope as wire.OperatorEnvelopes['recover'];
      this.#survived = rules.recovered(this.#survived, { at: survived, timeMs: input.timeMs });
      return;
    }
    const run = this.#find(input.envelope as { readonly tx: string; readonly run: RunId });
    if (run === undefined) return;
    if (run.frozen !== undefined) this.#thaw(run, input, action);
    else if (action === 'signal') this.#signal(input, input.envelope as wire.SignalEnvelope);
    else if (run.phase === 'active') {
      this.#apply(run, input, operatorEvent(rules.markOf(run, input), action, input.envelope));
    } else if (action === 'cancel') this.#cancel(input, input.envelope as wire.CancelEnvelope);
    else if (action === 'kill' && isOpen(run)) {
      this.#accept(run, input);
      this.#kill(run, input);
    }
  }

  /** Any input of an operator thaws the run. What it implies by itself is still held, and released with the rest. */
  #thaw(run: RunRecord, input: FoldInput, action: Exclude<OperatorAction, 'recover'>): void {
    this.#accept(run, input);
    const mark = rules.markOf(run, input);
    if (action === 'signal') this.#latch(run, input.envelope as wire.SignalEnvelope, mark);
    else if (run.phase === 'active') {
      const event = operatorEvent(mark, action, input.envelope);
      this.#carry(run, run.machine.step(run.facts, run.state, event), mark);
    } else if (action === 'cancel') run.earlyCancel ??= (input.envelope as wire.CancelEnvelope).reason;
    run.frozen = undefined;
    run.thawed = mark.at;
    run.contradicted = undefined;
    if (!isOpen(run)) {
      if (run.noted) this.#leave(run);
      else this.#announce(run);
    } else if (action === 'kill' && run.phase !== 'active') this.#kill(run, input);
    else if (run.phase === 'scheduled') this.#activate(run, mark);
    else if (run.phase === 'active') this.#release(run, mark);
  }

  /** Everything that the state of a thawed run implies. */
  #release(run: RunRecord, mark: Mark): void {
    const { held } = run;
    run.held = undefined;
    for (const dead of run.buried) this.sink.buried(run, dead);
    if (held?.ends === true) return this.#end(run, mark, held.outcome);
    if (held !== undefined) this.#tell(run, held.outcome);
    for (const command of run.machine.outstanding(run.facts, run.state)) this.sink.command(run, command);
    for (const timer of timersOf(run)) this.sink.armed(run, timer.dueMs);
  }

  /** Of a run that has not begun yet. */
  #kill(run: RunRecord, input: FoldInput): void {
    const { reason } = input.envelope as wire.OperatorEnvelopes['kill'];
    // While it awaits its verdict, another run of this id may be open: that one keeps the name.
    if (!this.#named.has(run.facts.tx)) this.#named.set(run.facts.tx, run);
    this.#end(run, rules.markOf(run, input), { status: 'killed', code: 'killed', message: reason });
  }

  #decided(input: FoldInput, note: wire.DecidedEnvelope): void {
    const run = this.#find(note);
    // A note on a run that has left is ignored, also one that contradicts the outcome it left with: this fold no longer
    // knows what it derived. The fold that wrote the note was contradicted in turn, and keeps its run (Rule 4).
    if (run === undefined) return;
    switch (note.kind) {
      case 'verdict':
        return this.#verdict(run, input, note);
      case 'decision':
        if (!matches(run.decision, note)) return this.#contradiction(run, note);
        run.decisionNoted = true;
        return;
      case 'outcome':
        if (!matches(run.outcome, note)) return this.#contradiction(run, note);
        return this.#noted(run);
      case 'conflict':
        if (run.frozen !== undefined) return;
        run.frozen = position(input.seq, input.index);
        this.#accept(run, input);
        this.#raise(run, conflictItem(run.frozen));
    }
  }

  #contradiction(run: RunRecord, note: wire.DecidedEnvelope): void {
    if (run.frozen !== undefined) return;
    run.contradicted ??= note;
    this.sink.contradicted(run, note);
  }

  /** Its own outcome or refusal note was read back. */
  #noted(run: RunRecord): void {
    run.noted = true;
    if (run.contradicted === undefined && run.frozen === undefined) this.#leave(run);
  }

  /** The first verdict on a begin counts (Rule 7). */
  #verdict(run: RunRecord, input: FoldInput, note: VerdictNote): void {
    if (note.at !== run.begun.at) return;
    if (run.phase === 'refused' && note.value === 'refused') return this.#noted(run);
    if (run.phase !== 'awaiting_verdict') return;
    this.#accept(run, input);
    switch (note.value) {
      case 'admit':
        return this.#activate(run, rules.markOf(run, input));
      case 'duplicate': {
        const original = note.of === undefined ? undefined : this.runs.get(note.of);
        if (original !== undefined && original !== run) rules.follow(original, run);
        this.sink.judged(run, 'duplicate', note.of);
        return this.#leave(run);
      }
      case 'mismatch':
        this.sink.judged(run, 'mismatch', note.of);
        return this.#leave(run);
      case 'refused':
        return this.#leave(run);
    }
  }

  #leave(run: RunRecord): void {
    this.runs.delete(run.facts.run);
    if (this.#named.get(run.facts.tx) === run) this.#named.delete(run.facts.tx);
    this.sink.left(run);
  }

  #find(named: { readonly tx: string; readonly run: RunId }): RunRecord | undefined {
    const run = this.runs.get(named.run);
    return run?.facts.tx === named.tx ? run : undefined;
  }

  #apply(run: RunRecord, input: FoldInput, event: MachineEvent): void {
    const step = run.machine.step(run.facts, run.state, event);
    if (step.state === run.state && step.effects.length === 0) return;
    this.#accept(run, input);
    this.#carry(run, step, event.mark);
  }

  /** F1: only here does an input touch the run's clock and digest. */
  #accept(run: RunRecord, input: FoldInput): void {
    if (input.timeMs > run.clockMs) run.clockMs = input.timeMs;
    run.digest = mixDigest(run.digest, input);
    this.sink.accepted(run, input);
  }

  #carry(run: RunRecord, step: Step<unknown>, mark: Mark): void {
    run.state = step.state;
    for (const effect of step.effects) {
      switch (effect.type) {
        case 'command':
          if (run.frozen === undefined) this.sink.command(run, effect);
          break;
        case 'decide':
          run.decision = derived<Decision>(run, mark, effect.value, effect.code);
          this.sink.decided(run, 'decision');
          break;
        case 'tell':
          this.#tell(run, effect.outcome);
          break;
        case 'end':
          this.#end(run, mark, effect.outcome);
          break;
        case 'arm':
          if (run.frozen === undefined) this.sink.armed(run, effect.dueMs);
          break;
        case 'attend':
          this.#raise(run, effect.item);
          break;
        case 'bury': {
          const dead = rules.buriedAt(run, mark, effect.burials);
          if (run.frozen === undefined) this.sink.buried(run, dead);
          break;
        }
      }
    }
  }

  /** The run stays open with attention, but its caller need not wait. */
  #tell(run: RunRecord, outcome: OutcomeBody): void {
    if (run.frozen !== undefined) {
      run.held = { outcome, ends: false };
      return;
    }
    run.toldEarly = boundedWhy(outcome);
    this.sink.told(run, run.toldEarly, false);
  }

  #end(run: RunRecord, mark: Mark, outcome: OutcomeBody): void {
    if (run.frozen !== undefined) {
      run.held = { outcome, ends: true };
      return;
    }
    run.phase = 'ended';
    run.outcomeBody = boundedWhy(outcome);
    run.outcome = derived<Status>(run, mark, outcome.status, outcome.code);
    this.#announce(run);
  }

  /** How the run is over, to be written down and told. */
  #announce(run: RunRecord): void {
    this.sink.decided(run, run.refusal === undefined ? 'outcome' : 'refusal');
    const outcome = rules.endOf(run);
    if (outcome !== undefined) this.sink.told(run, outcome, true);
  }

  #raise(run: RunRecord, item: AttentionItem): void {
    this.sink.attend(run, { ...item, tx: run.facts.tx, run: run.facts.run });
  }
}
