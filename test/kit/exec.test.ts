// Goal: tests that start processes can trust what they read from them, and leave none behind.
// Method: real Node processes with one-line programs.
import { expect, it } from 'vitest';
import { runNode, spawnNode } from './exec.ts';

const program = (code: string): string[] => ['--input-type=module', '--eval', code];
const run = (code: string, options = {}): ReturnType<typeof runNode> => {
  const [flag = '', ...rest] = program(code);
  return runNode(flag, rest, options);
};
const start = (code: string): ReturnType<typeof spawnNode> => {
  const [flag = '', ...rest] = program(code);
  return spawnNode(flag, rest);
};
const FOREVER = 'setInterval(() => {}, 1000);';

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

it('returns the exit code, both outputs, and passes input and environment', async () => {
  const code = `
    for await (const chunk of process.stdin) process.stdout.write(String(chunk).toUpperCase());
    console.error(process.env.WHO, process.env.HOME); process.exitCode = 65;`;
  const result = await run(code, { input: 'rupees', env: { WHO: 'hdfc', HOME: undefined } });
  expect(result).toEqual({ code: 65, signal: null, stdout: 'RUPEES', stderr: 'hdfc undefined\n' });
});

it('kills what does not end in time and shows what it had printed', async () => {
  await expect(run(`console.log('halfway'); ${FOREVER}`, { timeoutMs: 700 })).rejects.toThrow(
    /did not end within 700 ms[^]*halfway/,
  );
});

it('finds lines already printed, lines to come and lines of either channel', async () => {
  await using child = start(`
    console.log('first'); console.error('warned');
    process.stdin.on('data', (d) => console.log('echo ' + d)); ${FOREVER}`);
  expect(await child.waitForLine('warned', 5_000, 'stderr')).toBe('warned');
  const later = child.waitForLine(/^echo/);
  child.write('hello');
  expect(await later).toBe('echo hello');
  expect(await child.waitForLine((line) => line.startsWith('fi'))).toBe('first');
  expect(child.lines()).toEqual(['first', 'echo hello']);
  await expect(child.waitForLine('never', 50)).rejects.toThrow(
    /matching never within 50 ms \(still running\)/,
  );
});

it('stops waiting for a line when the process ends', async () => {
  const child = start(`console.error('no server'); process.exit(69);`);
  await expect(child.waitForLine('ready')).rejects.toThrow(/"code":69[^]*no server/);
});

it('reports the signal that killed it, although a grandchild still holds its output', async () => {
  const child = start(`
    import { spawn } from 'node:child_process';
    const inner = spawn(process.execPath, ['--eval', '${FOREVER}'], { stdio: 'inherit' });
    console.log('inner ' + inner.pid); ${FOREVER}`);
  const innerPid = Number((await child.waitForLine(/^inner/)).split(' ')[1]);
  child.kill('SIGKILL');
  expect(await child.waitForExit()).toEqual({ code: null, signal: 'SIGKILL' });
  expect(isAlive(innerPid)).toBe(true);

  await child.stop();
  await expect.poll(() => isAlive(innerPid), { timeout: 5_000 }).toBe(false);
});

it('stops a process that is suspended, letting it handle SIGTERM', async () => {
  const child = start(`process.on('SIGTERM', () => process.exit(7)); console.log('up'); ${FOREVER}`);
  await child.waitForLine('up');
  child.kill('SIGSTOP');
  expect(await child.stop()).toEqual({ code: 7, signal: null });
});
