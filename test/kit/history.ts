/** Histories made by hand, for the checkers of the simulation: one message an envelope, one stream a pattern. */
import { streamOf } from '../../src/kernel/subjects.ts';
import type { Pattern, Phase } from '../../src/kernel/vocabulary.ts';
import { noBarriers, type BarrierEvidence } from '../../src/simulation/checkers/barrier-evidence.ts';
import { newBook, type Book, type Entry, type Operation } from '../../src/simulation/checkers/book.ts';
import type { Evidence } from '../../src/simulation/checkers/evidence.ts';
import { historyOf, type RawMessage } from '../../src/simulation/checkers/history.ts';

const START = 100;

/** Stream time of every message. */
const TIME = 1_000;

export class HistoryBuilder {
  readonly books = new Map<string, Book>();
  readonly told: { pattern: string; tx: string; begunAt: string; begunMs: number; outcomes: Told[] }[] = [];
  readonly openRuns = new Map<string, number>();
  readonly attention = new Set<string>();
  mayHaveSplit = false;
  barriers: BarrierEvidence = noBarriers;
  readonly #messages = new Map<string, RawMessage[]>();

  /** Any envelope on any subject of a pattern's stream; its position's sequence. */
  add(stream: string, subject: string, body: unknown): number {
    const messages = this.#messages.get(stream) ?? [];
    this.#messages.set(stream, messages);
    const data = new TextEncoder().encode(JSON.stringify(body));
    messages.push({ seq: messages.length + 1, timeMs: TIME, subject, data });
    return messages.length;
  }

  begin(pattern: Pattern, plan: object, more: object = {}): RunBuilder {
    const tx = `tx-${this.#messages.size}-${(this.#messages.get(streamOf(pattern)) ?? []).length}`;
    return this.beginAs(tx, pattern, plan, more);
  }

  beginAs(tx: string, ...[pattern, plan, more = {}]: [Pattern, object, object?]): RunBuilder {
    const sender = 'parent' in more ? 'coordinator' : 'teller';
    const seq = this.add(streamOf(pattern), `${pattern}.${sender}.begin.0`, [{ v: 1, tx, plan, ...more }]);
    return new RunBuilder(this, { pattern, tx, run: `${seq}.0.${TIME}`, at: `${seq}.0` });
  }

  book(participant: string): Book {
    const book = this.books.get(participant) ?? newBook(START);
    this.books.set(participant, book);
    return book;
  }

  evidence(): Evidence {
    const { books, told, openRuns, attention, mayHaveSplit, barriers } = this;
    const history = historyOf((stream) => this.#messages.get(stream) ?? []);
    return { history, books, told, openRuns, attention, mayHaveSplit, barriers };
  }
}

type Told = Evidence['told'][number]['outcomes'][number];

interface Named {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: string;
  readonly at: string;
}

/** Everything that names one run. */
export class RunBuilder {
  readonly named: Named;
  readonly #to: HistoryBuilder;

  constructor(to: HistoryBuilder, named: Named) {
    this.#to = to;
    this.named = named;
  }

  command(participant: string, phase: Phase, step: string): this {
    return this.#add(`${participant}.${phase}`, { step, phase, attempt: 1 });
  }

  report(participant: string, ...[phase, step, answer]: [Phase, string, string]): this {
    return this.#add(`${participant}.report.0`, { step, phase, attempt: 1, answer });
  }

  note(kind: string, value: string): this {
    return this.#add('coordinator.decided.0', { kind, value, at: this.named.at });
  }

  input(sender: string, kind: string, fields: object = {}): this {
    return this.#add(`${sender}.${kind}.0`, fields);
  }

  /** What the participant's own database holds of a step. */
  did(participant: string, ...[step, state, amount]: [string, Operation['state'], number]): this {
    const { pattern, tx, run } = this.named;
    const id = `${pattern}.${tx}.${run}.${step}`;
    const book = this.#to.book(participant);
    const entries: Entry[] =
      state === 'applied' ? [{ atMs: 0, phase: 'commit', attempt: 1, change: 'apply' }] : [];
    const empty = { input: null, expiresAtMs: undefined, calls: new Map() };
    book.operations.set(id, { ...{ id, pattern, tx, run, step, state, amount, entries }, ...empty });
    book.balance += state === 'applied' ? amount : state === 'held' ? Math.min(0, amount) : 0;
    return this;
  }

  told(...statuses: readonly string[]): this {
    const { pattern, tx, run, at } = this.named;
    const outcomes = statuses.map((status) => ({ status, attention: false, run }));
    this.#to.told.push({ pattern, tx, begunAt: at, begunMs: 1, outcomes });
    return this;
  }

  #add(subject: string, fields: object): this {
    const { pattern, tx, run } = this.named;
    this.#to.add(streamOf(pattern), `${pattern}.${subject}`, [{ v: 1, tx, run, ...fields }]);
    return this;
  }
}
