/** Audit is replay: the same fold as the coordinator's over the same log, with a sink that only writes the story down. */
import type { Position, RunId } from '../kernel/position.ts';
import { position } from '../kernel/position.ts';
import { shardOf } from '../kernel/hash.ts';
import { streamOf, subjects } from '../kernel/subjects.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { LogMessage, StreamState } from '../ports/log.ts';
import type { World } from '../ports/world.ts';
import type { DecidedEnvelope, OutcomeEnvelope } from '../protocol/envelopes.ts';
import type { FoldInput, FoldSink } from '../protocol/fold-sink.ts';
import { ShardFold } from '../protocol/fold.ts';
import type { AttentionItem, CommandEffect, OutcomeBody, RunView } from '../protocol/machine.ts';
import { viewOf, type RunRecord } from '../protocol/run.ts';
import { outcomeEnvelope } from './notes.ts';
import { childTx } from './children.ts';
import { readInputs, shaOf } from './read-inputs.ts';
import { storyEvent, type StoryEvent } from './story.ts';

/** One run, as its stream tells it. */
export interface Story {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: RunId;
  readonly name: string;
  readonly sender: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly begunMs: number;
  /** Run clock at the last accepted input, ms since the epoch. */
  readonly lastMs: number;
  readonly open: boolean;
  /** Where it stands; for an open run, why it waits. */
  readonly view: RunView;
  readonly decision?: { readonly value: string; readonly at: Position };
  readonly outcome?: OutcomeEnvelope;
  readonly events: readonly StoryEvent[];
  /** Written notes that this replay contradicts: empty in a healthy log. */
  readonly contradictions: readonly string[];
}

export interface AuditProblem {
  readonly position: Position;
  readonly subject: string;
  readonly problem: string;
}

export interface ReplayOptions {
  readonly pattern: Pattern;
  /** Only these transactions, all of one shard. */
  readonly txs?: readonly string[];
  /** Only what was stored at or after this time, ms since the epoch; runs begun earlier are left out. */
  readonly sinceMs?: number;
  /** Called when a run's begin is read. */
  readonly onBegun?: (tx: string) => void;
  /** Called in order of ends, then for each run that is still open at the head. */
  readonly onStory: (story: Story) => void;
  /** Called for whatever no machine can read. */
  readonly onProblem?: (problem: AuditProblem) => void;
  /** Stop reading once this returns true; asked after each message with its stream time. */
  readonly enough?: (timeMs: number) => boolean;
}

const STALL_MS = 10_000;

/**
 * Replays one pattern's log up to its head at the time of the call. Reads only; nothing is published.
 *
 * @throws {PhasorError} `STREAM_MISSING`, `CONNECTION_FAILED`, `TIMEOUT` (the log stalled for 10 s).
 */
export async function replayLog(world: World, options: ReplayOptions): Promise<void> {
  const state = await world.log.state(streamOf(options.pattern));
  const auditor = new Auditor(options, state);
  await readToHead(world, options, { state, onMessage: (message) => auditor.read(message) });
  auditor.finish();
}

