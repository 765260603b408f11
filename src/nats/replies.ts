/**
 * One inbox for the answers to everything this connection asks. The client's own request() costs a promise chain, a
 * timer and a stack trace each; here a question costs a map entry, and one timer sweeps them all.
 */
import type { Msg, MsgHdrs, NatsConnection, Subscription } from '@nats-io/nats-core';
import { createInbox } from '@nats-io/nats-core';

import { PhasorError } from '../errors/phasor-error.ts';

export interface Question {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers?: MsgHdrs;
  readonly timeoutMs: number;
}

/** Exactly one of the two is called, once. Neither may throw: that would end the connection's reader. */
export interface Answered {
  readonly onReply: (message: Msg) => void;
  readonly onFail: (error: PhasorError) => void;
}

interface Pending extends Answered {
  readonly subject: string;
  readonly expiresAtTick: number;
}

/** Resolution of every timeout. */
const TICK_MS = 50;

export class Replies {
  readonly #nc: NatsConnection;
  /** Why nothing can be sent now; undefined while connected. */
  readonly #obstacle: () => PhasorError | undefined;
  readonly #prefix: string;
  readonly #subscription: Subscription;
  readonly #pending = new Map<number, Pending>();
  #lastToken = 0;
  /** Time is counted in sweeps: a stalled event loop reads what has arrived before it calls anything late. */
  #tick = 0;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(
    nc: NatsConnection,
    options: { readonly inboxPrefix: string; readonly obstacle: () => PhasorError | undefined },
  ) {
    this.#nc = nc;
    this.#obstacle = options.obstacle;
    this.#prefix = `${createInbox(options.inboxPrefix)}.`;
    this.#subscription = nc.subscribe(`${this.#prefix}*`, {
      callback: (error, message) => {
        if (error === null) this.#take(message);
        else this.failAll(`the reply inbox is not permitted: ${error.message}`);
      },
    });
  }

  ask(question: Question, answered: Answered): void {
    const obstacle = this.#obstacle();
    if (obstacle !== undefined) {
      // Not in this tick: a caller that tries again at once would otherwise starve the loop that reconnects.
      setImmediate(() => answered.onFail(obstacle));
      return;
    }
    const token = (this.#lastToken += 1);
    const { subject, headers } = question;
    const reply = `${this.#prefix}${token}`;
    try {
      this.#nc.publish(subject, question.data, headers === undefined ? { reply } : { reply, headers });
    } catch (error) {
      // The client throws before it sends anything: too large, a malformed subject or header, a closed connection.
      const code = this.#nc.isClosed() || this.#nc.isDraining() ? 'CONNECTION_FAILED' : 'PUBLISH_REFUSED';
      const what = `${subject}: ${(error as Error).message}`;
      answered.onFail(new PhasorError(code, what, { subject }, { cause: error }));
      return;
    }
    const expiresAtTick = this.#tick + Math.ceil(question.timeoutMs / TICK_MS) + 1;
    this.#pending.set(token, {
      subject,
      expiresAtTick,
      onReply: answered.onReply,
      onFail: answered.onFail,
    });
    this.#sweeper ??= setInterval(() => this.#sweep(), TICK_MS);
  }

  /** The answer as a promise, for everything outside the hot path. */
  request(question: Question): Promise<Msg> {
    return new Promise((onReply, onFail) => this.ask(question, { onReply, onFail }));
  }

  /** Whatever is unanswered may or may not have happened. */
  failAll(why: string): void {
    const open = [...this.#pending.values()];
    this.#pending.clear();
    for (const { subject, onFail } of open) {
      onFail(new PhasorError('CONNECTION_FAILED', `${why}, no answer from ${subject}`, { subject }));
    }
  }

  close(): void {
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
    this.failAll('the connection was closed');
    this.#subscription.unsubscribe();
  }

  #take(message: Msg): void {
    const token = Number(message.subject.slice(this.#prefix.length));
    const pending = this.#pending.get(token);
    // Answered after its time-out: nobody waits for it any more.
    if (pending === undefined) return;
    this.#pending.delete(token);
    pending.onReply(message);
  }

  #sweep(): void {
    this.#tick += 1;
    for (const [token, { subject, expiresAtTick, onFail }] of this.#pending) {
      if (expiresAtTick > this.#tick) continue;
      this.#pending.delete(token);
      onFail(new PhasorError('TIMEOUT', `no answer from ${subject}`, { subject }));
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}

/** The server's answer that nobody listens on the subject. */
export const isNoResponders = (message: Msg): boolean =>
  message.data.length === 0 && message.headers?.code === 503;
