/** The client: begins transactions and learns how they ended. */
import { isParticipant } from '../../kernel/ids.ts';
import { comparePositions, parseRun, type Position } from '../../kernel/position.ts';
import { subjects } from '../../kernel/subjects.ts';
import type { Pattern } from '../../kernel/vocabulary.ts';
import { assertOptions, durationMs } from '../../errors/options.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { World } from '../../ports/world.ts';
import { encodeEnvelope } from '../../protocol/codec.ts';
import {
  cancelSchema,
  signalSchema,
  type CancelEnvelope,
  type OutcomeEnvelope,
  type SignalEnvelope,
} from '../../protocol/envelopes.ts';
import { ENVELOPE_VERSION } from '../../protocol/limits.ts';
import type { FoundRun } from '../../protocol/query.ts';
import { problemText, schemaProblems } from '../../protocol/schema-problems.ts';
import { askShard } from './ask-shard.ts';
import { checkBegin, checkPattern, checkTx, type BeginRequest, type CheckedBegin } from './begin-request.ts';
import { Engagement, type Admitted } from './engagement.ts';
import type { Route } from './routes.ts';
import type { TransactionHandle } from './transaction-handle.ts';
import type { WatchEvent } from './watch.ts';

export interface ClientOptions {
  /** The service role that begins, signals and cancels: `[a-z][a-z0-9-]{0,31}`, not `coordinator` or `operator`. */
  readonly sender: string;
  /** Begins whose outcome has not come; `begin` waits beyond it. Default: 10_000. */
  readonly maxInFlight?: number;
  /** Live response subscriptions, watches included. Default: twice `maxInFlight`. */
  readonly maxSubscriptions?: number;
  /**
   * A response subscription that nobody waits on for this long is dropped (and its place in flight given back); its
   * outcome is asked for when somebody waits again. Milliseconds, at least 20_000 for waiters never to be dropped.
   * Default: 300_000.
   */
  readonly subscriptionTtlMs?: number;
}

export interface SignalRequest {
  /** The gate it opens; the first signal of a name counts. */
  readonly name: string;
  readonly verdict?: 'approve' | 'reject';
  /** At most 16 KiB. */
  readonly data?: SignalEnvelope['data'];
  readonly by?: string;
  readonly reason?: string;
}

/** What became of a signal or cancel. */
export interface Sent {
  readonly run: string;
  /** Where it was stored; undefined when the run had ended: nothing was sent. */
  readonly at: Position | undefined;
}

const DEFAULT_ASK_TIMEOUT_MS = 5_000;
const DEFAULT_CLOSE_TIMEOUT_MS = 5_000;
/** A begin just acknowledged may not be folded yet. */
const LOCATE_EVERY_MS = 100;

/**
 * Makes a client on an open world; the world stays the caller's to close. Streams are looked at on first use.
 *
 * @throws {PhasorError} `CONFIG_INVALID`
 * @example
 * const client = await createClient(world, { sender: 'orders' });
 * const outcome = await client.run(saga('order').step('reserve', { participant: 'stock', action: 'reserve' }).build());
 */
// eslint-disable-next-line @typescript-eslint/require-await -- async so that it may connect one day without breaking callers
export async function createClient(world: World, options: ClientOptions): Promise<Client> {
  return new Client(world, options);
}

export class Client {
  readonly #world: World;
  readonly #sender: string;
  readonly #engagement: Engagement;

  constructor(world: World, options: ClientOptions) {
    assertOptions(options, 'sender', 'is required: the service role that begins');
    const sender: unknown = options.sender;
    if (typeof sender !== 'string' || !isParticipant(sender)) {
      throw new PhasorError('CONFIG_INVALID', `not a sender: ${JSON.stringify(sender)}`, { field: 'sender' });
    }
    this.#world = world;
    this.#sender = options.sender;
    this.#engagement = new Engagement(world, options);
  }

  /** Begins whose outcome has not come. */
  get inFlight(): number {
    return this.#engagement.inFlight;
  }

