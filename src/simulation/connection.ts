/**
 * A node's connection to the broker, as src/nats/connection.ts and replies.ts behave: it reconnects for ever, fails
 * what is unanswered when it breaks, and drops what is sent while there is none.
 */
import type { ConnectionState } from '../ports/pulls.ts';
import { PhasorError } from '../errors/phasor-error.ts';
import type { Timeout } from '../ports/clock.ts';
import type { Logger } from '../ports/telemetry.ts';
import type { NodeClock } from './clock.ts';
import type { Answer, ApiCall, ClientFrame, PullStatus, ReplyAddress, ServerFrame } from './frames.ts';
import { NO_LEADER, OVERRUN, STREAM_NOT_FOUND } from './frames.ts';
import type { Dialer, Network, Wire } from './network.ts';
import type { SeededRandom } from './random.ts';
import type { Actor, Scheduler } from './scheduler.ts';

export interface ConnectionOptions {
  readonly name: string;
  readonly actor: Actor;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly clock: NodeClock;
  readonly random: SeededRandom;
  readonly logger: Logger;
}

export interface Question {
  /** For messages of errors. */
  readonly what: string;
  readonly timeoutMs: number;
  readonly frame: (token: number) => ClientFrame;
}

export interface Answered {
  readonly onAnswer: (answer: Answer) => void;
  readonly onFail: (error: PhasorError) => void;
}

interface Pending extends Answered {
  readonly what: string;
  readonly dueMs: number;
}

export interface Heard {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply: ReplyAddress | undefined;
}

interface Subscription {
  readonly filter: string;
  readonly queue: string | undefined;
  readonly onMessage: (message: Heard) => void;
}

export interface Inbox {
  readonly onDelivery: (delivery: Extract<ServerFrame, { type: 'delivery' }>) => void;
  readonly onStatus: (status: PullStatus) => void;
}

export const MAX_PAYLOAD = 1_048_576;
const REQUEST_TIMEOUT_MS = 5_000;
const RECONNECT_WAIT_MS = 250;
const RECONNECT_JITTER_MS = 50;
/** A turn of the event loop takes time: who tries again at once must not stop virtual time. */
const TURN_MS = 0.05;
/** Resolution of every timeout. */
const TICK_MS = 50;

export class SimulatedConnection {
  readonly options: ConnectionOptions;
  readonly #dialer: Dialer;
  readonly #listeners = new Set<(state: ConnectionState) => void>();
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #inboxes = new Map<number, Inbox>();
  readonly #pending = new Map<number, Pending>();
  #sweeper: Timeout | undefined;
  #last = 0;
  #wire: Wire | undefined;
  #state: ConnectionState = 'disconnected';

  constructor(options: ConnectionOptions) {
    this.options = options;
    const { name, actor } = options;
    this.#dialer = {
      name,
      actor,
      onFrame: (frame) => this.#take(frame),
      onBroken: (why) => this.#broken(why),
    };
    this.#wire = options.network.dial(this.#dialer);
    if (this.#wire === undefined) this.#reconnect();
    else this.#state = 'connected';
  }

  get state(): ConnectionState {
    return this.#state;
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    this.#listeners.add(listener);
    listener(this.#state);
    return () => this.#listeners.delete(listener);
  }

  /** @throws {PhasorError} `CONNECTION_FAILED` when there is none within `timeoutMs`, `CLOSED` after `close`. */
  connected(timeoutMs: number): Promise<void> {
    if (this.#state === 'connected') return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (state: ConnectionState | 'late'): void => {
        if (state === 'disconnected') return;
        timer.cancel();
        this.#listeners.delete(settle);
        if (state === 'connected') resolve();
        else if (state === 'late') reject(new PhasorError('CONNECTION_FAILED', 'not connected'));
        else reject(new PhasorError('CLOSED', 'the connection is closed'));
      };
      const timer = this.options.clock.afterActive(timeoutMs, () => settle('late'));
      this.#listeners.add(settle);
      if (this.#state === 'closed') settle('closed');
    });
  }

  /** Lost when there is no connection. */
  send(frame: ClientFrame): void {
    this.#wire?.send(frame);
  }