/** Every message of the log up to its head now. */
async function readToHead(
  world: World,
  options: ReplayOptions,
  to: { state: StreamState; onMessage: (message: LogMessage) => void },
): Promise<void> {
  const { pattern, txs, sinceMs, enough } = options;
  const [tx] = txs ?? [];
  const filter =
    tx === undefined
      ? subjects.allInputs(pattern)
      : subjects.shardInputs(pattern, shardOf(tx, to.state.shards));
  let seen = 0;
  let head: number | undefined;
  let finish: (error?: PhasorError) => void = () => undefined;
  const finished = new Promise<void>((resolve, reject) => {
    finish = (error) => {
      if (error === undefined) resolve();
      else reject(error);
    };
  });
  // Awaited below; until then a failure must not count as unhandled.
  finished.catch(() => undefined);
  const subscription = await world.log.read({
    stream: streamOf(pattern),
    filters: [filter],
    after: 0,
    ...(sinceMs === undefined ? {} : { sinceMs }),
    onMessage: (message) => {
      if (head !== undefined && seen >= head) return;
      to.onMessage(message);
      seen += 1;
      if ((head !== undefined && seen >= head) || enough?.(message.timeMs) === true) {
        head = seen;
        finish();
      }
    },
    onIdle: () => finish(),
    onLost: (why) => finish(new PhasorError('CONNECTION_FAILED', `the log reader was lost: ${why}`)),
  });
  head = Math.min(head ?? subscription.pending, subscription.pending);
  if (seen >= head) finish();
  let before = -1;
  const watch = (): void => {
    if (seen === before) finish(new PhasorError('TIMEOUT', 'the log stalled'));
    before = seen;
    watchdog = world.clock.after(STALL_MS, watch);
  };
  let watchdog = world.clock.after(STALL_MS, watch);
  try {
    await finished;
  } finally {
    watchdog.cancel();
    await subscription.close();
  }
}

interface Notebook {
  readonly run: RunRecord;
  readonly events: StoryEvent[];
  readonly contradictions: string[];
  outcome: OutcomeBody | undefined;
  /** What its id was found to be: this begin was no run of its own. */
  judged: 'duplicate' | 'mismatch' | undefined;
}

class Auditor implements FoldSink {
  readonly #options: ReplayOptions;
  readonly #state: StreamState;
  readonly #folds = new Map<number, ShardFold>();
  readonly #notebooks = new Map<RunId, Notebook>();
  #lastMs = 0;

  constructor(options: ReplayOptions, state: StreamState) {
    this.#options = options;
    this.#state = state;
  }

