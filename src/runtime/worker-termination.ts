/** 3PC: the participant's own end of steps whose coordinator is silent, in one worker. */
import { streamOf, type Subject } from '../kernel/subjects.ts';
import type { World } from '../ports/world.ts';
import type { KvBarrier } from '../reliability/barrier-kv.ts';
import { Termination } from '../reliability/termination.ts';
import type { ServerClock } from './server-clock.ts';
import type { Executor } from './worker-execute.ts';
import type { Reports } from './worker-reports.ts';

export interface WorkerTerminationOptions {
  readonly barrier: KvBarrier;
  readonly executor: Executor;
  readonly reports: Reports;
  readonly server: ServerClock;
  /** How long a step stands before it is ended. It is looked for four times as often, at least every 15 s. */
  readonly timeoutMs: number;
  readonly consumers: readonly { readonly durable: string; readonly filters: readonly Subject[] }[];
}

const MAX_SCAN_MS = 15_000;

export function openTermination(world: World, options: WorkerTerminationOptions): Termination {
  const { log, work, clock, logger } = world;
  const { barrier, executor, reports, server, timeoutMs, consumers } = options;
  return new Termination({
    stream: streamOf('3pc'),
    barrier,
    log,
    clock,
    server,
    logger,
    scanMs: Math.min(Math.floor(timeoutMs / 4), MAX_SCAN_MS),
    consumers,
    progress: (of) => work.progress(of),
    end: async (command, phase) => {
      const reply = await executor.end(command, phase, barrier);
      if (reply === undefined) return;
      logger.warn({ tx: command.tx, step: command.step, phase }, 'ended a step without its coordinator');
      const isStored = await new Promise<boolean>((resolve) => {
        reports.send({ pattern: '3pc', command }, reply, resolve);
      });
      if (isStored) await barrier.ended({ ...command, pattern: '3pc', phase });
    },
  });
}
