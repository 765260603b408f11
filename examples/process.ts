/** What the examples' processes share: where the server is, a ready line, and a clean end. */
import { PhasorError } from '../src/index.ts';

const DEFAULT_URL = 'nats://127.0.0.1:4222';

/** What a variable like `STOCK=bicycle=10,helmet=3` says. */
export function amountsOf(variable: string): Readonly<Record<string, number>> {
  const items = (process.env[variable] ?? '').split(',').filter((item) => item !== '');
  return Object.fromEntries(
    items.map((item) => {
      const [, name, amount] = /^([a-z][a-z0-9-]*)=(\d{1,15})$/.exec(item) ?? [];
      if (name === undefined || amount === undefined)
        throw new TypeError(`${variable}: ${item} is not of the form name=10`);
      return [name, Number(amount)];
    }),
  );
}

/**
 * Starts a service and keeps it until SIGTERM, SIGINT, or the end of stdin when EXAMPLE_STDIN=hold. When it cannot
 * start, the process ends with the error's exit code.
 *
 * @param start gets NATS_URL; resolves, once the service works, to the way to stop it.
 */
export async function runService(
  name: string,
  start: (url: string) => Promise<() => Promise<void>>,
): Promise<void> {
  const stopAsked = new Promise<void>((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
    if (process.env['EXAMPLE_STDIN'] === 'hold') process.stdin.once('end', () => resolve()).resume();
  });
  try {
    const stop = await start(process.env['NATS_URL'] ?? DEFAULT_URL);
    process.stdout.write(`${name} ready\n`);
    await stopAsked;
    await stop();
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(PhasorError.is(error) ? error.exitCode : 1);
  }
}
