/**
 * `npm run mutants -- [--json] [--list] [--only NAME]`: plants one bug after the other in private copies of the tree
 * and names the check that notices. A bug that nobody notices, a stale one, or specs that fail without any make it exit 1.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readFile } from 'node:fs/promises';
import { Laboratory, planted, specPath } from './laboratory.ts';
import { LOG_MUTANTS } from './log.ts';
import { MACHINE_MUTANTS } from './machines.ts';
import type { Mutant } from './mutant.ts';
import { PORT_MUTANTS } from './ports.ts';

const WORKERS = 2;
const BASELINE_TIMEOUT_MS = 300_000;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true },
  },
});

interface Result {
  readonly name: string;
  readonly caught: boolean;
  /** Spec file and name of the check; null: none noticed. */
  readonly by: string | null;
}

const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

/** Where package.json is, from the source or from its build. */
function repository(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) directory = dirname(directory);
  return directory;
}

function chosen(): readonly Mutant[] {
  const all = [...MACHINE_MUTANTS, ...LOG_MUTANTS, ...PORT_MUTANTS];
  const names = new Set(all.map(({ name }) => name));
  if (names.size !== all.length) throw new Error('two mutants have one name');
  const { only } = values;
  const unknown = only?.find((name) => !names.has(name));
  if (unknown !== undefined) throw new Error(`no mutant is called ${unknown}`);
  return only === undefined ? all : all.filter(({ name }) => only.includes(name));
}

/** Before anything runs: every bug still fits its file, and every spec is there. */
async function checkFit(root: string, mutants: readonly Mutant[]): Promise<void> {
  for (const mutant of mutants) {
    planted(mutant, await readFile(join(root, 'src', mutant.file), 'utf8'));
    const missing = mutant.specs.find((spec) => !existsSync(join(root, specPath(spec))));
    if (missing !== undefined) throw new Error(`${mutant.name}: there is no ${specPath(missing)}`);
  }
}

/** What fails without a planted bug catches nothing. */
async function checkBaseline(laboratory: Laboratory, mutants: readonly Mutant[]): Promise<void> {
  const specs = [...new Set(mutants.flatMap((mutant) => mutant.specs))];
  const verdict = await laboratory.run(specs, BASELINE_TIMEOUT_MS);
  if (verdict.type === 'failed') throw new Error(`fails without any planted bug: ${verdict.by}`);
  if (verdict.type === 'broken') throw new Error(`the specs do not run: ${verdict.why}`);
}

const hunt = (laboratory: Laboratory, mutant: Mutant): Promise<Result> =>
  laboratory.with(mutant, async () => {
    const { name } = mutant;
    for (const spec of mutant.specs) {
      const verdict = await laboratory.run([spec]);
      if (verdict.type === 'failed') return { name, caught: true, by: `${spec}: ${verdict.by}` };
      if (verdict.type === 'broken') say(`${name}: ${spec} told nothing: ${verdict.why}`);
    }
    return { name, caught: false, by: null };
  });

const needsServer = ({ specs }: Mutant): boolean => specs[0]?.startsWith('integration/') === true;

async function huntAll(
  laboratories: readonly Laboratory[],
  mutants: readonly Mutant[],
): Promise<readonly Result[]> {
  const results = new Map<Mutant, Result>();
  // What needs a server takes longest: begun last, it would keep one worker waiting.
  const slow = mutants.filter(needsServer);
  const queue = [...slow, ...mutants.filter((mutant) => !needsServer(mutant))];
  await Promise.all(
    laboratories.map(async (laboratory) => {
      for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
        const result = await hunt(laboratory, mutant);
        results.set(mutant, result);
        say(`[${results.size}/${mutants.length}] ${result.caught ? 'caught  ' : 'SURVIVED'} ${line(result)}`);
      }
    }),
  );
  return mutants.flatMap((mutant) => results.get(mutant) ?? []);
}

const line = ({ name, by }: Result): string => (by === null ? name : `${name}  <- ${by}`);

async function main(): Promise<number> {
  const mutants = chosen();
  if (values.list) {
    for (const { name, file, specs } of mutants) console.log(`${name}  ${file}  ${specs.join(' ')}`);
    return 0;
  }
  const root = repository();
  await checkFit(root, mutants);
  const begunMs = performance.now();
  const laboratories: Laboratory[] = [];
  const interrupted = (): void => {
    for (const laboratory of laboratories) laboratory.kill();
    process.exitCode = 1;
    void Promise.all(laboratories.map((laboratory) => laboratory.close())).finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    for (let worker = 0; worker < Math.min(WORKERS, mutants.length); worker += 1)
      laboratories.push(await Laboratory.open(root));
    const [first] = laboratories;
    if (first !== undefined) await checkBaseline(first, mutants);
    say(`${mutants.length} mutants; their specs pass without them`);
    const results = await huntAll(laboratories, mutants);
    const caught = results.filter((result) => result.caught).length;
    const seconds = Math.round((performance.now() - begunMs) / 1_000);
    if (values.json) console.log(JSON.stringify({ mutants: results }));
    else console.log(`${caught} of ${results.length} mutants caught in ${seconds} s`);
    return caught === results.length ? 0 : 1;
  } finally {
    await Promise.all(laboratories.map((laboratory) => laboratory.close()));
  }
}

process.exitCode = await main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  return 1;
});
