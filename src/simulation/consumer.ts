/**
 * A pull consumer of one stream: who waits for how much, and what comes next.
 *
 * Invariants: 1. A pull is served first come, first served, one message a turn. 2. While a pull waits, everything
 * that matches has been delivered, or is pending at somebody. 3. Nothing is sent beyond what was asked for.
 */
import type { PullRequest, ServerFrame } from './frames.ts';
import { SubjectFilter } from './routing.ts';
import type { StoredMessage, StreamModel } from './stream.ts';

/** The server's end of a connection. */
export interface Receiver {
  readonly id: number;
  send(frame: ServerFrame): void;
}

export interface ConsumerHost {
  /** The leader's wall clock. */
  readonly wallMs: () => number;
  readonly nowMs: () => number;
  readonly after: (delayMs: number, run: () => void) => () => void;
  readonly note: (type: string, where: string, number: number, detail?: string) => void;
}

interface Waiting extends PullRequest {
  readonly receiver: Receiver;
  readonly expiresMs: number;
  left: number;
  bytesLeft: number;
}

export interface Candidate {
  readonly message: StoredMessage;
  readonly deliveries: number;
}

const HEARTBEAT_MS = 2_000;
const EXPIRES_MS = 30_000;
const MAX_WAITING = 2_048;
/** Of a delivery beyond its body: subject, ack subject, headers. */
const OVERHEAD_BYTES = 96;

export abstract class Consumer {
  readonly name: string;
  readonly filter: SubjectFilter;
  /** Stream and name. */
  readonly where: string;
  protected readonly stream: StreamModel;
  protected readonly host: ConsumerHost;
  #waiting: Waiting[] = [];
  #deliverySeq = 0;
  /** Inboxes that got something since the last heartbeat. */
  readonly #active = new Set<number>();
  #stopTick: (() => void) | undefined;

  constructor(name: string, filters: readonly string[], at: { stream: StreamModel; host: ConsumerHost }) {
    this.name = name;
    this.filter = new SubjectFilter(filters);
    this.stream = at.stream;
    this.host = at.host;
    this.where = `${at.stream.name}/${name}`;
  }

  /** What is to be delivered next, if anything; `delivered` confirms it. */
  protected abstract next(): Candidate | undefined;
  protected abstract delivered(candidate: Candidate): void;

  pull(receiver: Receiver, request: PullRequest): void {
    if (this.#waiting.length >= MAX_WAITING) {
      this.#end(receiver, request.inbox, '409 Exceeded MaxWaiting');
      return;
    }
    const { messages, bytes = Infinity } = request;
    const expiresMs = this.host.nowMs() + EXPIRES_MS;
    this.#waiting.push({ ...request, receiver, left: messages, bytesLeft: bytes, expiresMs });
    this.#stopTick ??= this.host.after(HEARTBEAT_MS, () => this.#tick());
    this.pump();
  }

  leave(receiver: Receiver, inbox: number): void {
    this.#waiting = this.#waiting.filter((each) => each.receiver !== receiver || each.inbox !== inbox);
  }

  /** The session is over, and with it everything that waited in it. */
  drop(receiver: Receiver): void {
    this.#waiting = this.#waiting.filter((each) => each.receiver !== receiver);
  }

