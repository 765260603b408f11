import type { Reporter, SerializedError, TestCase, TestModule, Vitest } from 'vitest/node';
import { PartCounts } from './part-counts.ts';
import { areAllSpecsIn, transitionReport } from './transition-report.ts';

/**
 * Prints after the default reporter: one line a part, every skipped test with its reason, and last the plain
 * closing line over all. A file or hook that fails without any failing test counts as one failure, so that
 * the closing line never says "0 failed" in a red run. When all specs of machines ran, a row of a transition
 * table that none of them exercises is a failure, too; `TRANSITIONS=1` prints the specs of each row.
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
    this.#countTransitions(counts, modules);
    const log = (line: string): void => this.#vitest?.logger.log(line);
    counts.lines().forEach(log);
  }

  #countTransitions(counts: PartCounts, modules: readonly TestModule[]): void {
    const isFiltered = this.#vitest?.config.testNamePattern !== undefined;
    if (isFiltered || !areAllSpecsIn(modules.map(({ moduleId }) => moduleId))) return;
    const { summary, missing, rows } = transitionReport(specsByTransition(modules));
    const lines = process.env['TRANSITIONS'] === '1' ? [...rows, summary] : [summary];
    for (const line of lines) this.#vitest?.logger.log(line);
    for (const part of missing) counts.failed('unit', `no spec exercises the transition ${part}`);
    if (missing.length > 0) process.exitCode = 1;
  }
}

function specsByTransition(modules: readonly TestModule[]): Map<string, string[]> {
  const specs = new Map<string, string[]>();
  for (const module of modules.filter(({ project }) => project.name === 'unit')) {
    for (const test of module.children.allTests('passed')) {
      const name = `${module.relativeModuleId} > ${test.fullName}`;
      for (const part of test.meta().transitions ?? []) specs.set(part, [...(specs.get(part) ?? []), name]);
    }
  }
  return specs;
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
