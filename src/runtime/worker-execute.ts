/** One command on one slot: handler, barrier and time limit. */
import { position } from '../kernel/position.ts';
import { isOpenPhase, isUndoPhase, type Pattern } from '../kernel/vocabulary.ts';
import type { Clock } from '../ports/clock.ts';
import type { Passing } from '../ports/crash-points.ts';
import type { Logger } from '../ports/telemetry.ts';
import type { CommandEnvelope } from '../protocol/envelopes.ts';
import type { Barrier, Execution, GuardedCommand, Permit, Reply } from '../reliability/barrier.ts';
import type { KvBarrier } from '../reliability/barrier-kv.ts';
import { isTooOld, qualify, staleReply } from '../reliability/barrier-table.ts';
import type { ServerClock } from './server-clock.ts';
import { replyOf, thrownReply } from './worker-answers.ts';
import { Aborter, HandlerCall, handlerName, type Action, type Handler } from './worker-call.ts';

export interface ExecutorOptions {
  readonly actions: Readonly<Record<string, Action>>;
  /** Undefined: barrier `none`. */
  readonly barrier: Barrier | undefined;
  readonly barrierKeepMs: number;
  /** 3PC: how long a step may stand without a word; undefined: for ever. */
  readonly terminationTimeoutMs: number | undefined;
  readonly handlerTimeoutMs: number | undefined;
  readonly clock: Clock;
  readonly server: ServerClock;
  /** Corrects `server` by the answer of the pattern's stream; false: there was none. */
  readonly confirmTime: (pattern: Pattern) => Promise<boolean>;
  readonly logger: Logger;
  readonly passing: Passing;
}

export interface Task {
  readonly pattern: Pattern;
  readonly command: CommandEnvelope;
  /** The message that carried it was delivered before. */
  readonly redelivered: boolean;
  /** Where the stream holds the command. */
  readonly seq: number;
  readonly index: number;
}

/** Node's timers hold no more; a limit beyond it is none. */
const MAX_TIMER_MS = 2_147_483_647;

/** A copy of a command that asked no barrier cannot vouch for another copy that ran: it may have. */
const EXPIRED: Reply = {
  answer: 'retry',
  code: 'expired',
  message: 'came after it was due',
  mayHaveRun: true,
};
const TIMED_OUT: Reply = {
  answer: 'unknown',
  code: 'timeout',
  message: 'the handler did not answer in time',
};

export class Executor {
  readonly #options: ExecutorOptions;
  readonly #running = new Set<Run>();
  readonly #missing = new Set<string>();
  #aborted = false;

  constructor(options: ExecutorOptions) {
    this.#options = options;
  }

