import { defineConfig } from 'vitest/config';

/** Worlds with a real nats-server or real processes; everything else under test/ is pure and fast. */
const CONTRACT = ['test/contract/**/*.test.ts'];
const INTEGRATION = ['test/integration/**/*.test.ts', 'test/chaos/**/*.test.ts'];
const SIMULATION = ['test/simulation/**/*.test.ts'];
const PROPERTY = ['test/**/*.property.test.ts'];
const EXHAUSTIVE = ['test/**/*.exhaustive.test.ts'];
const BASE_EXCLUDE = ['**/node_modules/**', 'dist/**'];

const SETUP = ['test/kit/fast-check-setup.ts'];
const SLOW = { testTimeout: 60_000, hookTimeout: 60_000, teardownTimeout: 15_000 };

// The parts divide test/ without overlap: by folder first, then by suffix, and `unit` takes the rest.
export default defineConfig({
  test: {
    passWithNoTests: false,
    maxWorkers: 2,
    pool: 'forks',
    reporters: ['default', './test/house/part-counts-reporter.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...BASE_EXCLUDE, ...CONTRACT, ...INTEGRATION, ...SIMULATION, ...PROPERTY, ...EXHAUSTIVE],
          testTimeout: 20_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'property',
          include: PROPERTY,
          exclude: [...BASE_EXCLUDE, ...CONTRACT, ...INTEGRATION, ...SIMULATION],
          setupFiles: SETUP,
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'exhaustive',
          include: EXHAUSTIVE,
          exclude: [...BASE_EXCLUDE, ...CONTRACT, ...INTEGRATION, ...SIMULATION],
          setupFiles: SETUP,
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: { name: 'simulation', include: SIMULATION, setupFiles: SETUP, testTimeout: 120_000 },
      },
      // Groups of their own: measured deadlines of real servers must not compete with CPU-bound searches.
      {
        extends: true,
        test: {
          name: 'contract',
          include: CONTRACT,
          setupFiles: SETUP,
          sequence: { groupOrder: 1 },
          ...SLOW,
        },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: INTEGRATION,
          setupFiles: SETUP,
          sequence: { groupOrder: 2 },
          ...SLOW,
        },
      },
    ],
  },
});
