import { open } from 'node:fs/promises';
import { addAbortSignal, type Readable } from 'node:stream';

import { Option, type Command } from 'commander';

import { formatDurationMs } from '../../kernel/duration.ts';
import { PhasorError } from '../../errors/phasor-error.ts';
import type { OutcomeEnvelope } from '../../protocol/envelopes.ts';
import { createClient, type BeginRequest, type Client } from '../../runtime/client/index.ts';
import { duration, integer, sender } from '../arguments.ts';
import type { Cli } from '../cli.ts';
import { readLines, type Line } from '../ndjson.ts';
import { printable } from '../output.ts';
import { readPlanLine } from '../plan-line.ts';
import { Progress } from '../progress.ts';

interface Choices {
  readonly concurrency: number;
  readonly timeout: number;
  readonly sender: string;
}

const EXIT_BAD_INPUT = 65;

export function addRun(program: Command, cli: Cli): void {
  program
    .command('run')
    .description('begin transactions from a file, print their outcomes as they come')
    .argument('<file>', 'one plan per line as JSON; - reads stdin')
    .option('--concurrency <n>', 'transactions open at a time', integer(1, 10_000), 64)
    .addOption(
      new Option('--timeout <duration>', 'how long to wait for each outcome')
        .argParser(duration)
        .default(600_000, '10m'),
    )
    .option('--sender <service>', 'the service that begins them', sender, 'phasor-cli')
    .addHelpText(
      'after',
      `
A line:     {"pattern":"saga","plan":{"name":"order","steps":[{"participant":"stock","action":"reserve"}]}}
            optional: "tx" (an id of your own), "labels", "meta", "allow", "reply", "startAt"
An outcome: {"line":1,"tookMs":12,"tx":"…","pattern":"saga","status":"completed",…}, in order of completion
A bad line is named on stderr with its fields; the others still run. Ctrl-C ends the command, not what it has begun:
each transaction that is still open is a line {"line":…,"pattern":…,"tx":"…","open":true}.

Exit codes: 0 every plan reached its outcome, whichever; 65 bad lines; 75 outcomes that did not come in time.

Examples:
  $ phasor run plans.ndjson > outcomes.ndjson
  $ generate-plans | phasor run - --concurrency 256 --timeout 2m`,
    )
    .action(
      cli.action<Choices>(async ({ options, args: [file = '-'] }) => {
        const input = await openInput(file);
        return cli.withWorld(options, async (world) => {
          const client = await createClient(world, {
            sender: options.sender,
            maxInFlight: Math.max(options.concurrency, 1),
          });
          const runner = new Runner({ cli, client, options, input, file });
          try {
            return await runner.run();
          } finally {
            await client.close();
          }
        });
      }),
    );
}

interface Input {
  readonly stream: Readable;
  readonly totalBytes: number | undefined;
}

async function openInput(file: string): Promise<Input> {
  if (file === '-') return { stream: process.stdin, totalBytes: undefined };
  try {
    const handle = await open(file, 'r');
    const stats = await handle.stat();
    if (stats.isDirectory()) throw new Error('it is a directory');
    return { stream: handle.createReadStream(), totalBytes: stats.isFile() ? stats.size : undefined };
  } catch (cause) {
    const what = `cannot read ${file}: ${(cause as Error).message}`;
    throw new PhasorError('INPUT_UNREADABLE', what, { file }, { cause });
  }
}

interface Job {
  readonly cli: Cli;
  readonly client: Client;
  readonly options: Choices;
  readonly input: Input;
  readonly file: string;
}

class Runner {
  readonly #job: Job;
  readonly #open = new Set<Promise<void>>();
  readonly #statuses = new Map<string, number>();
  #ended = 0;
  #bad = 0;
  /** Begun, and not ended when the command was interrupted: they go on without it. */
  readonly #left: string[] = [];
  #failure: PhasorError | undefined;
  #bytesRead = 0;
  #wake: (() => void) | undefined;

  constructor(job: Job) {
    this.#job = job;
  }