  /**
   * Never throws. `answered` is called once with what to report; after a `timeout` once more if the handler answers
   * after all.
   */
  execute(task: Task, answered: (reply: Reply) => void): void {
    const { due, phase } = task.command;
    const leftMs = due === undefined ? Infinity : due - this.#options.server.nowMs();
    // Nobody waits for this attempt any more. Closing phases run all the same: they must get done.
    if (leftMs > 0 || !isOpenPhase(phase)) this.#run(task, leftMs, answered);
    else if (this.#options.server.isCorrected) this.recall(task, EXPIRED, answered);
    else this.#confirm(task, answered);
  }

  /**
   * For a command that must not run: an answer that the barrier holds is repeated all the same, else it is `otherwise`.
   * Never throws. `answered` is called once, not after `abort`.
   */
  recall(task: Task, otherwise: Reply, answered: (reply: Reply) => void): void {
    const { barrier, logger } = this.#options;
    if (barrier === undefined) {
      answered(otherwise);
      return;
    }
    barrier
      .recall(this.#guardedOf(task))
      .catch((err: unknown) => {
        logger.warn({ err, tx: task.command.tx, step: task.command.step }, 'the barrier is out of reach');
        return undefined;
      })
      .then((held) => {
        if (!this.#aborted) answered(held ?? otherwise);
      })
      .catch((err: unknown) => logger.error({ err }, 'an answer could not be reported'));
  }

  /** The estimate may stem from before the server's clock was set back. Running what has expired only wastes work. */
  #confirm(task: Task, answered: (reply: Reply) => void): void {
    const { confirmTime, logger } = this.#options;
    confirmTime(task.pattern)
      .then((sure) => {
        // The worker gave up meanwhile, and the command comes again elsewhere.
        if (this.#aborted) return;
        if (sure) this.execute(task, answered);
        else this.#run(task, Infinity, answered);
      })
      .catch((err: unknown) => {
        logger.error({ err, tx: task.command.tx }, 'a command could not be executed');
        answered(thrownReply(err));
      });
  }

  #run(task: Task, leftMs: number, answered: (reply: Reply) => void): void {
    const { command } = task;
    const { barrier } = this.#options;
    const handler = this.#handlerOf(command);
    const missing = missingReply(command);
    if (handler === undefined && barrier === undefined) {
      answered(qualify(missing, true));
      return;
    }
    // Behind the barrier also this is an execution: its record closes the attempt for every copy, and an undo of
    // nothing is empty with or without a handler.
    const run = new Run(task, handler ?? (() => missing), this.#options);
    const outcome = this.#outcome(task, run);
    if (!(outcome instanceof Promise)) {
      answered(outcome);
      return;
    }
    const limitMs = Math.min(this.#options.handlerTimeoutMs ?? Infinity, leftMs > 0 ? leftMs : Infinity);
    this.#watch(run, { outcome, limitMs, answered });
  }

  /** Tells every handler to stop; their answers are not reported any more. */
  abort(reason: Error): void {
    this.#aborted = true;
    for (const run of this.#running) run.abandon(reason);
    this.#running.clear();
  }

  #watch(
    run: Run,
    watched: { outcome: Promise<Reply>; limitMs: number; answered: (reply: Reply) => void },
  ): void {
    const { clock, logger } = this.#options;
    const { outcome, limitMs, answered } = watched;
    this.#running.add(run);
    const onTime = (): void => {
      run.timedOut = true;
      run.abandon(new Error('the time for this call is up'));
      answered(TIMED_OUT);
    };
    const timer = limitMs <= MAX_TIMER_MS ? clock.after(limitMs, onTime) : undefined;
    const settled = (reply: Reply): void => {
      timer?.cancel();
      // Absent: the worker gave up, and the command comes again elsewhere.
      if (!this.#running.delete(run)) return;
      if (!run.timedOut) answered(reply);
      else if (reply.answer !== 'unknown' && reply.code !== 'busy') answered(reply);
    };
    outcome.then(settled, (err: unknown) => {
      logger.error({ err, ...run.names }, 'the barrier failed');
      settled(thrownReply(err));
    });
  }

  /** A barrier of an adapter may break its word and throw. */
  #outcome(task: Task, run: Run): Reply | Promise<Reply> {
    try {
      return this.#guarded(task, run);
    } catch (err) {
      this.#options.logger.error({ err, ...run.names }, 'the barrier failed');
      return thrownReply(err);
    }
  }

  #guarded(task: Task, run: Run): Reply | Promise<Reply> {
    const { barrier, barrierKeepMs: keepMs, server } = this.#options;
    const { command, redelivered } = task;
    const guarded = this.#guardedOf(task);
    if (barrier !== undefined) return barrier.guard(guarded, run);
    if (isOpenPhase(command.phase) && isTooOld(guarded, { serverMs: server.nowMs(), keepMs }))
      return staleReply;
    const reply = run.run({});
    return reply instanceof Promise
      ? reply.then((value) => qualify(value, redelivered))
      : qualify(reply, redelivered);
  }

  #guardedOf({ pattern, command, redelivered, seq, index }: Task): GuardedCommand {
    const waitMs = pattern === '3pc' ? this.#options.terminationTimeoutMs : undefined;
    return {
      pattern,
      tx: command.tx,
      run: command.run,
      step: command.step,
      phase: command.phase,
      attempt: command.attempt,
      since: command.since,
      ran: command.ran === true,
      redo: command.redo,
      redelivered,
      standing: waitMs === undefined ? undefined : { at: position(seq, index), waitMs },
    };
  }

  /**
   * 3PC: the participant's own end of the step that `command` stands for. Never rejects.
   *
   * @returns what to report in the name of `command`; undefined: nothing, it is looked at again later.
   */
  async end(
    command: CommandEnvelope,
    phase: 'abort' | 'commit',
    barrier: Pick<KvBarrier, 'end'>,
  ): Promise<Reply | undefined> {
    const { due: _due, output: _output, ...rest } = command;
    const ending: CommandEnvelope = {
      ...rest,
      phase,
      attempt: 1,
      ...(phase === 'abort' ? { ran: true } : {}),
    };
    const task: Task = { pattern: '3pc', command: ending, redelivered: false, seq: 0, index: 0 };
    const handler = this.#handlerOf(ending);
    if (handler === undefined) return undefined;
    const { clock, handlerTimeoutMs, logger } = this.#options;
    const run = new Run(task, handler, this.#options);
    const giveUp = (): void => run.abandon(new Error('the time for this call is up'));
    const timer = handlerTimeoutMs === undefined ? undefined : clock.after(handlerTimeoutMs, giveUp);
    this.#running.add(run);
    try {
      return await barrier.end(this.#guardedOf(task), run);
    } catch (err) {
      logger.warn({ err, ...run.names }, 'a step could not be ended without its coordinator');
      return undefined;
    } finally {
      timer?.cancel();
      this.#running.delete(run);
    }
  }

  #handlerOf({ action, phase }: CommandEnvelope): Handler | undefined {
    const { actions, logger } = this.#options;
    const handlers = Object.hasOwn(actions, action) ? actions[action] : undefined;
    const handler = handlers?.[handlerName(phase)];
    if (handler !== undefined) return handler;
    if (phase === 'commit-one-phase' && handlers?.prepare !== undefined && handlers.commit !== undefined)
      return inOnePhase(handlers.prepare, handlers.commit);
    // Once per name, and for few names: commands may name anything.
    const name = `${action}/${phase}`;
    if (this.#missing.size < 100 && !this.#missing.has(name)) {
      this.#missing.add(name);
      logger.warn({ action, phase }, 'commanded an action that this worker has no handler for');
    }
    return undefined;
  }
}

const missingReply = ({ phase, action }: CommandEnvelope) =>
  ({
    answer: 'retry',
    code: 'no-handler',
    message: `no handler for ${phase} of ${action} here`,
  }) as const;

class Run implements Execution {
  readonly #task: Task;
  readonly #handler: Handler;
  readonly #options: ExecutorOptions;
  readonly #aborter = new Aborter();
  timedOut = false;

  constructor(task: Task, handler: Handler, options: ExecutorOptions) {
    this.#task = task;
    this.#handler = handler;
    this.#options = options;
  }

  get abandoned(): boolean {
    return this.#aborter.aborted;
  }

  get names(): object {
    const { tx, run, step, phase, attempt, action } = this.#task.command;
    return { tx, run, step, phase, attempt, action };
  }

  abandon(reason: Error): void {
    this.#aborter.abort(reason);
  }

  run(permit: Permit): Reply | Promise<Reply> {
    const { pattern, command } = this.#task;
    const { logger, server, passing } = this.#options;
    passing('p1');
    const call = new HandlerCall({ pattern, command, permit, logger, server, aborter: this.#aborter });
    let returned: unknown;
    try {
      returned = this.#handler(call);
    } catch (error) {
      return this.#threw(error);
    }
    if (!isThenable(returned)) return this.#applied(returned);
    return Promise.resolve(returned).then(
      (value: unknown) => this.#applied(value),
      (error: unknown) => this.#threw(error),
    );
  }

  #applied(value: unknown): Reply {
    const { passing, logger } = this.#options;
    const { phase } = this.#task.command;
    passing('p2');
    if (phase === 'commit') passing('p6');
    if (isUndoPhase(phase)) passing('p7');
    return replyOf(value, (problem) =>
      logger.warn({ ...this.names, problem }, 'the output of a handler was dropped'),
    );
  }

  #threw(error: unknown): Reply {
    this.#options.logger.warn({ ...this.names, err: error }, 'a handler threw');
    return thrownReply(error);
  }
}

/** A participant with the two phases can do them in one. A commit that fails leaves something: `unknown`, not a no. */
const inOnePhase =
  (prepare: Handler, commit: Handler): Handler =>
  async (call) => {
    const vote = (await prepare(call)) ?? { answer: 'done' };
    if (vote.answer !== 'done') return vote;
    const ended = (await commit(call)) ?? vote;
    if (ended.answer === 'read-only') return vote;
    if (ended.answer === 'done') return ended.output === undefined ? vote : ended;
    if (ended.answer === 'heuristic') return ended;
    throw new Error(`prepared, but the commit answered ${ended.answer}`);
  };

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (value instanceof Promise) return true;
  try {
    return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
  } catch {
    return false;
  }
}
