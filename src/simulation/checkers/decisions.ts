/** One decision, decided validly, kept by everybody (RELIABILITY I1, I2, I3, I8). */
import { contribution, type Operation } from './book.ts';
import { effectiveRuns, keyOf, type Checker, type Evidence } from './evidence.ts';
import {
  byPerson,
  commandsOf,
  decisionOf,
  hasRun,
  isYes,
  nameOf,
  notesOf,
  outcomeOf,
  reportsOf,
  type Run,
} from './history.ts';

/** Never two different decisions or outcomes of one run, and nobody ever derived otherwise. */
export const oneDecision: Checker = (evidence) =>
  evidence.history.runs.flatMap((run) => {
    const found: string[] = [];
    for (const kind of ['decision', 'outcome'] as const) {
      const values = new Set(notesOf(run, kind).map(({ body }) => String(body['value'])));
      if (values.size > 1) found.push(`${nameOf(run)}: ${kind}s ${[...values].join(' and ')}`);
    }
    if (notesOf(run, 'conflict').length > 0) found.push(`${nameOf(run)}: a coordinator derived otherwise`);
    if (commandsOf(run, 'commit').length > 0 && commandsOf(run, 'abort').length > 0)
      found.push(`${nameOf(run)}: both commit and abort commanded`);
    return found;
  });

/** An own id runs once, however often it is begun; a fresh one is begun once. */
export const oneRun: Checker = (evidence) => {
  const runs = new Map<string, Run[]>();
  for (const run of effectiveRuns(evidence)) {
    if (outcomeOf(run) === 'refused' || outcomeOf(run) === 'mismatch') continue;
    const key = `${run.pattern} ${run.tx}`;
    runs.set(key, [...(runs.get(key) ?? []), run]);
  }
  return [...runs].flatMap(([key, found]) =>
    found.length > 1 ? [`${key}: ran as ${found.map(({ run }) => run).join(' and as ')}`] : [],
  );
};

/** Commit only on a recorded yes of everybody. */
export const validity: Checker = (evidence) =>
  evidence.history.runs.flatMap((run) => {
    if (run.pattern !== '2pc' && run.pattern !== '3pc') return [];
    const first = [
      ...notesOf(run, 'decision').filter(({ body }) => body['value'] === 'commit'),
      ...commandsOf(run, 'commit'),
      ...commandsOf(run, 'precommit'),
    ].sort((a, b) => a.order - b.order)[0];
    if (first === undefined) return [];
    return run.steps.flatMap((step) => {
      const voted = [...reportsOf(run, step, 'prepare'), ...reportsOf(run, step, 'commit-one-phase')];
      const ended = voted.some(
        (vote) => vote.order < first.order && (isYes(vote) || vote.body['result'] === 'committed'),
      );
      return ended || byPerson(run, 'resolve', 'force')
        ? []
        : [`${nameOf(run)}: committed without a yes of ${step.step}`];
    });
  });

/** Everything a participant did for a step. */
export function operationOf(evidence: Evidence, run: Run, step: string): Operation | undefined {
  const id = `${run.pattern}.${run.tx}.${run.run}.${step}`;
  for (const book of evidence.books.values()) {
    const operation = book.operations.get(id);
    if (operation !== undefined) return operation;
  }
  return undefined;
}

/** Nobody has applied what another has aborted. */
export function splits(evidence: Evidence): readonly Run[] {
  return effectiveRuns(evidence).filter((run) => {
    if (run.pattern !== '2pc' && run.pattern !== '3pc') return false;
    const states = run.steps.map(({ step }) => operationOf(evidence, run, step));
    const applied = states.some((operation) => operation?.state === 'applied');
    const over = states.some((operation) => operation?.state === 'over');
    const decision = decisionOf(run);
    return (applied && over) || (applied && decision === 'abort') || (over && decision === 'commit');
  });
}

export const isExpectedSplit = (evidence: Evidence, run: Run): boolean =>
  run.pattern === '3pc' && evidence.mayHaveSplit;

