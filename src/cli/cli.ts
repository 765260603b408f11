import type { Command } from 'commander';
import type { Logger as PinoLogger } from 'pino';

import { connectNats, type NatsConnectionHandle } from '../nats/connection.ts';
import { natsWorld } from '../nats/world.ts';
import type { World } from '../ports/world.ts';
import { crashPassing } from '../service/crash.ts';
import { createLogger, type LogLevel } from '../service/logger.ts';
import { natsOptions, type Globals } from './globals.ts';
import { Interruption } from './interruption.ts';
import { Output } from './output.ts';

type Handler<O> = (call: Call<O>) => Promise<number | undefined> | Promise<void>;

/** One command as it was called. */
export interface Call<O> {
  readonly options: Globals & O;
  readonly args: readonly string[];
}

/** What the commands of one process share. */
export class Cli {
  readonly interruption = new Interruption();
  readonly out = new Output(() => this.interruption.interrupt('pipe'));
  #exitCode = 0;

  get signal(): AbortSignal {
    return this.interruption.signal;
  }

  get exitCode(): number {
    return this.interruption.reason === undefined ? this.#exitCode : this.interruption.exitCode;
  }

  /** For `command.action`. What the handler resolves to is the exit code; nothing means 0. */
  action<O = object>(handler: Handler<O>): (...parameters: readonly unknown[]) => Promise<void> {
    return async (...parameters) => {
      const command = parameters.at(-1) as Command;
      const call = { options: command.optsWithGlobals<Globals & O>(), args: command.args };
      this.#exitCode = (await handler(call)) ?? 0;
    };
  }

  /** An end by SIGTERM is what was asked for: services end with 0 then. */
  endedAsAsked(): void {
    if (this.interruption.reason === 'SIGTERM') this.interruption.forgive();
  }

  logger(globals: Globals, fallback: LogLevel): PinoLogger {
    return createLogger({ level: globals.logLevel ?? fallback });
  }

  /** Connects, works, closes; an interruption closes at once, which ends whatever still waits. */
  async withConnection<T>(
    globals: Globals,
    work: (connection: NatsConnectionHandle) => Promise<T>,
  ): Promise<T> {
    const connection = await connectNats(await natsOptions(globals, this.logger(globals, 'warn')));
    return this.#closing(connection, () => work(connection));
  }

  /** As `withConnection`, with every port. */
  async withWorld<T>(globals: Globals, work: (world: World) => Promise<T>): Promise<T> {
    const options = await natsOptions(globals, this.logger(globals, 'warn'));
    const made = await natsWorld({ ...options, passing: crashPassing() });
    return this.#closing(made, () => work(made.world));
  }

  async #closing<T>(handle: { close(): Promise<void> }, work: () => Promise<T>): Promise<T> {
    const close = (): void => void handle.close();
    this.signal.addEventListener('abort', close, { once: true });
    if (this.signal.aborted) close();
    try {
      return await work();
    } finally {
      this.signal.removeEventListener('abort', close);
      await handle.close();
    }
  }
}
