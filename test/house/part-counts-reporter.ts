import type { Reporter, SerializedError, TestCase, TestModule, Vitest } from 'vitest/node';
import { PartCounts } from './part-counts.ts';

/**
 * Prints after the default reporter: one line a part, every skipped test with its reason, and last the plain
 * closing line over all. A file or hook that fails without any failing test counts as one failure, so that
 * the closing line never says "0 failed" in a red run.
 */
export default class PartCountsReporter implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const counts = new PartCounts();
    for (const module of modules) countModule(counts, module);
    for (const error of unhandled) counts.failed('unhandled', error.message);
    const log = (line: string): void => this.#vitest?.logger.log(line);
    counts.lines().forEach(log);
  }
}

function countModule(counts: PartCounts, module: TestModule): void {
  const part = module.project.name;
  const broken = [module, ...module.children.allSuites()].filter((owner) => owner.errors().length > 0);
  for (const owner of broken) {
    counts.failed(
      part,
      `${owner.type === 'suite' ? owner.fullName : module.relativeModuleId}: hook or file failed`,
    );
  }
  for (const test of module.children.allTests()) countTest(counts, part, test);
}

function countTest(counts: PartCounts, part: string, test: TestCase): void {
  const name = `${test.module.relativeModuleId} > ${test.fullName}`;
  const result = test.result();
  switch (result.state) {
    case 'passed':
      counts.passed(part);
      break;
    case 'skipped':
      counts.skipped(part, { test: name, reason: result.note });
      break;
    case 'failed':
      counts.failed(part, name);
      break;
    case 'pending':
      counts.failed(part, `${name}: did not finish`);
      break;
  }
}
