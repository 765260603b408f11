import { PhasorError } from '../errors/phasor-error.ts';
import { CRASH_POINTS, passOn, type CrashPoint, type Passing } from '../ports/crash-points.ts';

export const CRASH_VARIABLE = 'PHASOR_CRASH';

/**
 * `PHASOR_CRASH=name[:nth]`: this process kills itself with SIGKILL as it passes the point for the nth time
 * (default: the first). Not set: nothing ever happens.
 *
 * @throws {PhasorError} `CONFIG_INVALID`: an unknown point, or nth is not a positive integer.
 */
export function crashPassing(env: NodeJS.ProcessEnv = process.env): Passing {
  const text = env[CRASH_VARIABLE];
  if (text === undefined || text === '') return passOn;
  const { point, nth } = parse(text);
  let passed = 0;
  return (at) => {
    if (at !== point) return;
    passed += 1;
    if (passed === nth) process.kill(process.pid, 'SIGKILL');
  };
}

function parse(text: string): { readonly point: CrashPoint; readonly nth: number } {
  const [name = '', nth = '1', ...rest] = text.split(':');
  const refuse = (why: string): PhasorError =>
    new PhasorError('CONFIG_INVALID', `${CRASH_VARIABLE}=${text}: ${why}`, { option: CRASH_VARIABLE });
  if (!isCrashPoint(name)) {
    throw refuse(`unknown crash point; known: ${Object.keys(CRASH_POINTS).join(', ')}`);
  }
  if (rest.length > 0 || !/^[1-9]\d{0,8}$/.test(nth)) throw refuse('write name or name:nth, nth from 1');
  return { point: name, nth: Number(nth) };
}

const isCrashPoint = (name: string): name is CrashPoint => Object.hasOwn(CRASH_POINTS, name);