export const agreement: Checker = (evidence) =>
  splits(evidence)
    .filter((run) => !isExpectedSplit(evidence, run))
    .map((run) => {
      const states = run.steps.map(
        ({ step }) => `${step} ${operationOf(evidence, run, step)?.state ?? 'untouched'}`,
      );
      return `${nameOf(run)}, decided ${decisionOf(run) ?? 'nothing'}: ${states.join(', ')}`;
    });

/** What was acknowledged is in the log, and its outcome is told or can be found. */
export const noLostAcknowledgement: Checker = (evidence) => {
  const begins = new Map(evidence.history.runs.map((run) => [`${run.pattern}/${run.begin.at}`, run]));
  return evidence.told.flatMap(({ pattern, tx, begunAt, outcomes }) => {
    if (begunAt === undefined) return [];
    const run = begins.get(`${pattern}/${begunAt}`);
    if (run?.tx !== tx) return [`${pattern} ${tx}: its begin at ${begunAt} is not in the log`];
    if (outcomes.length > 0) return [];
    const found = evidence.history.runs.some(
      (other) =>
        other.tx === tx &&
        other.pattern === pattern &&
        (outcomeOf(other) !== undefined || evidence.attention.has(keyOf(other))),
    );
    return found ? [] : [`${nameOf(run)}: acknowledged, but its outcome is nowhere`];
  });
};

/** What a caller hears is what is written. */
export const toldTruly: Checker = (evidence) => {
  const runs = new Map(evidence.history.runs.map((run) => [keyOf(run), run]));
  return evidence.told.flatMap(({ pattern, tx, outcomes }) =>
    outcomes.flatMap(({ status, attention, run: id }) => {
      const run = runs.get(`${pattern}/${tx}/${id}`);
      if (run === undefined) return [`${pattern} ${tx}: an outcome of a run that never was: ${id}`];
      const written = outcomeOf(run);
      if (attention || status === 'mismatch' || status === 'refused' || written === status) return [];
      // The critical part of a 1.5PS is told before its run ends.
      if (written === undefined && run.plan['eventual'] !== undefined) return [];
      if (written === 'resolved' || written === 'killed') return [];
      return [`${nameOf(run)}: told ${status}, written ${written ?? 'nothing'}`];
    }),
  );
};

/** After healing every run that was taken in has ended or waits for a person. */
export const liveness: Checker = (evidence) =>
  evidence.history.runs
    .filter((run) => hasRun(run) && outcomeOf(run) === undefined && !evidence.attention.has(keyOf(run)))
    .map((run) => `${nameOf(run)}: has not ended and waits for nobody`);

/** Coordinators remember what is open and nothing else. */
export const boundedMemory: Checker = (evidence) => {
  const open = evidence.history.runs.filter((run) => hasRun(run) && outcomeOf(run) === undefined).length;
  return [...evidence.openRuns].flatMap(([node, count]) =>
    count > open ? [`${node}: ${count} runs in memory, ${open} open in the log`] : [],
  );
};

/** Money and goods are where the operations say, and nothing was asked out of turn. */
export const books: Checker = (evidence) =>
  [...evidence.books].flatMap(([participant, book]) => {
    const found = book.anomalies.map((anomaly) => `${participant}: ${anomaly}`);
    let expected = book.start;
    for (const operation of book.operations.values()) {
      expected += contribution(operation);
      const applied = operation.entries.filter(({ change }) => change === 'apply').length;
      const reverted = operation.entries.filter(({ change }) => change === 'revert').length;
      if (applied > 1 || reverted > applied)
        found.push(`${operation.id}: applied ${applied} times, reverted ${reverted}`);
    }
    if (book.balance !== expected) found.push(`${participant}: has ${book.balance}, should have ${expected}`);
    if (book.balance < 0) found.push(`${participant}: overdrawn to ${book.balance}`);
    return found;
  });

/** Nobody sends what another cannot read: dead letters are 0.5PS steps that nobody could take, and nothing else. */
export const readable: Checker = ({ history }) =>
  history.letters
    .filter(({ pattern, participant }) => pattern !== 'eventual' || participant === 'coordinator')
    .map(
      ({ pattern, participant, body }) =>
        `dead letter of ${pattern} at ${participant}: ${String(body['subject'])}: ${String(body['problem'])}`,
    );
