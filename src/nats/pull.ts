/**
 * Raw pull requests to one consumer. The client's consume() costs four times as much per message (NATS.md §12).
 *
 * Invariants: 1. `outstanding` is what the server may still send without being asked again. 2. After `onEnd` or
 * `close` nothing is handed out any more. 3. Callbacks never throw into the client: that would end its reader.
 */
import { createInbox, type Msg, type Subscription } from '@nats-io/nats-core';

import type { PullRequest, Pulls, ShortPull } from '../ports/pulls.ts';
import type { NatsConnectionHandle } from './connection.ts';
import { nanosOf } from './units.ts';

export interface PullOptions {
  readonly stream: string;
  readonly consumer: string;
  /** A message of the stream; its reply subject is the ack subject. */
  readonly onMessage: (message: Msg) => void;
  /** The server has nothing to send: it says so every two seconds while a pull waits. */
  readonly onNothing?: () => void;
  /** A pull ended before it was filled: `messages` of it will not come. */
  readonly onShort: (short: ShortPull) => void;
  /** The consumer is gone, cannot be reached or refuses pulls; called once, as the last thing. */
  readonly onEnd: (why: string) => void;
}

const HEARTBEAT_MS = 2_000;
const EXPIRES_MS = 30_000;
const EXPIRES_TICKS = EXPIRES_MS / HEARTBEAT_MS;
/**
 * Ticks without a sign of life while something is outstanding. Ticks, not a clock: after a stalled event loop one
 * timer fires and then the socket is read, so the loop's own pause is not taken for a dead consumer.
 */
const SILENT_TICKS = 3;
const encoder = new TextEncoder();

interface Sent {
  readonly messages: number;
  readonly goneAtTick: number;
}

export class Pull implements Pulls {
  readonly #handle: NatsConnectionHandle;
  readonly #options: PullOptions;
  readonly #inbox: string;
  readonly #target: string;
  readonly #subscription: Subscription;
  readonly #watchdog: NodeJS.Timeout;
  readonly #sent = new Map<number, Sent>();
  #lastPull = 0;
  #outstanding = 0;
  #tick = 0;
  #lastSignTick = 0;
  #open = true;

  constructor(handle: NatsConnectionHandle, options: PullOptions) {
    this.#handle = handle;
    this.#options = options;
    this.#target = `$JS.API.CONSUMER.MSG.NEXT.${options.stream}.${options.consumer}`;
    this.#inbox = `${createInbox(handle.inboxPrefix)}.`;
    this.#subscription = handle.nc.subscribe(`${this.#inbox}*`, {
      callback: (error, message) => {
        if (error !== null) this.#end(`the pull inbox is not permitted: ${error.message}`);
        else this.#take(message);
      },
    });
    this.#watchdog = setInterval(() => this.#watch(), HEARTBEAT_MS);
    this.#watchdog.unref();
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  send({ messages, bytes }: PullRequest): void {
    if (!this.#open || messages <= 0) return;
    const token = (this.#lastPull += 1);
    const body = JSON.stringify({
      batch: messages,
      expires: nanosOf(EXPIRES_MS),
      idle_heartbeat: nanosOf(HEARTBEAT_MS),
      ...(bytes === undefined ? {} : { max_bytes: bytes }),
    });
    if (this.#outstanding === 0) this.#lastSignTick = this.#tick;
    this.#sent.set(token, { messages, goneAtTick: this.#tick + EXPIRES_TICKS + SILENT_TICKS });
    this.#outstanding += messages;
    try {
      this.#handle.nc.publish(this.#target, encoder.encode(body), { reply: `${this.#inbox}${token}` });
    } catch (error) {
      // A closed connection. Not from inside the caller's call.
      queueMicrotask(() => this.#end((error as Error).message));
    }
  }

  /** Stops at once. @returns what was outstanding. */
  close(): number {
    if (!this.#open) return 0;
    this.#stop();
    this.#subscription.unsubscribe();
    return this.#outstanding;
  }

  /** Takes the server's interest away and hands out what it had sent until then. */
  async drain(): Promise<void> {
    if (!this.#open) return;
    clearInterval(this.#watchdog);
    // Rejects when the connection is closed or lost: then nothing is on its way any more.
    await this.#subscription.drain().catch(() => undefined);
    this.#stop();
  }

  #stop(): void {
    this.#open = false;
    clearInterval(this.#watchdog);
  }

  #end(why: string): void {
    if (!this.#open) return;
    this.#stop();
    this.#subscription.unsubscribe();
    this.#options.onEnd(why);
  }

  #take(message: Msg): void {
    if (!this.#open) return;
    this.#lastSignTick = this.#tick;
    // Status messages come without a reply subject, messages of the stream with their ack subject.
    if (message.reply === '' || message.reply === undefined) {
      this.#status(message);
      return;
    }
    if (this.#outstanding > 0) this.#outstanding -= 1;
    if (this.#outstanding === 0) this.#sent.clear();
    this.#options.onMessage(message);
  }

  #status(message: Msg): void {
    const code = message.headers?.code ?? 0;
    const description = message.headers?.description ?? '';
    if (code === 100) {
      this.#options.onNothing?.();
      return;
    }
    const why = shortBecause(code, description);
    if (why === undefined) {
      this.#end(`${code} ${description}`.trim());
      return;
    }
    const token = Number(message.subject.slice(this.#inbox.length));
    const left = Number(message.headers?.get('Nats-Pending-Messages') ?? '');
    this.#shorten(token, { why, messages: Number.isSafeInteger(left) ? left : 0 });
  }

  /** When no pull is left the server owes nothing, whatever was counted. */
  #shorten(token: number, { why, messages }: ShortPull): void {
    this.#sent.delete(token);
    const missing = this.#sent.size === 0 ? this.#outstanding : Math.min(messages, this.#outstanding);
    this.#outstanding -= missing;
    if (missing > 0) this.#options.onShort({ messages: missing, why });
  }

  #watch(): void {
    this.#tick += 1;
    if (this.#outstanding === 0) return;
    if (this.#tick - this.#lastSignTick >= SILENT_TICKS) {
      this.#end('heartbeats missed');
      return;
    }
    for (const [token, { goneAtTick }] of this.#sent) {
      if (goneAtTick <= this.#tick) this.#shorten(token, { why: 'expired', messages: 0 });
    }
  }
}

/** Undefined: not the end of one pull but of them all. */
function shortBecause(code: number, description: string): ShortPull['why'] | undefined {
  if (code === 408 || code === 404) return 'expired';
  if (code !== 409) return undefined;
  if (/exceeds maxbytes/i.test(description)) return 'too-big';
  if (/batch completed/i.test(description)) return 'other';
  return undefined;
}
