/** What a run's end promises about effects, and in which order they come (RELIABILITY I4, I5, I6). */
import type { Phase } from '../../kernel/vocabulary.ts';
import { contribution } from './book.ts';
import { isExpectedSplit, operationOf, splits } from './decisions.ts';
import { effectiveRuns, keyOf, type Checker, type Evidence } from './evidence.ts';
import {
  byPerson,
  commandsOf,
  isBody,
  isYes,
  nameOf,
  ofKind,
  outcomeOf,
  reportsOf,
  text,
  type PlannedStep,
  type Run,
} from './history.ts';

const FORWARD: ReadonlySet<string | undefined> = new Set(['committed', 'completed']);
const BACKWARD: ReadonlySet<string | undefined> = new Set(['aborted', 'compensated', 'cancelled', 'refused']);

/** A run that ended well has all its effects, one that was turned back none. */
export const atomicEffects: Checker = (evidence) => {
  const split = new Set(splits(evidence));
  return effectiveRuns(evidence).flatMap((run) => {
    if (split.has(run)) return [];
    const outcome = outcomeOf(run);
    const wrong = run.steps.filter((step) => isWrong(evidence, run, step));
    const states = wrong.map(
      ({ step }) => `${step} ${operationOf(evidence, run, step)?.state ?? 'untouched'}`,
    );
    return wrong.length === 0 ? [] : [`${nameOf(run)}, ${outcome ?? 'open'}: ${states.join(', ')}`];
  });
};

function isWrong(evidence: Evidence, run: Run, step: PlannedStep): boolean {
  if (step.child !== undefined) return false;
  const outcome = outcomeOf(run);
  const state = operationOf(evidence, run, step.step)?.state ?? 'untouched';
  if (BACKWARD.has(outcome)) return state === 'applied' || state === 'held';
  if (!FORWARD.has(outcome) || byPerson(run, 'skip', 'resolve')) return false;
  return state !== 'applied' && !tookNoPart(run, step);
}

const FIRST: Readonly<Record<Run['pattern'], readonly Phase[]>> = {
  '2pc': ['prepare', 'commit-one-phase'],
  '3pc': ['prepare'],
  saga: ['execute'],
  '2ps': ['prepare'],
  '3ps': ['reserve'],
  eventual: ['execute'],
};

const tookNoPart = (run: Run, step: PlannedStep): boolean =>
  FIRST[run.pattern].some((phase) =>
    reportsOf(run, step, phase).some(({ body }) => body['answer'] === 'read-only'),
  );

/** Everything that a transaction and its children moved sums up to nothing. */
export const conservation: Checker = (evidence) => {
  const families = new Map<string, { sum: number; settled: boolean; readonly name: string }>();
  const roots = rootsOf(evidence);
  const excused = new Set(splits(evidence).filter((run) => isExpectedSplit(evidence, run)));
  for (const run of effectiveRuns(evidence)) {
    if (run.pattern === 'eventual') continue;
    const root = roots(run);
    const family = families.get(keyOf(root)) ?? { sum: 0, settled: true, name: nameOf(root) };
    families.set(keyOf(root), family);
    const outcome = outcomeOf(run);
    if ((!FORWARD.has(outcome) && !BACKWARD.has(outcome)) || excused.has(run)) family.settled = false;
    if (byPerson(run, 'skip', 'resolve')) family.settled = false;
    for (const { step } of run.steps) {
      const operation = operationOf(evidence, run, step);
      if (operation !== undefined) family.sum += contribution(operation);
    }
  }
  return [...families.values()].flatMap(({ sum, settled, name }) =>
    settled && sum !== 0 ? [`${name}: ${sum} appeared from nowhere`] : [],
  );
};

function rootsOf({ history }: Evidence): (run: Run) => Run {
  const byKey = new Map(history.runs.map((run) => [keyOf(run), run]));
  return (run) => {
    let root = run;
    for (;;) {
      const parent = root.begin.body['parent'];
      const above = isBody(parent)
        ? byKey.get(`${text(parent['pattern'])}/${text(parent['tx'])}/${text(parent['run'])}`)
        : undefined;
      if (above === undefined) return root;
      root = above;
    }
  };
}