  /** Ends every pull, as the server does for a deleted consumer or a change of leaders. */
  endAll(why: string): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const told = new Set<number>();
    for (const pull of waiting) {
      if (!told.has(keyOf(pull))) this.#end(pull.receiver, pull.inbox, why);
      told.add(keyOf(pull));
    }
  }

  /** The broker's process ends: nobody is told, and its timers are gone. */
  stop(): void {
    this.#waiting = [];
    this.#stopTick?.();
    this.#stopTick = undefined;
  }

  pump(): void {
    while (this.#waiting.length > 0) {
      const candidate = this.next();
      if (candidate === undefined) return;
      const pull = this.#waiting.shift();
      if (pull === undefined) return;
      const { message, deliveries } = candidate;
      const size = message.data.length + message.subject.length + OVERHEAD_BYTES;
      if (size > pull.bytesLeft) {
        this.#short(pull, 'too-big');
        continue;
      }
      pull.left -= 1;
      pull.bytesLeft -= size;
      if (pull.left > 0) this.#waiting.push(pull);
      this.#deliverySeq += 1;
      this.#active.add(keyOf(pull));
      this.delivered(candidate);
      this.host.note('delivered', this.where, message.seq, `${deliveries} to ${pull.receiver.id}`);
      const deliverySeq = this.#deliverySeq;
      pull.receiver.send({ type: 'delivery', inbox: pull.inbox, message, deliveries, deliverySeq });
    }
  }

  #tick(): void {
    this.#stopTick = undefined;
    const now = this.host.nowMs();
    const over = this.#waiting.filter(({ expiresMs }) => expiresMs <= now);
    this.#waiting = this.#waiting.filter(({ expiresMs }) => expiresMs > now);
    for (const pull of over) this.#short(pull, 'expired');
    const told = new Set<number>();
    for (const pull of this.#waiting) {
      if (told.has(keyOf(pull)) || this.#active.has(keyOf(pull))) continue;
      told.add(keyOf(pull));
      pull.receiver.send({ type: 'status', inbox: pull.inbox, status: { type: 'idle' } });
    }
    this.#active.clear();
    if (this.#waiting.length > 0) this.#stopTick = this.host.after(HEARTBEAT_MS, () => this.#tick());
  }

  #short({ receiver, inbox, token, left }: Waiting, why: 'expired' | 'too-big'): void {
    receiver.send({ type: 'status', inbox, status: { type: 'short', token, messages: left, why } });
  }

  #end(receiver: Receiver, inbox: number, why: string): void {
    receiver.send({ type: 'status', inbox, status: { type: 'end', why } });
  }
}

/** Inboxes are numbered within their session. */
const keyOf = ({ receiver, inbox }: Waiting): number => receiver.id * MAX_INBOXES + inbox;
const MAX_INBOXES = 0x100_0000;

/** An ephemeral consumer without acks: each matching message once, in order. */
export class Reader extends Consumer {
  /** Whoever made it: it ends with that session. */
  readonly owner: Receiver;
  #nextSeq: number;

  constructor(
    name: string,
    filters: readonly string[],
    at: { stream: StreamModel; host: ConsumerHost; after: number; owner: Receiver },
  ) {
    super(name, filters, at);
    this.owner = at.owner;
    this.#nextSeq = Math.max(1, at.after + 1);
  }

