/** Renews a barrier's claim while its handler runs, so that a slow one is not taken for a dead one. */
import type { Clock, Timeout } from '../ports/clock.ts';
import type { Execution, Reply } from './barrier.ts';

export interface Renewal {
  readonly clock: Clock;
  readonly everyMs: number;
  readonly execution: Execution;
  /** Resolves with whether the claim is still ours; never rejects. */
  readonly renew: () => Promise<boolean>;
}

/** Resolves when `running` does and no renewal is under way. Once the claim is lost, or nobody waits, none follows. */
export async function renewedWhile(running: Promise<Reply>, options: Renewal): Promise<Reply> {
  const { clock, everyMs, execution, renew } = options;
  let timer: Timeout | undefined;
  let renewal: Promise<void> | undefined;
  let over = false;
  const once = async (): Promise<void> => {
    if (!(await renew())) over = true;
    schedule();
  };
  const schedule = (): void => {
    if (over || execution.abandoned) return;
    timer = clock.after(everyMs, () => {
      if (!over && !execution.abandoned) renewal = once();
    });
  };
  schedule();
  const reply = await running;
  over = true;
  timer?.cancel();
  await renewal;
  return reply;
}
