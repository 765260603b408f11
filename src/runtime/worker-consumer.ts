/** One durable consumer of a worker: deliveries in, calls onto free slots, reports out, then the ack (DESIGN §4). */
import { streamOf, parseCommandSubject, type Subject } from '../kernel/subjects.ts';
import type { Pattern, Phase } from '../kernel/vocabulary.ts';
import type { Passing } from '../ports/crash-points.ts';
import type { Logger } from '../ports/telemetry.ts';
import type { Delivery, Work, WorkSource } from '../ports/work.ts';
import { decodeBody } from '../protocol/codec.ts';
import type { CommandEnvelope } from '../protocol/envelopes.ts';
import { parseCommand, type Parsed } from '../protocol/guards.ts';
import type { Reply } from '../reliability/barrier.ts';
import { letterData } from './dead-letters.ts';
import type { ServerClock } from './server-clock.ts';
import { thrownReply } from './worker-answers.ts';
import type { Executor } from './worker-execute.ts';
import type { Reports } from './worker-reports.ts';

export interface ConsumerOptions {
  readonly pattern: Pattern;
  readonly durable: string;
  readonly filters: readonly Subject[];
  readonly slots: number;
  readonly ackWaitMs: number;
  readonly work: Work;
  readonly executor: Executor;
  readonly reports: Reports;
  readonly server: ServerClock;
  readonly logger: Logger;
  readonly passing: Passing;
}

/** A message at work. It is acknowledged when `open` reaches 0 and nothing failed. */
interface Job {
  readonly delivery: Delivery;
  /** Envelopes without a stored report or dead letter. */
  open: number;
  /** Some report was given up: the message must come again. */
  failed: boolean;
  begun: boolean;
}

interface Item {
  readonly job: Job;
  readonly command: CommandEnvelope;
  /** In its message. */
  readonly index: number;
  /** Second delivery: what is called only after this one's report is stored. */
  readonly next: Item | undefined;
}

const ISOLATE: Reply = { answer: 'retry', code: 'isolate', mayHaveRun: true };
const CRASHED: Reply = {
  answer: 'unknown',
  code: 'crashed',
  message: 'delivered three times, alone, and never answered',
};
/** Envelopes in a message, guessed until some have come. */
const FIRST_GUESS = 8;
/** A message whose reports could not be stored comes again after this long. */
const GIVE_BACK_MS = 1_000;
/** Bound of the bytes in hand, not acknowledged. */
const MAX_HELD_BYTES = 8 * 1_048_576;

export class Consumer {
  readonly #options: ConsumerOptions;
  readonly #jobs = new Set<Job>();
  #queue: Item[] = [];
  #head = 0;
  #busy = 0;
  #pumping = false;
  #source: WorkSource | undefined;
  #stopped = false;
  /** Messages asked for and not yet come. */
  #asked = 0;
  #perMessage = FIRST_GUESS;
  #waitsForRoom = false;
  #announceIdle: (() => void) | undefined;