  read(message: LogMessage): void {
    this.#lastMs = message.timeMs;
    readInputs(message, shaOf(message.data), {
      onInput: (input) => {
        this.#foldOf(input.address.shard).fold(input);
        this.#ignored(input);
      },
      onUnreadable: ({ index, problem }) =>
        this.#options.onProblem?.({
          position: position(message.seq, index ?? 0),
          subject: message.subject,
          problem,
        }),
    });
  }

  /** What is still open is told last. */
  finish(): void {
    for (const notebook of this.#notebooks.values()) this.#tell(notebook);
    this.#notebooks.clear();
  }

  #foldOf(shard: number): ShardFold {
    let fold = this.#folds.get(shard);
    if (fold === undefined) {
      const { shards, duplicateWindowMs, dedupWindowMs } = this.#state;
      const { pattern } = this.#options;
      fold = new ShardFold({ pattern, shard, shards, duplicateWindowMs, dedupWindowMs }, this);
      this.#folds.set(shard, fold);
    }
    return fold;
  }

  accepted(run: RunRecord, input: FoldInput): void {
    if (this.#options.txs?.includes(run.facts.tx) === false) return;
    let notebook = this.#notebooks.get(run.facts.run);
    if (notebook === undefined) {
      notebook = { run, events: [], contradictions: [], outcome: undefined, judged: undefined };
      this.#notebooks.set(run.facts.run, notebook);
      this.#options.onBegun?.(run.facts.tx);
    }
    notebook.events.push(storyEvent(input));
  }

  /** What a person or a caller wished, and the run did not heed: whoever sent it looks for it here. */
  #ignored(input: FoldInput): void {
    const { kind } = input.address;
    if (kind !== 'signal' && kind !== 'cancel') return;
    const events = this.#notebooks.get((input.envelope as { readonly run: RunId }).run)?.events;
    const event = storyEvent(input);
    // An input that counted is a line of the story, with what it implied after it.
    if (events === undefined || events.some(({ at, what }) => at === event.at && what === kind)) return;
    events.push({
      ...event,
      detail: ['ignored', event.detail].filter((part) => part !== undefined).join(': '),
    });
  }

  command(run: RunRecord, command: CommandEffect): void {
    const { step, participant, phase, attempt, cause, child, begun } = command;
    const event = { at: cause.at, timeMs: cause.time, what: 'command', who: 'coordinator' } as const;
    const to =
      child === undefined
        ? { participant }
        : { detail: `begins ${child.pattern} ${childTx({ ...run.facts, step, phase }, begun?.from)}` };
    this.#notebooks.get(run.facts.run)?.events.push({ ...event, step, phase, attempt, ...to });
  }

  decided(run: RunRecord, what: 'decision' | 'outcome' | 'refusal' | 'verdict'): void {
    if (what === 'refusal' || what === 'verdict') return;
    const derived = what === 'decision' ? run.decision : run.outcome;
    if (derived === undefined) return;
    const { at, time, value, code } = derived;
    const event = { at, timeMs: time, what, who: 'coordinator', value } as const;
    this.#notebooks.get(run.facts.run)?.events.push(code === undefined ? event : { ...event, detail: code });
  }

  contradicted(run: RunRecord, note: DecidedEnvelope): void {
    const derived = note.kind === 'outcome' ? run.outcome : run.decision;
    this.#notebooks
      .get(run.facts.run)
      ?.contradictions.push(
        `${note.kind} ${note.value} was written, ${derived?.value ?? 'nothing'} is derived`,
      );
  }

  told(run: RunRecord, outcome: OutcomeBody): void {
    const notebook = this.#notebooks.get(run.facts.run);
    if (notebook !== undefined) notebook.outcome = outcome;
  }

  attend(run: RunRecord | undefined, item: AttentionItem & { readonly run: RunId }): void {
    const timeMs = run?.clockMs ?? this.#lastMs;
    const { step, phase, code, raised } = item;
    this.#notebooks
      .get(item.run)
      ?.events.push({ at: raised, timeMs, what: 'attention', who: 'coordinator', step, phase, detail: code });
  }

  left(run: RunRecord): void {
    const notebook = this.#notebooks.get(run.facts.run);
    if (notebook === undefined) return;
    this.#notebooks.delete(run.facts.run);
    this.#tell(notebook);
  }

  dead(input: FoldInput, problem: string): void {
    const { pattern, sender, kind, shard } = input.address;
    const subject = subjects.input(pattern, sender, kind, shard);
    this.#options.onProblem?.({ position: position(input.seq, input.index), subject, problem });
  }

  halt(why: string): void {
    throw new PhasorError('VERSION_UNKNOWN', why);
  }

  judged(run: RunRecord, verdict: 'duplicate' | 'mismatch'): void {
    const notebook = this.#notebooks.get(run.facts.run);
    if (notebook !== undefined) notebook.judged = verdict;
  }

  buried(): void {
    // Dead letters are the coordinator's; the view tells which steps died.
  }

  armed(): void {
    // An auditor waits for nothing.
  }

  deadlineRead(): void {
    // A deadline that counted is an accepted input.
  }

  #tell({ run, events, contradictions, outcome, judged }: Notebook): void {
    const { tx, run: id, plan, pattern } = run.facts;
    const open = run.phase !== 'ended' && run.phase !== 'refused' && judged === undefined;
    const nothing = { waitsFor: 'nothing: its id named another run', steps: [], attention: [] };
    this.#options.onStory({
      pattern,
      tx,
      run: id,
      name: plan.name,
      sender: run.sender,
      labels: run.begin.labels ?? {},
      begunMs: run.begun.time,
      lastMs: run.clockMs,
      open,
      view: judged === undefined ? viewOf(run) : { phase: judged, ...nothing },
      ...(run.decision === undefined ? {} : { decision: { value: run.decision.value, at: run.decision.at } }),
      ...(open || outcome === undefined ? {} : { outcome: outcomeEnvelope(run, outcome) }),
      events,
      contradictions,
    });
  }
}
