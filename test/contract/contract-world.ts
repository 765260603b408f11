import { it, type TestContext } from 'vitest';

import type { Subject } from '../../src/kernel/subjects.ts';
import type { World } from '../../src/ports/world.ts';

/** A world that a contract suite runs on: the real server, or the simulated one. */
export interface ContractWorld {
  readonly world: World;
  /** Another process's world on the same server. */
  another(): Promise<World>;
  makeStream(options: ContractStream): Promise<void>;
  /** Removes every consumer of a stream, as an operator by mistake. */
  dropConsumers?(stream: string): Promise<void>;
  /** Removes messages of a stream, as expiry and purges do. */
  removeMessages?(stream: string, seqs: readonly number[]): Promise<void>;
  /** The server dies and comes back with what it had acknowledged. Resolves once it answers again. */
  crash?(): Promise<void>;
  close(): Promise<void>;
}

export interface ContractStream {
  readonly name: string;
  readonly subjects: readonly string[];
  readonly maxBytes?: number;
  readonly shards?: number;
  readonly dedupWindowMs?: number;
}

export interface Skip {
  readonly reason: string;
  readonly tests: readonly string[];
}

export interface ContractOptions {
  readonly name: string;
  readonly makeWorld: () => Promise<ContractWorld>;
  readonly skip?: readonly Skip[];
}

/** `it`, but what a world cannot do is skipped with its reason. */
export function specWith(skips: readonly Skip[] = []) {
  return (name: string, run: (ctx: TestContext) => Promise<void>): void => {
    it(name, async (ctx) => {
      const skip = skips.find(({ tests }) => tests.includes(name));
      ctx.skip(skip !== undefined, skip?.reason ?? '');
      await run(ctx);
    });
  };
}

let streams = 0;
/** A stream of its own for each test. */
export async function freshStream(
  at: ContractWorld,
  options: Omit<ContractStream, 'name' | 'subjects'> = {},
): Promise<{ stream: string; subject: (rest: string) => Subject }> {
  streams += 1;
  const prefix = `t${process.pid}x${streams}`;
  const stream = prefix.toUpperCase();
  await at.makeStream({ name: stream, subjects: [`${prefix}.>`], ...options });
  return { stream, subject: (rest) => `${prefix}.${rest}` as Subject };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
export const bytes = (text: string): Uint8Array => encoder.encode(text);
export const textOf = (data: Uint8Array): string => decoder.decode(data);
export const range = (length: number): number[] => Array.from({ length }, (_, index) => index);

/** A promise to be settled from outside. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open: () => open() };
}