const UNDOS: Readonly<Partial<Record<Run['pattern'], readonly Phase[]>>> = {
  saga: ['compensate'],
  '2ps': ['compensate', 'cancel'],
  '3ps': ['compensate', 'release'],
};

/**
 * Undone is only what was begun, never the pivot; never in two ways; and before a step whatever depends on it, or in
 * 2PS and 3PS stands behind it.
 */
export const undoOrder: Checker = (evidence) =>
  effectiveRuns(evidence).flatMap((run) => {
    const undos = UNDOS[run.pattern];
    return undos === undefined ? [] : run.steps.flatMap((step) => undoProblems(run, step, undos));
  });

function undoProblems(run: Run, step: PlannedStep, undos: readonly Phase[]): string[] {
  if (step.child !== undefined) return [];
  const commands = undos.flatMap((phase) => commandsOf(run, phase, step.step));
  const first = Math.min(...commands.map(({ order }) => order));
  if (commands.length === 0) return [];
  const found: string[] = [];
  const complain = (what: string): unknown => found.push(`${nameOf(run)}: ${step.step} ${what}`);
  if (new Set(commands.map(({ body }) => body['phase'])).size > 1) complain('undone in two ways');
  if (step.kind === 'pivot') complain('is the pivot and was undone');
  // An act may be implied and not yet sent, or lost with its coordinator: what counts is what its turn waited for.
  for (const before of run.pattern === 'saga' ? step.after : []) {
    const earlier = run.steps.find((other) => other.step === before);
    const done = earlier !== undefined && reportsOf(run, earlier, 'execute').some(isYes);
    if (!done) complain(`undone, but its turn never came: ${before} was not done`);
  }
  for (const other of followers(run, step)) {
    if (other.child !== undefined) continue;
    const phases = undos.flatMap((phase) => reportsOf(run, other, phase));
    const undone = phases.some((report) => isYes(report) && report.order < first);
    const executed = reportsOf(run, other, 'execute').some(
      ({ body, order }) => body['answer'] === 'done' && order < first,
    );
    const givenUp = phases.some(
      ({ body, order }) => order < first && ['refused', 'stale', 'conflict'].includes(text(body['answer'])),
    );
    if (executed && !undone && !givenUp && !byPerson(run, 'skip', 'resolve') && !exhausted(run, other, undos))
      complain(`undone before ${other.step}`);
  }
  return found;
}

/** An undo whose attempts have ended waits for a person; in 2PS and 3PS the one before has its turn. */
const exhausted = (run: Run, step: PlannedStep, undos: readonly Phase[]): boolean =>
  run.pattern !== 'saga' &&
  undos.some((phase) => commandsOf(run, phase, step.step).length >= EXHAUSTED_AFTER);
const EXHAUSTED_AFTER = 12;

/** Steps that must be undone before this one. */
function followers(run: Run, step: PlannedStep): PlannedStep[] {
  if (run.pattern !== 'saga') return run.steps.slice(run.steps.indexOf(step) + 1);
  const found = new Set<string>([step.step]);
  // Steps may be listed in any order.
  for (let grown = true; grown;) {
    const next = run.steps.filter(
      ({ step: name, after }) => !found.has(name) && after.some((a) => found.has(a)),
    );
    grown = next.length > 0;
    for (const { step: name } of next) found.add(name);
  }
  return run.steps.filter((other) => other !== step && found.has(other.step));
}

const BEFORE: Readonly<Partial<Record<Run['pattern'], readonly Phase[]>>> = {
  '2ps': ['prepare', 'verify'],
  '3ps': ['reserve', 'validate'],
};

/** 2PS and 3PS execute nothing unless every earlier phase has its yes, and a gate has been opened. */
export const executeGate: Checker = (evidence) =>
  effectiveRuns(evidence).flatMap((run) => {
    const before = BEFORE[run.pattern];
    const first = commandsOf(run, 'execute')[0];
    if (before === undefined || first === undefined) return [];
    const gate = isBody(run.plan['gate']) ? run.plan['gate'] : undefined;
    const phases = run.pattern === '2ps' && gate === undefined ? before.slice(0, 1) : before;
    const found = run.steps.flatMap((step) => {
      const [firstPhase] = phases;
      const idle =
        firstPhase !== undefined &&
        reportsOf(run, step, firstPhase).some(({ body }) => body['answer'] === 'read-only');
      const missing = phases.filter(
        (phase) =>
          !(idle && phase !== firstPhase) &&
          !reportsOf(run, step, phase).some((report) => isYes(report) && report.order < first.order),
      );
      return missing.map((phase) => `${nameOf(run)}: executed without ${phase} of ${step.step}`);
    });
    const signal = gate === undefined ? undefined : gate['signal'];
    if (signal === undefined) return found;
    const given = ofKind(run, 'signal').find(({ body }) => body['name'] === signal);
    const approved = given?.body['verdict'] !== 'reject' && given !== undefined && given.order < first.order;
    return approved ? found : [...found, `${nameOf(run)}: executed without an approval`];
  });