  get pending(): number {
    let count = 0;
    for (const { subject } of this.stream.messages(this.host.wallMs(), this.#nextSeq - 1))
      if (this.filter.matches(subject)) count += 1;
    return count;
  }

  protected next(): Candidate | undefined {
    for (; this.#nextSeq <= this.stream.lastSeq; this.#nextSeq += 1) {
      const message = this.stream.at(this.#nextSeq, this.host.wallMs());
      if (message !== undefined && this.filter.matches(message.subject)) return { message, deliveries: 1 };
    }
    return undefined;
  }

  protected delivered({ message }: Candidate): void {
    this.#nextSeq = message.seq + 1;
  }
}

interface Unsettled {
  deliveries: number;
  /** Infinity: waits to be delivered again. */
  dueMs: number;
}

const MAX_UNSETTLED = 10_000;
/** How many of the latest acks a broker that dies or changes its leader may have forgotten. */
const REMEMBERED_ACKS = 64;

/** A durable consumer with explicit acks: each matching message again and again until it is acknowledged. */
export class Durable extends Consumer {
  readonly ackWaitMs: number;
  #nextSeq = 1;
  readonly #unsettled = new Map<number, Unsettled>();
  #again: number[] = [];
  #latestAcks: { readonly seq: number; readonly deliveries: number }[] = [];
  #lastDelivered = 0;
  #ackFloor = 0;
  #timerMs = Infinity;
  #stopTimer: (() => void) | undefined;

  constructor(
    name: string,
    filters: readonly string[],
    at: { stream: StreamModel; host: ConsumerHost; ackWaitMs: number },
  ) {
    super(name, filters, at);
    this.ackWaitMs = at.ackWaitMs;
  }

  /** Delivered and not acknowledged. */
  get unsettled(): number {
    return this.#unsettled.size;
  }

  /** Every matching message up to this sequence is acknowledged. */
  get ackFloor(): number {
    return this.#ackFloor;
  }

  settle(seq: number, how: 'ack' | 'nak' | 'working', delayMs = 0): void {
    const entry = this.#unsettled.get(seq);
    if (entry === undefined) return;
    if (how !== 'working') this.host.note(how, this.where, seq);
    if (how === 'ack') {
      this.#unsettled.delete(seq);
      this.#latestAcks.push({ seq, deliveries: entry.deliveries });
      if (this.#latestAcks.length > REMEMBERED_ACKS) this.#latestAcks.shift();
      const below =
        this.#unsettled.size === 0 ? this.#lastDelivered : Math.min(...this.#unsettled.keys()) - 1;
      this.#ackFloor = Math.max(this.#ackFloor, below);
      if (this.#unsettled.size === MAX_UNSETTLED - 1) this.pump();
      return;
    }
    if (entry.dueMs === Infinity) return;
    if (how === 'nak' && delayMs <= 0) {
      this.#deliverAgain(seq, entry);
      this.pump();
      return;
    }
    entry.dueMs = this.host.nowMs() + (how === 'working' ? this.ackWaitMs : delayMs);
    this.#arm(entry.dueMs);
  }

  /** The `count` latest acks were not durable yet: those messages come again (NATS.md §6). */
  forgetAcks(count: number): void {
    for (const { seq, deliveries } of this.#latestAcks.splice(Math.max(0, this.#latestAcks.length - count))) {
      if (this.#unsettled.has(seq) || seq > this.stream.lastSeq) continue;
      const entry = { deliveries, dueMs: 0 };
      this.#unsettled.set(seq, entry);
      this.#ackFloor = Math.min(this.#ackFloor, seq - 1);
      this.#deliverAgain(seq, entry);
    }
  }

  /** The stream was cut back to an earlier state. */
  rewind(lastSeq: number): void {
    this.#nextSeq = Math.min(this.#nextSeq, lastSeq + 1);
    this.#lastDelivered = Math.min(this.#lastDelivered, lastSeq);
    this.#ackFloor = Math.min(this.#ackFloor, lastSeq);
    for (const seq of [...this.#unsettled.keys()]) if (seq > lastSeq) this.#unsettled.delete(seq);
    this.#again = this.#again.filter((seq) => seq <= lastSeq);
    this.#latestAcks = this.#latestAcks.filter(({ seq }) => seq <= lastSeq);
  }

  override stop(): void {
    super.stop();
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    this.#timerMs = Infinity;
  }

  /** After a restart: what was on its way comes again after its ack wait. */
  restart(): void {
    for (const entry of this.#unsettled.values()) if (entry.dueMs !== Infinity) this.#arm(entry.dueMs);
  }

  protected next(): Candidate | undefined {
    for (;;) {
      const [seq] = this.#again;
      if (seq === undefined) break;
      const entry = this.#unsettled.get(seq);
      const message = entry === undefined ? undefined : this.stream.at(seq, this.host.wallMs());
      if (entry !== undefined && message !== undefined) return { message, deliveries: entry.deliveries + 1 };
      this.#unsettled.delete(seq);
      this.#again.shift();
    }
    if (this.#unsettled.size >= MAX_UNSETTLED) return undefined;
    for (; this.#nextSeq <= this.stream.lastSeq; this.#nextSeq += 1) {
      const message = this.stream.at(this.#nextSeq, this.host.wallMs());
      if (message !== undefined && this.filter.matches(message.subject)) return { message, deliveries: 1 };
    }
    return undefined;
  }

  protected delivered({ message, deliveries }: Candidate): void {
    const dueMs = this.host.nowMs() + this.ackWaitMs;
    if (deliveries === 1) this.#nextSeq = message.seq + 1;
    else this.#again.shift();
    this.#lastDelivered = Math.max(this.#lastDelivered, message.seq);
    this.#unsettled.set(message.seq, { deliveries, dueMs });
    this.#arm(dueMs);
  }

  #deliverAgain(seq: number, entry: Unsettled): void {
    entry.dueMs = Infinity;
    this.#again.push(seq);
  }

  /** One timer for all: what was acknowledged meanwhile costs nothing. */
  #arm(dueMs: number): void {
    if (dueMs >= this.#timerMs) return;
    this.#stopTimer?.();
    this.#timerMs = dueMs;
    this.#stopTimer = this.host.after(dueMs - this.host.nowMs(), () => this.#lapse());
  }

  #lapse(): void {
    this.#timerMs = Infinity;
    this.#stopTimer = undefined;
    const now = this.host.nowMs();
    let nextMs = Infinity;
    for (const [seq, entry] of this.#unsettled) {
      if (entry.dueMs <= now) this.#deliverAgain(seq, entry);
      else if (entry.dueMs !== Infinity) nextMs = Math.min(nextMs, entry.dueMs);
    }
    if (nextMs !== Infinity) this.#arm(nextMs);
    this.pump();
  }
}