  constructor(options: ConsumerOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { pattern, durable, filters, ackWaitMs, work, logger } = this.#options;
    this.#source = await work.open({
      stream: streamOf(pattern),
      durable,
      filters,
      ackWaitMs,
      onDelivery: (delivery) => this.#receive(delivery),
      onTrouble: (why) => logger.warn({ durable, why }, 'trouble with a consumer'),
    });
    this.#ask();
  }

  /** In-progress signals for every message at work; called every third of the ack wait. */
  signal(): void {
    for (const { delivery } of this.#jobs) delivery.working();
  }

  /** Stops pulling; what has come is still worked on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#source?.close();
  }

  /** Resolves when every message that came is acknowledged or given up. */
  async idle(): Promise<void> {
    if (this.#jobs.size === 0) return;
    await new Promise<void>((resolve) => (this.#announceIdle = resolve));
  }

  /** Gives back what has not begun; the rest comes again when its ack wait ends. */
  abandon(): void {
    this.#queue = [];
    this.#head = 0;
    for (const job of this.#jobs) if (!job.begun) job.delivery.nak();
    this.#jobs.clear();
    this.#announceIdle?.();
  }

  #receive(delivery: Delivery): void {
    const { server, logger } = this.#options;
    server.observe(delivery.timeMs);
    this.#asked = Math.max(0, this.#asked - 1);
    const job: Job = { delivery, open: 1, failed: false, begun: false };
    this.#jobs.add(job);
    try {
      this.#unpack(job);
    } catch (err) {
      logger.error({ err, seq: delivery.seq }, 'a message could not be taken in');
      job.open = 1;
      this.#close(job, false);
    }
    this.#ask();
  }

  #unpack(job: Job): void {
    const { delivery } = job;
    const body = decodeBody(delivery.data);
    if (body.ok) {
      this.#perMessage += (body.envelopes.length - this.#perMessage) / 8;
      job.open = body.envelopes.length;
      this.#dispatch(job, this.#parse(job, body.envelopes));
    } else this.#bury(job, { index: 0, problem: `the body ${body.problem}`, data: delivery.data });
  }

  #parse(job: Job, envelopes: readonly unknown[]): Item[] {
    const { delivery } = job;
    const phase = parseCommandSubject(delivery.subject)?.phase;
    const items: Item[] = [];
    for (const [index, value] of envelopes.entries()) {
      const parsed = readCommand(value, delivery.data.length);
      if (parsed.ok && parsed.envelope.phase === phase) {
        items.push({ job, command: parsed.envelope, index, next: undefined });
        continue;
      }
      const problem = parsed.ok ? wrongPhase(parsed.envelope.phase, phase) : parsed.problem;
      this.#bury(job, { index, problem, data: letterData(value, delivery.data) });
    }
    return items;
  }

  #bury(
    job: Job,
    dead: { readonly index: number; readonly problem: string; readonly data: Uint8Array },
  ): void {
    const { pattern, reports, logger } = this.#options;
    reports.bury(job.delivery, { pattern, ...dead }).then(
      () => this.#close(job, true),
      (err: unknown) => {
        logger.error({ err }, 'a dead letter failed');
        this.#close(job, false);
      },
    );
  }

  #dispatch(job: Job, items: readonly Item[]): void {
    const { deliveries } = job.delivery;
    if (deliveries > 2) {
      for (const item of items) this.#isolate(item);
      return;
    }
    if (deliveries === 2) {
      // One by one, so that the third delivery knows: whatever has no report may be what kills its worker.
      const first = items.reduceRight<Item | undefined>((next, item) => ({ ...item, next }), undefined);
      if (first !== undefined) this.#queue.push(first);
    } else {
      for (const item of items) this.#queue.push(item);
    }
    this.#pump();
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#busy < this.#options.slots && this.#head < this.#queue.length) {
      const item = this.#queue[this.#head];
      this.#head += 1;
      if (item !== undefined) this.#start(item);
    }
    if (this.#head > 1_024 || this.#head === this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    this.#pumping = false;
  }

  #start(item: Item): void {
    const { executor, pattern, logger } = this.#options;
    const { job, command } = item;
    this.#busy += 1;
    job.begun = true;
    const call = { answered: false };
    const onAnswer = (reply: Reply): void => {
      // The second answer of a handler that had run out of time: its slot and message are long settled.
      const late = call.answered;
      call.answered = true;
      if (!late) this.#busy -= 1;
      this.#report(item, reply, late);
      if (late) return;
      this.#pump();
      this.#ask();
    };
    try {
      const { seq, deliveries } = job.delivery;
      executor.execute({ pattern, command, redelivered: deliveries > 1, seq, index: item.index }, onAnswer);
    } catch (err) {
      logger.error({ err, tx: command.tx, step: command.step }, 'a command could not be executed');
      if (!call.answered) onAnswer(thrownReply(err));
    }
  }

  /** A poison envelope among several: nothing runs, the next attempt is published alone, unless it was answered. */
  #isolate(item: Item): void {
    const { executor, pattern } = this.#options;
    const { job, command, index } = item;
    const { seq } = job.delivery;
    const otherwise = command.alone === true ? CRASHED : ISOLATE;
    job.begun = true;
    executor.recall({ pattern, command, redelivered: true, seq, index }, otherwise, (reply) =>
      this.#report(item, reply, false),
    );
  }

  #report(item: Item, reply: Reply, late: boolean): void {
    const { reports, pattern, passing } = this.#options;
    const { job, command } = item;
    passing('p3');
    reports.send({ pattern, command }, reply, (ok) => {
      if (late) return;
      if (command.phase === 'prepare' && reply.answer === 'done') passing('p5');
      if (item.next !== undefined && ok && this.#jobs.has(job)) {
        this.#queue.push(item.next);
        this.#pump();
      } else if (item.next !== undefined) this.#skip(item.next);
      this.#close(job, ok);
    });
  }

  /** The rest of a message that must come again. */
  #skip(from: Item): void {
    for (let item: Item | undefined = from; item !== undefined; item = item.next)
      this.#close(item.job, false);
  }

  #close(job: Job, ok: boolean): void {
    const { passing } = this.#options;
    job.open -= 1;
    if (!ok) job.failed = true;
    if (job.open > 0 || !this.#jobs.delete(job)) return;
    if (job.failed) job.delivery.nak(GIVE_BACK_MS);
    else {
      passing('p4');
      job.delivery.ack();
    }
    if (this.#jobs.size === 0) this.#announceIdle?.();
    this.#ask();
  }

  /** Demand follows free slots, the bytes held and what the reports' publisher can take. */
  #ask(): void {
    const { slots, reports } = this.#options;
    if (this.#source === undefined || this.#stopped || this.#waitsForRoom) return;
    const free = slots - this.#busy - (this.#queue.length - this.#head);
    if (free <= 0) return;
    const want = Math.max(1, Math.ceil(free / this.#perMessage));
    const more = want - this.#asked;
    // Few large requests rather than one for every message.
    if (more < Math.max(1, want / 4)) return;
    const room = reports.ready();
    if (room !== undefined) {
      this.#waitsForRoom = true;
      void room.then(() => {
        this.#waitsForRoom = false;
        this.#ask();
      });
      return;
    }
    this.#asked += more;
    this.#source.request(more, MAX_HELD_BYTES);
  }
}

/** A check that throws refuses: one envelope must not take its neighbours down. */
function readCommand(value: unknown, bodyBytes: number): Parsed<CommandEnvelope> {
  try {
    return parseCommand(value, bodyBytes);
  } catch (err) {
    return { ok: false, problem: `cannot be checked: ${String(err)}` };
  }
}

const wrongPhase = (said: Phase, published: Phase | undefined): string =>
  `phase: says ${said}, but was published for ${published ?? 'nobody'}`;