  /**
   * Begins a transaction. Resolves once its begin is durable, not once it has ended.
   *
   * Delivery: a fresh id (default) is begun at most once; when this rejects with `TIMEOUT` it may or may not have been.
   * An own id (`tx`) may be begun again after any error, with an equal plan, and runs once.
   * A local clock further than half the duplicate window (default 1 min) from the server's makes a fresh begin end as
   * `refused` with code `clock-skew`; the client corrects itself by it, so that later begins pass.
   *
   * @throws {PhasorError} `PLAN_INVALID`, `ID_INVALID`, `ENVELOPE_INVALID`, `PAYLOAD_TOO_LARGE`: nothing was sent;
   *   `STREAM_MISSING`, `PUBLISH_REFUSED`: nothing was stored; `TOO_MANY_SUBSCRIPTIONS`; `TIMEOUT`; `CLOSED`.
   */
  async begin(request: BeginRequest): Promise<TransactionHandle> {
    const admitted = this.#admit(request);
    return this.#engagement.begin(admitted instanceof Promise ? await admitted : admitted);
  }

  /**
   * Begins and waits for the outcome. A fresh begin that is refused for the local clock's skew is begun once more,
   * under another id.
   *
   * @param options.timeoutMs for the whole. Default: none.
   * @throws {PhasorError} as `begin` and `TransactionHandle.outcome`.
   */
  async run(request: BeginRequest, options: { readonly timeoutMs?: number } = {}): Promise<OutcomeEnvelope> {
    const timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', Infinity);
    const giveUpAtMs = this.#world.clock.monotonicMs() + timeoutMs;
    for (let isAgain = false; ; isAgain = true) {
      const admitted = this.#admit(request);
      const outcome = await this.#engagement.run(
        admitted instanceof Promise ? await admitted : admitted,
        giveUpAtMs,
      );
      const skewed = outcome.status === 'refused' && outcome.code === 'clock-skew';
      if (isAgain || !skewed || request.tx !== undefined) return outcome;
    }
  }

  /** At once when nothing has to be waited for: this runs for every transaction. */
  #admit(request: BeginRequest): Admitted | Promise<Admitted> {
    this.#engagement.assertOpen();
    const checked = checkBegin(request);
    const { routes, slots } = this.#engagement;
    const route = routes.known(request.pattern);
    if (route === undefined || slots.free === 0 || route.begins.ready() !== undefined)
      return this.#admitLater(request, checked);
    void slots.take();
    return { route, request, checked };
  }

  async #admitLater(request: BeginRequest, checked: CheckedBegin): Promise<Admitted> {
    const { routes, slots } = this.#engagement;
    const route = await routes.open(request.pattern);
    await slots.take();
    await route.begins.ready();
    return { route, request, checked };
  }

  /**
   * Where the latest run of a transaction stands, and why it waits.
   *
   * @param options.timeoutMs Default: 5_000.
   * @throws {PhasorError} `TX_NOT_FOUND`, also shortly after a begin that no coordinator has read yet; `TIMEOUT`: no
   *   coordinator answered; `ID_INVALID`; `PLAN_INVALID`; `CONFIG_INVALID`.
   */
  async describe(
    pattern: Pattern,
    tx: string,
    options: { readonly timeoutMs?: number } = {},
  ): Promise<FoundRun> {
    const timeoutMs = durationMs(options.timeoutMs, 'timeoutMs', DEFAULT_ASK_TIMEOUT_MS);
    const route = await this.#route(pattern, tx);
    const run = await this.#ask(route, tx, timeoutMs);
    if (run === undefined) throw notFound(pattern, tx);
    return run;
  }

  /**
   * Asks to cancel the latest run. Whether it still could be cancelled, its outcome tells.
   *
   * @param reason 1 to 1_024 characters, not only blanks.
   * @throws {PhasorError} `TX_NOT_FOUND`, `TIMEOUT`, `ENVELOPE_INVALID`, `ID_INVALID`.
   */
  async cancel(pattern: Pattern, tx: string, reason: string): Promise<Sent> {
    return this.#send(pattern, tx, (run) => ({ kind: 'cancel', envelope: { ...head(tx, run), reason } }));
  }

  /** Signals the latest run. @throws {PhasorError} as `cancel`. */
  async signal(pattern: Pattern, tx: string, signal: SignalRequest): Promise<Sent> {
    assertOptions(signal, 'name', 'is required: the signal that the plan names');
    const { name, verdict, data, by, reason } = signal;
    const all = { name, verdict, data, by, reason };
    const fields = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
    return this.#send(pattern, tx, (run) => ({ kind: 'signal', envelope: { ...head(tx, run), ...fields } }));
  }

  /**
   * Follows a transaction until it has ended, also one begun by somebody else or not yet begun. Listens from this call
   * on; when nobody reads for `subscriptionTtlMs` it is over.
   *
   * @throws {PhasorError} `TOO_MANY_SUBSCRIPTIONS`, `ID_INVALID`; `STREAM_MISSING` while reading.
   * @example for await (const event of client.watch('saga', 'order-7')) console.log(event.type);
   */
  watch(pattern: Pattern, tx: string): AsyncIterableIterator<WatchEvent> {
    checkPattern(pattern);
    checkTx(tx);
    return this.#engagement.watch(pattern, tx);
  }

  /**
   * Refuses further calls and waits until what was begun is durable; whoever still waits for an outcome gets `CLOSED`
   * (the transactions go on).
   *
   * @param options.timeoutMs Default: 5_000.
   */
  async close(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    await this.#engagement.close(durationMs(options.timeoutMs, 'timeoutMs', DEFAULT_CLOSE_TIMEOUT_MS));
  }

  async #route(pattern: Pattern, tx: string): Promise<Route> {
    this.#engagement.assertOpen();
    checkPattern(pattern);
    checkTx(tx);
    return this.#engagement.routes.open(pattern);
  }

  async #ask(route: Route, tx: string, timeoutMs: number): Promise<FoundRun | undefined> {
    const { pattern } = route;
    const question = { pattern, shard: route.shardOf(tx), txs: [tx], timeoutMs };
    const { found } = await askShard(this.#world.bus, question);
    const mine = found.filter((run) => run.tx === tx && run.pattern === pattern);
    mine.sort((a, b) => comparePositions(parseRun(a.run).at, parseRun(b.run).at));
    return mine.at(-1);
  }

  /** Asks until the run is known: a begin just stored may not have been read by its coordinator. */
  async #locate(route: Route, tx: string): Promise<FoundRun> {
    const { clock } = this.#world;
    const giveUpAtMs = clock.monotonicMs() + DEFAULT_ASK_TIMEOUT_MS;
    for (;;) {
      const leftMs = giveUpAtMs - clock.monotonicMs();
      if (leftMs <= 0) throw notFound(route.pattern, tx);
      const run = await this.#ask(route, tx, leftMs);
      if (run !== undefined) return run;
      await new Promise<void>((resolve) => clock.after(LOCATE_EVERY_MS, resolve));
    }
  }

  async #send(
    pattern: Pattern,
    tx: string,
    input: (run: string) => { readonly kind: 'cancel' | 'signal'; readonly envelope: object },
  ): Promise<Sent> {
    const route = await this.#route(pattern, tx);
    check(input(SAMPLE_RUN));
    const { run, open } = await this.#locate(route, tx);
    if (!open) return { run, at: undefined };
    const { kind, envelope } = input(run);
    const subject = subjects.input(pattern, this.#sender, kind, route.shardOf(tx));
    const room = route.inputs.ready();
    if (room !== undefined) await room;
    const at = await new Promise<Position>((resolve, reject) => {
      route.inputs.add(subject, encodeEnvelope(envelope), (result) =>
        'at' in result ? resolve(result.at) : reject(result.error),
      );
    });
    return { run, at };
  }
}

const SAMPLE_RUN = '1.0.1';
const head = (tx: string, run: string): Pick<CancelEnvelope, 'v' | 'tx' | 'run'> => ({
  v: ENVELOPE_VERSION,
  tx,
  run,
});

const notFound = (pattern: Pattern, tx: string): PhasorError =>
  new PhasorError('TX_NOT_FOUND', `${pattern} has no ${tx}`, { pattern, tx });

function check({ kind, envelope }: { readonly kind: 'cancel' | 'signal'; readonly envelope: object }): void {
  if ('reason' in envelope && typeof envelope.reason === 'string' && envelope.reason.trim() === '')
    throw new PhasorError('ENVELOPE_INVALID', 'reason must not be blank', { field: 'reason' });
  const parsed = (kind === 'cancel' ? cancelSchema : signalSchema).safeParse(envelope);
  if (parsed.success) return;
  const [problem] = schemaProblems(parsed.error, envelope);
  const what = problem === undefined ? `the ${kind}` : problemText(problem);
  throw new PhasorError('ENVELOPE_INVALID', what, { field: problem?.field });
}
