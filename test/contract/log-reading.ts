import type { Subject } from '../../src/kernel/subjects.ts';
import type { Log, LogMessage, LogSubscription, ReadOptions } from '../../src/ports/log.ts';
import { eventually } from '../kit/eventually.ts';
import { bytes, textOf } from './contract-world.ts';

export interface Reading {
  readonly subscription: LogSubscription;
  readonly messages: LogMessage[];
  readonly lost: string[];
  readonly idles: { count: number };
}

export async function reading(
  log: Log,
  options: Partial<ReadOptions> & { stream: string },
): Promise<Reading> {
  const messages: LogMessage[] = [];
  const lost: string[] = [];
  const idles = { count: 0 };
  const subscription = await log.read({
    filters: [],
    after: 0,
    onMessage: (message) => void messages.push(message),
    onIdle: () => void (idles.count += 1),
    onLost: (why) => void lost.push(why),
    ...options,
  });
  return { subscription, messages, lost, idles };
}

export const texts = (messages: readonly LogMessage[]): string[] => messages.map(({ data }) => textOf(data));

/** Retries as a publisher does: the same message under the same id until the answer is known. */
export async function appendSurely(log: Log, subject: Subject, text: string): Promise<number> {
  return eventually(async () => (await log.append(subject, bytes(text), { msgId: text })).seq, {
    what: `${text} stored`,
    timeoutMs: 30_000,
  });
}
