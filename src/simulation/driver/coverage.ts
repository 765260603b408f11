/** Which branches of recovery a seed has taken, as its streams and its broker show. */
import { takeoverCount } from '../checkers/barrier.ts';
import type { Evidence } from '../checkers/evidence.ts';
import type { Trace } from '../trace.ts';

/** Every branch that a long run of all kinds is to take at least once. */
export const BRANCHES = [
  ...['retry', 'unknown', 'refused', 'read-only', 'terminated'].map((name) => `answer:${name}`),
  ...['isolate', 'crashed'].map((code) => `worker:${code}`),
  ...['attempt', 'backoff', 'phase', 'run', 'gate', 'reservation'].map((kind) => `deadline:${kind}`),
  ...['duplicate', 'mismatch', 'admit'].map((value) => `verdict:${value}`),
  ...['commit', 'abort', 'undo'].map((value) => `decision:${value}`),
  ...['cancel', 'kill', 'retry'].map((action) => `operator:${action}`),
  ...['committed', 'aborted', 'completed', 'compensated', 'cancelled', 'killed', 'dead'].map(
    (status) => `outcome:${status}`,
  ),
  ...['begin', 'report'].map((kind) => `child:${kind}`),
  ...['late-effect', 'may-have-run'].map((flag) => `report:${flag}`),
  ...['consumer-lost', 'session-over', 'duplicate'].map((event) => `broker:${event}`),
  ...['takeover', 'again', 'late'].map((what) => `barrier:${what}`),
  'dead-letter',
];

export function branchesOf(evidence: Evidence, trace: Trace): ReadonlyMap<string, number> {
  const counts = new Map<string, number>(BRANCHES.map((branch) => [branch, 0]));
  const count = (branch: string, by = 1): void => {
    const known = counts.get(branch);
    if (known !== undefined) counts.set(branch, known + by);
  };
  for (const { begin, entries } of evidence.history.runs) {
    if (begin.party === 'coordinator') count('child:begin');
    for (const { kind, party, body } of entries) {
      const value = (field: string): string => String(body[field]);
      if (party === 'operator') count(`operator:${kind}`);
      else if (kind === 'deadline') count(`deadline:${value('kind')}`);
      else if (kind === 'decided') count(`${value('kind')}:${value('value')}`);
      if (kind !== 'report') continue;
      if (party === 'coordinator') count('child:report');
      count(`answer:${value('answer')}`);
      count(`worker:${value('code')}`);
      if (body['lateEffect'] === true) count('report:late-effect');
      if (body['mayHaveRun'] === true) count('report:may-have-run');
    }
  }
  for (const [type, times] of trace.counts) count(`broker:${type}`, times);
  count('barrier:takeover', takeoverCount(evidence));
  for (const book of evidence.books.values())
    for (const { entries } of book.operations.values())
      for (const { change } of entries) count(`barrier:${change}`);
  count('dead-letter', evidence.history.letters.length);
  return counts;
}