  async run(): Promise<number> {
    const { cli, input, options } = this.#job;
    const startedMs = performance.now();
    const progress = new Progress(input.totalBytes);
    const ticker = setInterval(() => progress.update(this.#bytesRead, this.#counts()), 100);
    try {
      for await (const line of readLines(this.#chunks(addAbortSignal(cli.signal, input.stream)))) {
        const work = this.#take(line);
        if (work === undefined) continue;
        this.#open.add(work);
        if (this.#open.size >= options.concurrency) await this.#nextEnd();
      }
      await Promise.all(this.#open);
    } catch (error) {
      if (!cli.signal.aborted) throw error;
      await Promise.all(this.#open);
    } finally {
      clearInterval(ticker);
      progress.stop();
    }
    process.stderr.write(`${this.#summary(performance.now() - startedMs)}\n`);
    return this.#bad > 0 ? EXIT_BAD_INPUT : (this.#failure?.exitCode ?? 0);
  }

  /** One waiter at most: a race over all open ones would cost their number every time. */
  #nextEnd(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  async *#chunks(stream: Readable): AsyncGenerator<Uint8Array> {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      this.#bytesRead += chunk.length;
      yield chunk;
    }
  }

  /** Undefined: a bad line, already named. The promise never rejects. */
  #take(line: Line): Promise<void> | undefined {
    if (!line.ok) {
      this.#refuse(line.number, [line.problem]);
      return undefined;
    }
    const read = readPlanLine(line.text);
    if (!read.ok) {
      this.#refuse(line.number, read.problems);
      return undefined;
    }
    const work = this.#transact(line.number, read.request).finally(() => {
      this.#open.delete(work);
      this.#wake?.();
    });
    return work;
  }

  async #transact(line: number, request: BeginRequest): Promise<void> {
    const startedMs = performance.now();
    const known: Known = { tx: request.tx, begun: false };
    try {
      const outcome = await this.#outcomeOf(request, known);
      const tookMs = Math.round(performance.now() - startedMs);
      this.#statuses.set(outcome.status, (this.#statuses.get(outcome.status) ?? 0) + 1);
      this.#ended += 1;
      const { v: _, ...told } = outcome;
      await this.#job.cli.out.json({ line, tookMs, ...told });
    } catch (error) {
      await this.#failed(error, known, { line, pattern: request.pattern });
    }
  }

  async #outcomeOf(request: BeginRequest, known: Known): Promise<OutcomeEnvelope> {
    const { client, options } = this.#job;
    const wait = { timeoutMs: options.timeout };
    const handle = await client.begin(request);
    known.tx = handle.tx;
    known.begun = true;
    const outcome = await handle.outcome(wait);
    // The refusal has set the client's clock right; a fresh id that was refused did nothing.
    const skewed = outcome.status === 'refused' && outcome.code === 'clock-skew' && request.tx === undefined;
    if (!skewed) return outcome;
    const again = await client.begin(request);
    known.tx = again.tx;
    return again.outcome(wait);
  }

  async #failed(
    error: unknown,
    { tx, begun }: Known,
    { line, pattern }: { readonly line: number; readonly pattern: string },
  ): Promise<void> {
    const { cli } = this.#job;
    if (cli.signal.aborted) {
      if (!begun || tx === undefined) return;
      this.#left.push(tx);
      await cli.out.json({ line, pattern, tx, open: true });
      return;
    }
    if (!PhasorError.is(error)) throw error;
    if (error.exitCode === EXIT_BAD_INPUT) {
      this.#refuse(line, problemsOf(error));
      return;
    }
    this.#failure ??= error;
    const { code, message } = error;
    await cli.out.json({ line, pattern, ...(tx === undefined ? {} : { tx }), error: { code, message } });
  }

  #refuse(line: number, problems: readonly string[]): void {
    this.#bad += 1;
    const { file } = this.#job;
    for (const problem of problems) {
      process.stderr.write(`phasor: ${file === '-' ? 'stdin' : file} line ${line}: ${printable(problem)}\n`);
    }
  }

  #counts(): { ended: number; open: number; bad: number } {
    return { ended: this.#ended, open: this.#open.size, bad: this.#bad };
  }

  #summary(elapsedMs: number): string {
    const statuses = [...this.#statuses].sort().map(([status, count]) => `${count} ${status}`);
    const rate = Math.round(this.#ended / Math.max(elapsedMs / 1_000, 0.001));
    const parts = [
      `${this.#ended} ended${statuses.length === 0 ? '' : ` (${statuses.join(', ')})`}`,
      ...(this.#left.length === 0
        ? []
        : [`${this.#left.length} still open, they go on: ${listed(this.#left)}`]),
      ...(this.#bad === 0 ? [] : [`${this.#bad} bad line${this.#bad === 1 ? '' : 's'}`]),
      ...(this.#failure === undefined ? [] : [`some without outcome: ${this.#failure.code}`]),
    ];
    return `phasor: ${parts.join('; ')}; ${formatDurationMs(elapsedMs)}, ${rate}/s`;
  }
}

interface Known {
  tx: string | undefined;
  /** Durable: it runs whatever becomes of this command. */
  begun: boolean;
}

const MAX_LISTED = 10;
function listed(txs: readonly string[]): string {
  const more = txs.length - MAX_LISTED;
  return [...txs.slice(0, MAX_LISTED), ...(more > 0 ? [`and ${more} more`] : [])].join(', ');
}

function problemsOf({ what, details: { problems, field } }: PhasorError): readonly string[] {
  if (Array.isArray(problems) && problems.length > 0) return problems.map(String);
  return [field === undefined || what.includes(String(field)) ? what : `${String(field)}: ${what}`];
}