/** Once accepted it is taken, a dead letter, or a person's. */
export const neverLost: Checker = (evidence) =>
  effectiveRuns(evidence).flatMap((run) => {
    if (run.pattern !== 'eventual' || evidence.attention.has(keyOf(run))) return [];
    if (['refused', 'mismatch'].includes(outcomeOf(run) ?? '')) return [];
    // Cancelled before it was taken in: own ids wait for their verdict.
    if (outcomeOf(run) === 'cancelled' && commandsOf(run, 'execute').length === 0) return [];
    if (byPerson(run, 'kill', 'skip', 'resolve', 'force')) return [];
    return run.steps.flatMap((step) => {
      const taken = operationOf(evidence, run, step.step)?.state === 'applied' || tookNoPart(run, step);
      return taken || isBuried(evidence, run, step)
        ? []
        : [`${nameOf(run)}: ${step.step} is neither taken nor a dead letter`];
    });
  });

function isBuried({ history }: Evidence, run: Run, step: PlannedStep): boolean {
  return history.letters.some(({ pattern, participant, body }) => {
    if (pattern !== run.pattern || participant !== step.participant) return false;
    const data = Buffer.from(text(body['data']), 'base64').toString();
    return data.includes(`"${run.tx}"`) && data.includes(`"${step.step}"`);
  });
}

/** The eventual part of a 1.5PS begins once the critical part has succeeded, and only then. */
export const handOver: Checker = (evidence) =>
  effectiveRuns(evidence).flatMap((run) => {
    if (run.pattern !== '2ps' || run.plan['eventual'] === undefined) return [];
    const children = evidence.history.runs.filter(({ pattern, begin }) => {
      const parent = begin.body['parent'];
      return pattern === 'eventual' && isBody(parent) && parent['tx'] === run.tx && parent['run'] === run.run;
    });
    const succeeded = run.steps.every(
      (step) => tookNoPart(run, step) || reportsOf(run, step, 'execute').some(isYes),
    );
    if (children.length > 0 && !succeeded)
      return [`${nameOf(run)}: its eventual part ran, the critical did not`];
    const over = outcomeOf(run) === 'completed';
    const ran = children.some((child) => child.entries.some(({ kind }) => kind === 'command'));
    return over && !ran ? [`${nameOf(run)}: completed without its eventual part`] : [];
  });

/** A nested transaction is there if and only if its parent went forward; otherwise it is undone by another. */
export const nested: Checker = (evidence) =>
  effectiveRuns(evidence).flatMap((run) => {
    const outcome = outcomeOf(run);
    if (run.pattern !== 'saga' || byPerson(run, 'skip', 'resolve')) return [];
    return run.steps.flatMap(({ step, child }) => {
      if (child === undefined) return [];
      const of = (phase: Phase): boolean => hasEnded(evidence, run, { step, phase });
      const there = of('execute') && !of('compensate');
      if (FORWARD.has(outcome) && !there) return [`${nameOf(run)}: went forward without ${step}`];
      if (BACKWARD.has(outcome) && there) return [`${nameOf(run)}: turned back but kept ${step}`];
      return [];
    });
  });

function hasEnded(
  { history }: Evidence,
  run: Run,
  { step, phase }: { readonly step: string; readonly phase: Phase },
): boolean {
  return history.runs.some((child) => {
    const parent = child.begin.body['parent'];
    if (!isBody(parent) || parent['tx'] !== run.tx || parent['run'] !== run.run) return false;
    return parent['step'] === step && parent['phase'] === phase && FORWARD.has(outcomeOf(child));
  });
}
