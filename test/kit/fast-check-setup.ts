import { configureGlobal, readConfigureGlobal } from 'fast-check';

/**
 * Replays and deepens property tests: `FC_SEED` fixes the seed a failure printed, `FC_RUNS` sets the runs of
 * every property that does not set its own number. Without them fast-check draws a fresh seed and prints it on failure.
 */
function integerFromEnv(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value))
    throw new Error(`${name} must be an integer, got ${JSON.stringify(text)}`);
  return value;
}

const seed = integerFromEnv('FC_SEED');
const numRuns = integerFromEnv('FC_RUNS');

configureGlobal({
  ...readConfigureGlobal(),
  ...(seed === undefined ? {} : { seed }),
  ...(numRuns === undefined ? {} : { numRuns }),
});
