/** As src/nats/pull.ts: raw pull requests to one consumer, with the same account of what is outstanding. */
import type { Timeout } from '../ports/clock.ts';
import type { PullRequest, Pulls, ShortPull } from '../ports/pulls.ts';
import type { SimulatedConnection } from './connection.ts';
import type { PullStatus, ServerFrame } from './frames.ts';

export type DeliveryFrame = Extract<ServerFrame, { type: 'delivery' }>;

export interface PullOptions {
  readonly stream: string;
  readonly consumer: string;
  readonly onMessage: (delivery: DeliveryFrame) => void;
  readonly onNothing?: () => void;
  /** A pull ended before it was filled: `messages` of it will not come. */
  readonly onShort: (short: ShortPull) => void;
  /** The consumer is gone, cannot be reached or refuses pulls; called once, as the last thing. */
  readonly onEnd: (why: string) => void;
}

const HEARTBEAT_MS = 2_000;
const EXPIRES_MS = 30_000;
const EXPIRES_TICKS = EXPIRES_MS / HEARTBEAT_MS;
const SILENT_TICKS = 3;

export class Pull implements Pulls {
  readonly #connection: SimulatedConnection;
  readonly #options: PullOptions;
  readonly #inbox: number;
  readonly #sent = new Map<number, { readonly goneAtTick: number }>();
  #watchdog: Timeout | undefined;
  #lastPull = 0;
  #outstanding = 0;
  #tick = 0;
  #lastSignTick = 0;
  #open = true;

  constructor(connection: SimulatedConnection, options: PullOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#inbox = connection.openInbox({
      onDelivery: (delivery) => this.#take(delivery),
      onStatus: (status) => this.#status(status),
    });
    this.#planWatch();
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  send({ messages, bytes }: PullRequest): void {
    if (!this.#open || messages <= 0) return;
    const token = (this.#lastPull += 1);
    if (this.#outstanding === 0) this.#lastSignTick = this.#tick;
    this.#sent.set(token, { goneAtTick: this.#tick + EXPIRES_TICKS + SILENT_TICKS });
    this.#outstanding += messages;
    if (this.#connection.state === 'closed') {
      queueMicrotask(() => this.#end('the connection is closed'));
      return;
    }
    const { stream, consumer } = this.#options;
    this.#connection.send({
      type: 'pull',
      stream,
      consumer,
      pull: { inbox: this.#inbox, token, messages, bytes },
    });
  }

  close(): void {
    if (!this.#open) return;
    this.#stop();
    this.#leave();
  }

  /** Takes the broker's interest away and hands out what it had sent until then. */
  async drain(): Promise<void> {
    if (!this.#open) return;
    this.#watchdog?.cancel();
    const { stream, consumer } = this.#options;
    this.#connection.send({ type: 'leave', stream, consumer, inbox: this.#inbox });
    await this.#connection.call({ type: 'ping' }).catch(() => undefined);
    this.#stop();
    this.#connection.closeInbox(this.#inbox);
  }

  #leave(): void {
    const { stream, consumer } = this.#options;
    this.#connection.closeInbox(this.#inbox);
    this.#connection.send({ type: 'leave', stream, consumer, inbox: this.#inbox });
  }

  #stop(): void {
    this.#open = false;
    this.#watchdog?.cancel();
  }

  #end(why: string): void {
    if (!this.#open) return;
    this.#stop();
    this.#leave();
    this.#options.onEnd(why);
  }

  #take(delivery: DeliveryFrame): void {
    if (!this.#open) return;
    this.#lastSignTick = this.#tick;
    if (this.#outstanding > 0) this.#outstanding -= 1;
    if (this.#outstanding === 0) this.#sent.clear();
    this.#options.onMessage(delivery);
  }

  #status(status: PullStatus): void {
    if (!this.#open) return;
    this.#lastSignTick = this.#tick;
    switch (status.type) {
      case 'idle':
        this.#options.onNothing?.();
        return;
      case 'short':
        this.#shorten(status.token, status);
        return;
      case 'end':
        this.#end(status.why);
        return;
    }
  }

  /** When no pull is left the broker owes nothing, whatever was counted. */
  #shorten(token: number, { why, messages }: ShortPull): void {
    this.#sent.delete(token);
    const missing = this.#sent.size === 0 ? this.#outstanding : Math.min(messages, this.#outstanding);
    this.#outstanding -= missing;
    if (missing > 0) this.#options.onShort({ messages: missing, why });
  }

  #planWatch(): void {
    this.#watchdog = this.#connection.options.clock.afterActive(HEARTBEAT_MS, () => this.#watch());
  }

  #watch(): void {
    this.#planWatch();
    this.#tick += 1;
    if (this.#outstanding === 0) return;
    if (this.#tick - this.#lastSignTick >= SILENT_TICKS) {
      this.#end('heartbeats missed');
      return;
    }
    for (const [token, { goneAtTick }] of this.#sent)
      if (goneAtTick <= this.#tick) this.#shorten(token, { why: 'expired', messages: 0 });
  }
}
