/** Seeds that failed once, one JSON line each: they are played again before new ones. */
import { appendFile, readFile } from 'node:fs/promises';
import { z } from 'zod';

import { PhasorError } from '../errors/phasor-error.ts';
import { packageVersion } from '../service/version.ts';
import { FAULTS, KINDS, type SeedResult, type Shrunk } from '../simulation/driver/index.ts';

const lineSchema = z.strictObject({
  pattern: z.enum(KINDS),
  seed: z.int().min(0),
  rollback: z.exactOptional(z.literal(true)),
  /** Whose promises it broke. */
  checkers: z.array(z.string()),
  /** The smallest part of the seed that still failed, as the options of `phasor simulate` name it. */
  onlyFaults: z.exactOptional(z.array(z.enum(FAULTS))),
  transactions: z.exactOptional(z.array(z.int().min(0))),
  /** Of Phasor, when it failed: a seed is another story once the product or the simulator has changed. */
  version: z.string(),
});
export type KeptSeed = z.infer<typeof lineSchema>;

export function keptSeed(
  result: SeedResult,
  { smallest, rollback }: { readonly smallest: Shrunk | undefined; readonly rollback: boolean },
): KeptSeed {
  const { kind: pattern, seed, violations } = result;
  return {
    ...{ pattern, seed, checkers: [...new Set(violations.map(({ checker }) => checker))] },
    ...(rollback ? { rollback } : {}),
    ...(smallest === undefined
      ? {}
      : { onlyFaults: [...smallest.faults], transactions: [...smallest.transactions] }),
    version: packageVersion(),
  };
}

export const sameSeed = (a: KeptSeed, b: KeptSeed): boolean =>
  a.pattern === b.pattern && a.seed === b.seed && a.rollback === b.rollback;

/** @throws {PhasorError} `INPUT_UNREADABLE`: no such file, or a line that is no kept seed. */
export async function readKeptSeeds(file: string): Promise<readonly KeptSeed[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new PhasorError('INPUT_UNREADABLE', `${file} cannot be read`, { file }, { cause });
  }
  return text
    .split('\n')
    .flatMap((line, index) => (line.trim() === '' ? [] : [parse(line, `${file}:${index + 1}`)]));
}

function parse(line: string, where: string): KeptSeed {
  try {
    const value: unknown = JSON.parse(line);
    return lineSchema.parse(value);
  } catch (cause) {
    throw new PhasorError('INPUT_UNREADABLE', `${where} is no kept seed`, { where }, { cause });
  }
}

/** Appends those that the file does not hold yet; makes the file. Nothing to keep: it is left alone. */
export async function keepSeeds(file: string, seeds: readonly KeptSeed[]): Promise<void> {
  if (seeds.length === 0) return;
  const known = await readKeptSeeds(file).catch((error: unknown) => {
    const isMissing =
      PhasorError.is(error, 'INPUT_UNREADABLE') &&
      (error.cause as { code?: unknown } | undefined)?.code === 'ENOENT';
    if (isMissing) return [];
    throw error;
  });
  const fresh = seeds.filter((seed) => !known.some((other) => sameSeed(seed, other)));
  await appendFile(file, fresh.map((seed) => `${JSON.stringify(seed)}\n`).join(''));
}
