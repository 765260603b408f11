/**
 * `npm run demo`: real transactions over a real nats-server, every participant a process of its own.
 *
 * Exit codes: 0 every scenario ended as expected and the books balance; 1 not so; 64 wrong usage; 128 + n by a signal.
 */
import { constants } from 'node:os';
import { parseArgs } from 'node:util';
import { storyLines } from '../src/cli/story.ts';
import { runBulk, type Bulk } from './demo/bulk.ts';
import { count, Narrator, rupees } from './demo/narrator.ts';
import * as sagas from './demo/sagas.ts';
import * as scenarios from './demo/scenarios.ts';
import { setStage, type Stage } from './demo/stage.ts';
import { storyOf, type Scenario } from './demo/stagecraft.ts';

const USAGE = `Usage: npm run demo [-- options]

Runs distributed transactions on a nats-server of its own (or the one at NATS_URL) and checks the books.

  --json        one JSON document on stdout instead of the story
  --seed <n>    of the random transfers (default: another one each time)
  -h, --help    this text
`;
const EXIT_FAILED = 1;
const EXIT_USAGE = 64;
const TRANSFERS = 2_000;

interface Options {
  readonly json: boolean;
  readonly seed: number;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: { json: { type: 'boolean' }, seed: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help === true) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const seed = values.seed ?? String(Math.floor(Math.random() * 1_000_000));
  if (!/^\d{1,9}$/.test(seed)) throw new TypeError('--seed: a whole number of at most 9 digits');
  return { json: values.json ?? false, seed: Number(seed) };
}

async function play(
  stage: Stage,
  narrator: Narrator,
  run: Options & { readonly signal: AbortSignal },
): Promise<boolean> {
  const { server } = stage;
  narrator.line(narrator.paint('Phasor: distributed transactions on NATS JetStream', 'bold'));
  narrator.note(`nats-server ${server.version} at ${server.url}, a coordinator, and a process for each of`);
  narrator.note(scenarios.cast(stage));
  const before = await scenarios.balance(stage);
  const played: Scenario[] = [];
  for (const scenario of [
    scenarios.commits,
    scenarios.aborts,
    scenarios.orderCompletes,
    scenarios.orderCompensated,
    scenarios.coordinatorKilled,
    scenarios.highValue,
    sagas.approval,
    sagas.promptly,
    sagas.sale,
    sagas.newsletter,
  ]) {
    run.signal.throwIfAborted();
    played.push(await scenario(stage, narrator));
  }
  narrator.title(`11. ${count(TRANSFERS)} random transfers at once: phasor run transfers.ndjson`);
  const { seed, signal } = run;
  const bulk = await runBulk({ url: server.url, accounts: stage.crowd, count: TRANSFERS, seed, signal });
  narrator.verdict(
    isComplete(bulk),
    `${count(bulk.committed)} committed, ${count(bulk.aborted)} aborted for want of money (seed ${seed})`,
  );
  narrator.note(
    `${count(bulk.txPerSecond)} transactions per second, on this machine, all processes together`,
  );
  await showTimeline(
    stage,
    narrator,
    played.find(({ name }) => name === 'coordinator-killed'),
  );
  const after = await scenarios.balance(stage);
  const balanced = before.money === after.money && after.held === 0;
  narrator.title('The books');
  narrator.note(`before ${rupees(before.money)}`);
  narrator.note(`after  ${rupees(after.money)}, ${rupees(after.held)} on hold`);
  narrator.verdict(balanced, balanced ? 'equal to the last rupee' : 'money was made or lost');
  const ok = balanced && isComplete(bulk) && played.every((scenario) => scenario.ok);
  if (run.json) {
    const told = played.map(({ name, tx, pattern, status }) => ({ name, tx, pattern, status }));
    const document = { ok, moneyBefore: before.money, moneyAfter: after.money, scenarios: told, bulk };
    process.stdout.write(`${JSON.stringify(document)}\n`);
  }
  return ok;
}

const isComplete = ({ count: ended, committed, aborted }: Bulk): boolean =>
  ended === TRANSFERS && committed + aborted === TRANSFERS && committed > 0;

async function showTimeline(stage: Stage, narrator: Narrator, scenario: Scenario | undefined): Promise<void> {
  if (scenario === undefined) return;
  const story = await storyOf(stage, scenario);
  narrator.title('What the streams say about the transaction whose coordinator was killed');
  for (const line of story === undefined ? [] : storyLines(story)) narrator.line(line);
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\n\n${USAGE}`);
    return EXIT_USAGE;
  }
  const interrupted = new AbortController();
  let stoppedBy: NodeJS.Signals | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      stoppedBy ??= signal;
      interrupted.abort();
    });
  }
  const narrator = new Narrator({ silent: options.json });
  const staged = setStage();
  try {
    const stage = await untilAborted(staged, interrupted.signal);
    const played = play(stage, narrator, { ...options, signal: interrupted.signal });
    const ended = Promise.race([played, stage.children.lost]);
    return (await untilAborted(ended, interrupted.signal)) ? 0 : EXIT_FAILED;
  } catch (error) {
    if (stoppedBy !== undefined) return 128 + constants.signals[stoppedBy];
    process.stderr.write(
      `demo: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
    return EXIT_FAILED;
  } finally {
    // Also a stage that was still being set when the signal came.
    await staged.then((stage) => stage.close()).catch(() => undefined);
  }
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined);
  const aborted = new Promise<never>((_, reject) => {
    const give = (): void => reject(new Error('interrupted'));
    if (signal.aborted) give();
    else signal.addEventListener('abort', give, { once: true });
  });
  return Promise.race([work, aborted]);
}

const exitCode = await main();
process.stdout.write('', () => process.exit(exitCode));
