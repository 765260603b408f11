/**
 * `npm run bench -- [--quick] [--json] [--rounds N] [--shards N]`: the product beside the bare floor, in interleaved
 * rounds of one run. The ratios are what counts; absolute figures are context.
 */
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { Side, type Cpu, type SideName } from './side.ts';
import type { BenchPattern, Measured } from './workload.ts';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    shards: { type: 'string', default: '4' },
    pattern: { type: 'string' },
    concurrency: { type: 'string' },
  },
});

const SIDES: readonly SideName[] = ['floor', 'product'];
const PATTERNS: readonly BenchPattern[] = ['2pc', 'saga'];
/** A quick run spends its minute where one round says least: with everything at work at once. */
const roundsAt = (concurrency: number): number =>
  values.rounds === undefined ? (values.quick && concurrency === 1 ? 3 : 6) : Number(values.rounds);
const shards = Number(values.shards);
const durationMs = values.quick ? 1_000 : 10_000;
/** The first workload of a side also compiles its code. */
const warmUpMs = { first: values.quick ? 2_500 : 10_000, later: values.quick ? 800 : 3_000 };
const concurrencies =
  values.concurrency === undefined
    ? values.quick
      ? [256, 1]
      : [256, 1, 16, 64, 1_024]
    : [Number(values.concurrency)];

interface Row {
  readonly workload: string;
  readonly side: SideName;
  readonly txPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuMsPerTx: number;
  readonly cpu: Cpu;
}

interface Comparison {
  readonly rows: readonly Row[];
  /**
   * Median of product over floor, each round by itself: shared machines change their speed within seconds, and two
   * neighbours in time meet the same machine.
   */
  readonly ratio: number;
  readonly perRound: readonly number[];
}

const thousandths = (value: number): number => Number(value.toFixed(3));

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
};
const say = (line: string): void => {
  if (!values.json) console.log(line);
};

/** One workload: warm both sides up, then measure them in turn. */
async function compare(workload: string, sides: readonly Side[], concurrency: number): Promise<Comparison> {
  const measured = new Map<Side, Measured[]>(sides.map((side) => [side, []]));
  const warmUp = sides.some((side) => side.isWarm) ? warmUpMs.later : warmUpMs.first;
  for (const side of sides) await side.measure(concurrency, warmUp);
  const before = new Map(sides.map((side) => [side, side.cpu()]));
  for (let round = 0; round < roundsAt(concurrency); round += 1) {
    for (const side of sides) measured.get(side)?.push(await side.measure(concurrency, durationMs));
  }
  const rows = sides.map((side) => {
    const results = measured.get(side) ?? [];
    const finished = results.reduce((sum, result) => sum + result.finished, 0);
    const cpu = difference(side.cpu(), before.get(side));
    const total = Object.values(cpu).reduce((sum, seconds) => sum + seconds, 0);
    return {
      workload,
      side: side.name,
      txPerSecond: median(results.map((result) => result.txPerSecond)),
      p50Ms: median(results.map((result) => result.p50Ms)),
      p99Ms: median(results.map((result) => result.p99Ms)),
      cpuMsPerTx: (total * 1_000) / Math.max(1, finished),
      cpu,
    };
  });
  const [floor = [], product = []] = sides.map((side) => measured.get(side) ?? []);
  const perRound = product.map((result, round) =>
    thousandths(result.txPerSecond / (floor[round]?.txPerSecond ?? NaN)),
  );
  return { rows, perRound, ratio: thousandths(median(perRound)) };
}

const difference = (after: Cpu, before: Cpu | undefined): Cpu => ({
  server: after.server - (before?.server ?? 0),
  coordinator: after.coordinator - (before?.coordinator ?? 0),
  participants: after.participants - (before?.participants ?? 0),
  client: after.client - (before?.client ?? 0),
});

const line = ({ workload, side, txPerSecond, p50Ms, p99Ms, cpuMsPerTx, cpu }: Row): string =>
  [
    workload.padEnd(11),
    side.padEnd(8),
    `${Math.round(txPerSecond)} tx/s`.padStart(12),
    `p50 ${p50Ms.toFixed(2)} ms`.padStart(15),
    `p99 ${p99Ms.toFixed(2)} ms`.padStart(16),
    `cpu ${cpuMsPerTx.toFixed(3)} ms/tx`.padStart(18),
    `(server ${cpu.server.toFixed(1)} coord ${cpu.coordinator.toFixed(1)} part ${cpu.participants.toFixed(1)} client ${cpu.client.toFixed(1)} s)`,
  ].join('  ');

const ratios: Record<string, number> = {};
const rounds: Record<string, readonly number[]> = {};
const rows: Row[] = [];
for (const pattern of values.pattern === undefined ? PATTERNS : [values.pattern as BenchPattern]) {
  const sides: Side[] = [];
  try {
    for (const name of SIDES) sides.push(await Side.start(name, pattern, shards));
    for (const concurrency of concurrencies) {
      const workload = `${pattern}-3@${concurrency}`;
      say(
        `${workload}: load average ${loadavg()
          .map((load) => load.toFixed(1))
          .join(' ')}`,
      );
      const { rows: measured, ratio, perRound } = await compare(workload, sides, concurrency);
      for (const row of measured) say(line(row));
      rows.push(...measured);
      ratios[workload] = ratio;
      rounds[workload] = perRound;
      say(`${''.padEnd(11)}  ratio    ${String(ratios[workload]).padStart(7)}`);
    }
  } finally {
    await Promise.all(sides.map((side) => side.stop()));
  }
}
if (values.json) {
  const environment = { node: process.version, shards, rounds, durationMs, loadAverage: loadavg() };
  console.log(JSON.stringify({ ratios, rows, environment }));
}
