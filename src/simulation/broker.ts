/**
 * The model of nats-server with JetStream (NATS.md): core messaging, streams, consumers, buckets. One broker stands
 * for a server or a whole cluster: what differs for clients is which faults show (a change of leaders, say).
 *
 * Invariants: 1. What was answered as stored is kept over a restart. 2. A frame is handled whole or not at all.
 * 3. Nothing is sent into a session that is over.
 */
import { barrierBucket, BARRIER_BUCKET_PREFIX, STREAMS } from '../../streams/index.ts';
import { isParticipant } from '../kernel/ids.ts';
import { BrokerApi } from './broker-api.ts';
import { Durable, Reader, type Consumer, type ConsumerHost, type Receiver } from './consumer.ts';
import { NO_LEADER, OVERRUN, type Answer, type ClientFrame, type ServerFrame } from './frames.ts';
import type { SeededRandom } from './random.ts';
import { Interests, type Interest } from './routing.ts';
import { Actor, type Scheduler } from './scheduler.ts';
import { settingsOf, StreamModel, type StreamSettings, type StreamSnapshot } from './stream.ts';
import type { Trace } from './trace.ts';

/** What becomes of one publish that a stream takes. */
export type PublishFate =
  /** Stored and answered. */
  | 'normal'
  /** Stored, but the publisher hears nothing: `TIMEOUT`. */
  | 'lose-answer'
  /** Not stored, and the publisher hears nothing. */
  | 'lose'
  /** Refused for now: nothing is stored, `CONNECTION_FAILED`. */
  | 'overrun';

export interface Publish {
  readonly stream: string;
  readonly subject: string;
  /** The node that publishes. */
  readonly node: string;
}

export interface BrokerOptions {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly trace: Trace;
  /** Wall clock at virtual time 0, in milliseconds since the epoch. */
  readonly epochMs: number;
}

/** One connection as the broker sees it. */
export interface Session extends Receiver {
  readonly node: string;
}

interface SessionState extends Session {
  readonly interests: Map<number, Interest<SessionState>>;
  /** Hands frames to the network. */
  readonly out: (frame: ServerFrame) => void;
  open: boolean;
}

interface StreamEntry {
  readonly model: StreamModel;
  readonly consumers: Map<string, Consumer>;
}

const BUCKET_SETTINGS = { maxBytes: -1, maxMsgSize: -1, maxMsgsPerSubject: 1, discard: 'new' } as const;