  ask(question: Question, answered: Answered): void {
    if (this.#state !== 'connected') {
      const error =
        this.#state === 'closed'
          ? new PhasorError('CLOSED', 'the connection is closed')
          : new PhasorError('CONNECTION_FAILED', 'not connected');
      this.options.scheduler.after(this.options.actor, TURN_MS, () => answered.onFail(error));
      return;
    }
    const token = (this.#last += 1);
    const { what, timeoutMs } = question;
    const dueMs = this.options.clock.activeMs() + timeoutMs + TICK_MS;
    this.#pending.set(token, { what, dueMs, onAnswer: answered.onAnswer, onFail: answered.onFail });
    this.send(question.frame(token));
    this.#sweeper ??= this.options.clock.afterActive(timeoutMs + TICK_MS, () => this.#sweep());
  }

  call(call: ApiCall, timeoutMs = REQUEST_TIMEOUT_MS): Promise<Answer> {
    return this.question({
      what: call.type,
      timeoutMs,
      frame: (token) => ({ type: 'request', token, call }),
    });
  }

  question(question: Question): Promise<Answer> {
    return new Promise((onAnswer, onFail) => this.ask(question, { onAnswer, onFail }));
  }

  subscribe(subscription: Subscription): () => void {
    const sid = (this.#last += 1);
    this.#subscriptions.set(sid, subscription);
    this.#announce(sid, subscription);
    return () => {
      if (this.#subscriptions.delete(sid)) this.send({ type: 'unsubscribe', sid });
    };
  }

  openInbox(inbox: Inbox): number {
    const id = (this.#last += 1);
    this.#inboxes.set(id, inbox);
    return id;
  }

  closeInbox(id: number): void {
    this.#inboxes.delete(id);
  }

  /** Sends what is buffered, then closes. */
  close(): void {
    if (this.#state === 'closed') return;
    const wire = this.#wire;
    this.#wire = undefined;
    this.#change('closed');
    wire?.close();
  }

  #take(frame: ServerFrame): void {
    switch (frame.type) {
      case 'answer': {
        const pending = this.#pending.get(frame.token);
        this.#pending.delete(frame.token);
        pending?.onAnswer(frame.answer);
        return;
      }
      case 'message':
        this.#subscriptions.get(frame.sid)?.onMessage(frame);
        return;
      case 'delivery':
        this.#inboxes.get(frame.inbox)?.onDelivery(frame);
        return;
      case 'status':
        this.#inboxes.get(frame.inbox)?.onStatus(frame.status);
        return;
    }
  }

  #broken(why: string): void {
    if (this.#state !== 'connected') return;
    this.options.logger.info({ why }, 'simulation: connection lost');
    this.#wire = undefined;
    this.#change('disconnected');
    this.#reconnect();
  }

  #reconnect(): void {
    const { clock, network, name, random } = this.options;
    if (this.#state === 'closed') return;
    clock.afterActive(RECONNECT_WAIT_MS + random.between(0, RECONNECT_JITTER_MS), () => {
      if (this.#state === 'closed') return;
      if (!network.reachable(name)) {
        this.#reconnect();
        return;
      }
      clock.afterActive(network.handshakeMs(name), () => this.#redial());
    });
  }

  #redial(): void {
    if (this.#state === 'closed') return;
    this.#wire = this.options.network.dial(this.#dialer);
    if (this.#wire === undefined) {
      this.#reconnect();
      return;
    }
    for (const [sid, subscription] of this.#subscriptions) this.#announce(sid, subscription);
    this.#change('connected');
  }

  #announce(sid: number, { filter, queue }: Subscription): void {
    this.send({ type: 'subscribe', sid, filter, queue });
  }

  #change(state: ConnectionState): void {
    if (this.#state === state || this.#state === 'closed') return;
    this.#state = state;
    if (state !== 'connected') this.#failAll('the connection was lost');
    for (const listener of [...this.#listeners]) listener(state);
  }

  /** Whatever is unanswered may or may not have happened. */
  #failAll(why: string): void {
    const open = [...this.#pending.values()];
    this.#pending.clear();
    for (const { what, onFail } of open)
      onFail(new PhasorError('CONNECTION_FAILED', `${why}, no answer from ${what}`));
  }

  #sweep(): void {
    this.#sweeper = undefined;
    const now = this.options.clock.activeMs();
    let nextMs = Infinity;
    for (const [token, { what, dueMs, onFail }] of this.#pending) {
      if (dueMs > now) {
        nextMs = Math.min(nextMs, dueMs);
        continue;
      }
      this.#pending.delete(token);
      onFail(new PhasorError('TIMEOUT', `no answer from ${what}`));
    }
    if (nextMs === Infinity) return;
    this.#sweeper ??= this.options.clock.afterActive(nextMs - now, () => this.#sweep());
  }
}

const TRANSIENT: readonly number[] = [NO_LEADER, OVERRUN];

/** A definite no of the broker, as src/nats/refusals.ts reads it. */
export function refusal(
  { errCode, description }: Extract<Answer, { type: 'refused' }>,
  what: string,
  otherwise: 'PUBLISH_REFUSED' | 'REQUEST_REFUSED' = 'REQUEST_REFUSED',
): PhasorError {
  const text = `${what}: ${description} (${errCode})`;
  if (errCode === STREAM_NOT_FOUND) return new PhasorError('STREAM_MISSING', text, { errCode });
  if (TRANSIENT.includes(errCode)) return new PhasorError('CONNECTION_FAILED', text, { errCode });
  return new PhasorError(otherwise, text, { errCode });
}

/** The answer of the type that a call has; @throws what the broker refused. */
export function expectAnswer<T extends Answer['type']>(
  answer: Answer,
  type: T,
  what: string,
): Extract<Answer, { type: T }> {
  if (answer.type === type) return answer as Extract<Answer, { type: T }>;
  if (answer.type === 'refused') throw refusal(answer, what);
  throw new PhasorError('CONNECTION_FAILED', `nobody answers ${what}`);
}
