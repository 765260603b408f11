// Goal: a dead letter is news once. Method: a log that knows message ids, and a logger that writes down.
import { describe, expect, it } from 'vitest';
import type { World } from '../../src/ports/world.ts';
import { silentLogger } from '../../src/ports/telemetry.ts';
import { storeDeadLetter } from '../../src/runtime/dead-letters.ts';

describe('a dead letter', () => {
  it('is warned of when it is stored, with each fact once, and not when it was there before', async () => {
    const known = new Map<string | undefined, number>();
    const warned: object[] = [];
    const append: World['log']['append'] = (_subject, _data, options) => {
      const before = known.get(options?.msgId);
      const seq = before ?? known.size + 1;
      known.set(options?.msgId, seq);
      return Promise.resolve({ seq, duplicate: before !== undefined });
    };
    const logger = { ...silentLogger, warn: (facts: object) => void warned.push(facts) };
    const world = { logger, log: { append } } as unknown as World;
    const letter = {
      ...({ pattern: 'saga', participant: 'coordinator', position: '7.0' } as const),
      ...{ subject: 'saga.shop.signal.1', problem: 'not allowed', data: Buffer.from('{}') },
    };
    expect(await storeDeadLetter(world, letter)).toBe(true);
    expect(await storeDeadLetter(world, letter)).toBe(true);
    // What the loggers of coordinator and worker say of themselves (pattern, participant) stands in the subject.
    const { subject, problem, position } = letter;
    expect(warned).toEqual([{ letter: 'dead.saga.coordinator', position, subject, problem }]);
  });
});