export class Broker {
  /** The node behind a publish decides nothing; this hook does. Called for publishes that a stream takes. */
  onPublish: ((publish: Publish) => PublishFate) | undefined;
  readonly #options: BrokerOptions;
  readonly #streams = new Map<string, StreamEntry>();
  /** Which stream takes a subject: at most one. */
  readonly #takers = new Interests<StreamEntry>();
  readonly #sessions = new Map<number, SessionState>();
  readonly #interests = new Interests<SessionState>();
  readonly #api: BrokerApi;
  #actor = new Actor('broker', 'engine');
  #lastSession = 0;
  #streamsMade = 0;
  /** The leader's clock against virtual time. */
  #clockMs = 0;
  #hasLeader = true;

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#api = new BrokerApi({
      entry: (stream) => this.#streams.get(stream),
      takes: (subject) => this.#takers.first(subject) !== undefined,
      wallMs: () => this.wallMs,
      host: () => this.#host(),
      makeBucket: (bucket) => this.#makeBucket(bucket),
      note: (type, where, number) => this.#note(type, where, number),
    });
  }

  /** Its life: paused, it neither answers nor stores. */
  get actor(): Actor {
    return this.#actor;
  }

  get wallMs(): number {
    return this.#options.epochMs + this.#options.scheduler.nowMs + this.#clockMs;
  }

  get streams(): readonly StreamModel[] {
    return [...this.#streams.values()].map(({ model }) => model);
  }

  /** The stream as it is now, for checkers: reading it disturbs nothing. */
  stream(name: string): StreamModel | undefined {
    return this.#streams.get(name)?.model;
  }

  makeStream(settings: StreamSettings): void {
    this.#streamsMade += 1;
    // No two streams are made in the same nanosecond.
    const nanos = String(this.#streamsMade).padStart(9, '0');
    const created = new Date(this.wallMs).toISOString().replace(/\.\d+Z$/, `.${nanos}Z`);
    const entry = { model: new StreamModel(settings, created), consumers: new Map<string, Consumer>() };
    this.#streams.set(settings.name, entry);
    for (const filter of settings.subjects)
      this.#takers.add({ filter, queue: undefined, owner: entry, sid: this.#streamsMade });
  }

  /** The streams and buckets of `streams/`, with the number of shards that the pattern streams are to have. */
  applyStreams({ shards }: { readonly shards: number }): void {
    for (const spec of STREAMS) {
      const settings = settingsOf(spec);
      const metadata =
        spec.kind === 'pattern' ? { ...settings.metadata, shards: String(shards) } : settings.metadata;
      this.makeStream({ ...settings, metadata });
    }
  }

  open(node: string, out: (frame: ServerFrame) => void): Session {
    this.#lastSession += 1;
    const session: SessionState = {
      id: this.#lastSession,
      node,
      out,
      open: true,
      interests: new Map(),
      send: (frame) => {
        if (session.open) out(frame);
      },
    };
    this.#sessions.set(session.id, session);
    this.#note('session', node, session.id);
    return session;
  }

  close({ id }: Session): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    session.open = false;
    this.#sessions.delete(id);
    for (const interest of session.interests.values()) this.#interests.remove(interest);
    for (const { consumers } of this.#streams.values()) {
      for (const consumer of consumers.values()) {
        consumer.drop(session);
        if (!(consumer instanceof Reader) || consumer.owner !== session) continue;
        consumer.stop();
        consumers.delete(consumer.name);
      }
    }
    this.#note('session-over', session.node, id);
  }

  handle({ id }: Session, frame: ClientFrame): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    switch (frame.type) {
      case 'publish':
        this.#publish(session, frame);
        return;
      case 'respond': {
        const answer: Answer = { type: 'reply', data: frame.data };
        this.#sessions.get(frame.to.session)?.send({ type: 'answer', token: frame.to.token, answer });
        return;
      }
      case 'subscribe': {
        const { sid, filter, queue } = frame;
        const interest = { sid, filter, queue, owner: session };
        session.interests.set(sid, interest);
        this.#interests.add(interest);
        return;
      }
      case 'unsubscribe': {
        const interest = session.interests.get(frame.sid);
        session.interests.delete(frame.sid);
        if (interest !== undefined) this.#interests.remove(interest);
        return;
      }
      case 'request':
        this.#request(session, frame);
        return;
      case 'pull':
        this.#pull(session, frame);
        return;
      case 'leave':
        this.#consumer(frame.stream, frame.consumer)?.leave(session, frame.inbox);
        return;
      case 'settle': {
        const consumer = this.#consumer(frame.stream, frame.consumer);
        if (consumer instanceof Durable && this.#hasLeader)
          consumer.settle(frame.seq, frame.how, frame.delayMs);
        return;
      }
    }
  }

  /** Every session ends without a word, memory is gone, what was stored stays. */
  crash(): void {
    this.#note('broker-crash', 'broker', 0);
    this.#actor.kill();
    for (const session of [...this.#sessions.values()]) this.close(session);
    for (const { consumers } of this.#streams.values()) {
      for (const consumer of consumers.values()) {
        consumer.stop();
        if (consumer instanceof Reader) consumers.delete(consumer.name);
      }
    }
  }

  /** @param options.forgottenAcks of each durable consumer, the latest acks that had not become durable. */
  start(options: { readonly forgottenAcks?: number } = {}): void {
    this.#actor = new Actor('broker', 'engine');
    this.#hasLeader = true;
    this.#note('broker-start', 'broker', 0);
    for (const consumer of this.#durables()) {
      consumer.restart();
      consumer.forgetAcks(options.forgottenAcks ?? 0);
    }
  }

  /** Until `lead` no stream stores, answers or delivers. Ends all pulls; ephemeral consumers are gone. */
  loseLeader(): void {
    this.#note('leader-lost', 'broker', 0);
    this.#hasLeader = false;
    for (const { consumers } of this.#streams.values()) {
      for (const consumer of consumers.values()) {
        consumer.endAll('409 Leadership Change');
        if (consumer instanceof Reader) consumers.delete(consumer.name);
      }
    }
  }

  /** @param options.stepMs the new leader's clock against the old one's; negative: timestamps step back. */
  lead(options: { readonly stepMs?: number; readonly forgottenAcks?: number } = {}): void {
    this.#hasLeader = true;
    this.#clockMs += options.stepMs ?? 0;
    this.#note('leader', 'broker', options.stepMs ?? 0);
    for (const consumer of this.#durables()) consumer.forgetAcks(options.forgottenAcks ?? 0);
  }

  /** Deletes a consumer, or all of a stream: whoever pulls is told, and its state is gone. */
  dropConsumers(stream: string, name?: string): void {
    const consumers = this.#streams.get(stream)?.consumers;
    for (const consumer of [...(consumers?.values() ?? [])]) {
      if (name !== undefined && consumer.name !== name) continue;
      this.#note('consumer-lost', consumer.where, 0);
      consumer.endAll('409 Consumer Deleted');
      consumer.stop();
      consumers?.delete(consumer.name);
    }
  }

  removeMessages(stream: string, seqs: readonly number[]): void {
    for (const seq of seqs) this.#streams.get(stream)?.model.remove(seq);
  }

  snapshot(stream: string): StreamSnapshot | undefined {
    return this.#streams.get(stream)?.model.snapshot();
  }

  /**
   * Puts a stream back to an earlier state: what came later is lost, and its sequences are given out again. Only
   * sound while the broker is down: a server that runs never forgets by itself.
   *
   * @param to a snapshot, or the last sequence that survives.
   */
  rollBack(stream: string, to: StreamSnapshot | number): void {
    const entry = this.#streams.get(stream);
    if (entry === undefined) return;
    if (typeof to === 'number') entry.model.truncate(to);
    else entry.model.restore(to);
    for (const consumer of entry.consumers.values())
      if (consumer instanceof Durable) consumer.rewind(entry.model.lastSeq);
    this.#note('rolled-back', stream, entry.model.lastSeq);
  }

  #publish(session: SessionState, frame: ClientFrame & { type: 'publish' }): void {
    const { subject, data, token } = frame;
    const hearers = this.#interests.hearers(subject, (count) => this.#options.random.below(count));
    const reply = token === undefined ? undefined : { session: session.id, token };
    for (const { owner, sid } of hearers) owner.send({ type: 'message', sid, subject, data, reply });
    if (hearers.length > 0) this.#note('message', subject, hearers.length);
    const taker = this.#takers.first(subject);
    const answer = taker === undefined || !this.#hasLeader ? undefined : this.#store(session, frame, taker);
    if (token === undefined || answer === 'none') return;
    if (answer !== undefined) session.send({ type: 'answer', token, answer });
    else if (hearers.length === 0) session.send({ type: 'answer', token, answer: { type: 'no-responders' } });
  }

  #store(
    session: SessionState,
    { subject, data, headers }: ClientFrame & { type: 'publish' },
    { model, consumers }: StreamEntry,
  ): Answer | 'none' {
    const fate = this.onPublish?.({ stream: model.name, subject, node: session.node }) ?? 'normal';
    if (fate !== 'normal') this.#note(fate, subject, 0);
    if (fate === 'lose') return 'none';
    if (fate === 'overrun') return { type: 'refused', errCode: OVERRUN, description: 'too many requests' };
    const result = model.store({ subject, data, headers }, this.wallMs);
    if (result.type === 'refused') {
      this.#note('refused', subject, result.errCode);
      return result;
    }
    const { message, duplicate } = result;
    const { scheduler, trace } = this.#options;
    trace.add({
      atMs: scheduler.nowMs,
      type: duplicate ? 'duplicate' : 'stored',
      where: subject,
      number: message.seq,
      detail: session.node,
      ...(duplicate ? {} : { data }),
    });
    if (!duplicate) for (const consumer of consumers.values()) consumer.pump();
    return fate === 'lose-answer' ? 'none' : { type: 'stored', seq: message.seq, duplicate };
  }

  #request(session: SessionState, { token, call }: ClientFrame & { type: 'request' }): void {
    const needsLeader = call.type !== 'ping' && call.type !== 'names';
    const answer: Answer =
      needsLeader && !this.#hasLeader
        ? { type: 'refused', errCode: NO_LEADER, description: 'JetStream system temporarily unavailable' }
        : this.#api.answer(call, session);
    session.send({ type: 'answer', token, answer });
  }

  #pull(session: SessionState, { stream, consumer: name, pull }: ClientFrame & { type: 'pull' }): void {
    const consumer = this.#hasLeader ? this.#consumer(stream, name) : undefined;
    if (consumer !== undefined) consumer.pull(session, pull);
    else session.send({ type: 'status', inbox: pull.inbox, status: { type: 'end', why: '503' } });
  }

  #makeBucket(bucket: string): boolean {
    const name = `KV_${bucket}`;
    if (this.#streams.has(name)) return false;
    const participant = bucket.startsWith(BARRIER_BUCKET_PREFIX)
      ? bucket.slice(BARRIER_BUCKET_PREFIX.length)
      : '';
    const settings: StreamSettings = isParticipant(participant)
      ? settingsOf(barrierBucket(participant))
      : {
          ...BUCKET_SETTINGS,
          name,
          subjects: [`$KV.${bucket}.>`],
          duplicateWindowMs: 120_000,
          allowMsgTtl: true,
          metadata: {},
        };
    this.makeStream(settings);
    this.#note('stream', name, 0);
    return true;
  }

  #consumer(stream: string, name: string): Consumer | undefined {
    return this.#streams.get(stream)?.consumers.get(name);
  }

  #durables(): readonly Durable[] {
    const consumers = [...this.#streams.values()].flatMap((entry) => [...entry.consumers.values()]);
    return consumers.filter((consumer) => consumer instanceof Durable);
  }

  #host(): ConsumerHost {
    const { scheduler } = this.#options;
    return {
      wallMs: () => this.wallMs,
      nowMs: () => scheduler.nowMs,
      after: (delayMs, run) => {
        const task = scheduler.after(this.#actor, delayMs, run, 'timer');
        return () => scheduler.cancel(task);
      },
      note: (type, where, number, detail) => this.#note(type, where, number, detail),
    };
  }

  #note(type: string, where: string, number: number, detail?: string): void {
    const { scheduler, trace } = this.#options;
    trace.add({ atMs: scheduler.nowMs, type, where, number, ...(detail === undefined ? {} : { detail }) });
  }
}
