/**
 * What every work port shares, whatever carries it: pulls by demand, and healing by itself.
 *
 * Invariants: 1. What was asked for and has not come is either `held` here or outstanding at the server, never lost:
 * pulls that end early give it back. 2. After trouble a new inbox is used, so pulls from before cannot bring more
 * than was asked for. 3. A delivery that nobody handled comes again after the ack wait.
 */
import { PhasorError } from '../errors/phasor-error.ts';
import type { Link, Pulls, ShortPull } from './pulls.ts';
import type { Logger } from './telemetry.ts';
import type { Delivery, WorkOptions, WorkSource } from './work.ts';

const HEAL_FIRST_MS = 100;
const HEAL_MAX_MS = 2_000;
/** What a delivery counts for beyond its body: subject, ack subject, headers. */
const OVERHEAD_BYTES = 128;

export interface PullEvents<M> {
  readonly onMessage: (message: M) => void;
  readonly onShort: (short: ShortPull) => void;
  /** The consumer is gone, cannot be reached or refuses pulls; called once, as the last thing. */
  readonly onEnd: (why: string) => void;
}

/** How one world carries the pulls of a durable consumer. */
export interface DemandCarrier<M> {
  readonly options: WorkOptions;
  readonly link: Link;
  readonly logger: Logger;
  newPulls(events: PullEvents<M>): Pulls;
  /** Makes a consumer that has vanished again, from the stream's start. */
  ensureConsumer(): Promise<void>;
  pause(ms: number): Promise<void>;
  /** Undefined: no delivery at all. `settled` is called once, when it is acknowledged or given back. */
  deliveryOf(message: M, settled: () => void): Delivery | undefined;
}

export class DemandSource<M> implements WorkSource {
  readonly #carrier: DemandCarrier<M>;
  readonly #options: WorkOptions;
  readonly #stopListening: () => void;
  #pulls: Pulls | undefined;
  #held = 0;
  #byteBound: number | undefined;
  #unsettled = 0;
  #unsettledBytes = 0;
  /** The next message is larger than the room left: nothing is asked for until enough of what is in hand is settled. */
  #tooBig = false;
  #flushDue = false;
  #healing = false;
  #closing = false;

  constructor(carrier: DemandCarrier<M>) {
    this.#carrier = carrier;
    this.#options = carrier.options;
    this.#pulls = this.#newPulls();
    this.#stopListening = carrier.link.onState((state) => {
      if (state === 'disconnected') this.#trouble('connection lost');
      else if (state === 'closed') void this.close();
    });
  }

  request(messages: number, bytes?: number): void {
    if (this.#closing) return;
    this.#held += messages;
    this.#byteBound = bytes ?? this.#byteBound;
    this.#flushSoon();
  }

  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#stopListening();
    await this.#pulls?.drain();
  }

  #newPulls(): Pulls {
    return this.#carrier.newPulls({
      onMessage: (message) => this.#deliver(message),
      onShort: (short) => this.#comesShort(short),
      onEnd: (why) => this.#trouble(why),
    });
  }

  /** Requests of one tick travel together. */
  #flushSoon(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    queueMicrotask(() => {
      this.#flushDue = false;
      this.#flush();
    });
  }

  /**
   * Asks when at least half of the demand is here: the server still has the other half to send meanwhile, and a
   * worker with many slots has a few pulls waiting there, not one per slot (a consumer takes 512 from all workers).
   */
  #flush(): void {
    const pulls = this.#pulls;
    if (pulls === undefined || this.#closing || this.#held === 0 || this.#held < pulls.outstanding) return;
    const isIdle = this.#unsettled === 0 && pulls.outstanding === 0;
    if (this.#tooBig) {
      if (isIdle) this.#askForOne(pulls);
      return;
    }
    const bound = this.#byteBound;
    const bytes = bound === undefined ? undefined : isIdle ? bound : bound - this.#unsettledBytes;
    if (bytes !== undefined && bytes <= 0) return;
    const messages = this.#held;
    this.#held = 0;
    pulls.send(bytes === undefined ? { messages } : { messages, bytes });
  }

  /** It fits in no room that there is: it comes alone, without a bound. */
  #askForOne(pulls: Pulls): void {
    this.#tooBig = false;
    this.#held -= 1;
    pulls.send({ messages: 1 });
  }

  #comesShort({ messages, why }: ShortPull): void {
    this.#held += messages;
    if (why === 'too-big') this.#tooBig = true;
    this.#flushSoon();
  }

  #deliver(message: M): void {
    let bytes = 0;
    const delivery = this.#carrier.deliveryOf(message, () => this.#settled(bytes));
    if (delivery === undefined) return;
    bytes = delivery.data.length + delivery.subject.length + OVERHEAD_BYTES;
    this.#unsettled += 1;
    this.#unsettledBytes += bytes;
    try {
      this.#options.onDelivery(delivery);
    } catch (error) {
      this.#carrier.logger.error({ seq: delivery.seq, error: String(error) }, 'a delivery handler failed');
    }
    if (this.#held > 0) this.#flushSoon();
  }

  #settled(bytes: number): void {
    this.#unsettled -= 1;
    this.#unsettledBytes -= bytes;
    const bound = this.#byteBound ?? Infinity;
    // Trying sooner would be refused again and again, once per settled message.
    if (this.#tooBig && this.#unsettled > 0 && bound - this.#unsettledBytes >= bound / 2)
      this.#tooBig = false;
    if (this.#held > 0) this.#flushSoon();
  }

  #trouble(why: string): void {
    this.#held += this.#pulls?.outstanding ?? 0;
    this.#pulls?.close();
    this.#pulls = undefined;
    if (this.#closing || this.#healing) return;
    this.#options.onTrouble?.(why);
    void this.#heal();
  }

  /** Until it works or is closed. */
  async #heal(): Promise<void> {
    const { link } = this.#carrier;
    this.#healing = true;
    let lastProblem = '';
    for (let waitMs = 0; !this.#isClosing(); waitMs = nextWait(waitMs)) {
      await this.#carrier.pause(waitMs);
      try {
        await link.connected(HEAL_MAX_MS);
        if (this.#isClosing()) break;
        await this.#carrier.ensureConsumer();
        if (link.state !== 'connected') continue;
        break;
      } catch (error) {
        if (PhasorError.is(error, 'CLOSED')) break;
        const problem = PhasorError.is(error) ? error.what : String(error);
        if (problem !== lastProblem) this.#options.onTrouble?.(problem);
        lastProblem = problem;
      }
    }
    this.#healing = false;
    if (this.#isClosing() || link.state === 'closed') return;
    this.#pulls = this.#newPulls();
    this.#flush();
  }

  /** A method, so that the compiler does not take the field for unchanged across an await. */
  #isClosing(): boolean {
    return this.#closing;
  }
}

const nextWait = (waitMs: number): number => Math.min(HEAL_MAX_MS, Math.max(HEAL_FIRST_MS, waitMs * 2));
