/** One side of a comparison: a nats-server of its own and three processes, kept warm over all rounds. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { connect } from '../../src/index.ts';
import { startNatsServer, type NatsServerHandle } from '../../src/nats/server/index.ts';
import { planOf, type BenchPattern, type Load, type Measured } from './workload.ts';

export type SideName = 'floor' | 'product';
const ROLES = ['coordinator', 'participants', 'client'] as const;
type Role = (typeof ROLES)[number];

/** CPU seconds spent by each process. */
export type Cpu = Readonly<Record<Role | 'server', number>>;

export class Side {
  readonly #processes: Readonly<Record<Role, ChildProcess>>;
  readonly #answers: AsyncIterator<string>;
  #measured = false;

  private constructor(
    readonly name: SideName,
    readonly pattern: BenchPattern,
    private readonly started: {
      nats: NatsServerHandle;
      processes: Record<Role, ChildProcess>;
      lines: Interface;
    },
  ) {
    this.#processes = started.processes;
    this.#answers = started.lines[Symbol.asyncIterator]();
  }

  static async start(name: SideName, pattern: BenchPattern, shards: number): Promise<Side> {
    const nats = await startNatsServer();
    const { applyStreams, close } = await connect({ url: nats.url });
    await applyStreams({ shards });
    await close();
    const script = fileURLToPath(new URL('./process.js', import.meta.url));
    const processes = {} as Record<Role, ChildProcess>;
    let lines: Interface | undefined;
    for (const role of ROLES) {
      const args = [...process.execArgv, script, name, role, pattern, nats.url, String(shards)];
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      processes[role] = child;
      lines = createInterface({ input: child.stdout });
      await new Promise<void>((resolve, reject) => {
        lines?.once('line', () => resolve());
        child.once('exit', (code) => reject(new Error(`${name} ${role} ended with ${code ?? 'a signal'}`)));
      });
    }
    if (lines === undefined) throw new Error('no client process');
    return new Side(name, pattern, { nats, processes, lines });
  }

  /** Whether it has measured anything yet. */
  get isWarm(): boolean {
    return this.#measured;
  }

  async measure(concurrency: number, durationMs: number): Promise<Measured> {
    this.#measured = true;
    const load: Load = { pattern: this.pattern, plan: planOf(this.pattern), concurrency, durationMs };
    this.#processes.client.stdin?.write(`${JSON.stringify(load)}\n`);
    const answer = await this.#answers.next();
    if (answer.done === true) throw new Error(`the ${this.name} client ended`);
    return JSON.parse(answer.value) as Measured;
  }

  cpu(): Cpu {
    const { nats } = this.started;
    const spent = { server: nats.pid === undefined ? 0 : cpuSeconds(nats.pid) } as Record<
      Role | 'server',
      number
    >;
    for (const role of ROLES) spent[role] = cpuSeconds(this.#processes[role].pid ?? 0);
    return spent;
  }

  async stop(): Promise<void> {
    await Promise.all(
      Object.values(this.#processes).map(
        (child) =>
          new Promise<void>((resolve) => {
            child.once('exit', () => resolve());
            child.removeAllListeners('error');
            child.kill('SIGTERM');
          }),
      ),
    );
    await this.started.nats.stop();
  }
}

/** User and system time from /proc; 0 where there is none. */
function cpuSeconds(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return 0;
  }
}
