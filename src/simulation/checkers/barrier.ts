/**
 * What a `kv` barrier promises (DESIGN §4), judged by the history of its records and the calls of its handlers:
 *
 * - a handler runs only behind a claim of its own, so no two executions are at work at once;
 * - an answer is remembered: what was answered does not run again, nor what said that its attempt left nothing behind;
 * - no act runs after its undo, no undo of what never ran, no finish beside an undo;
 * - a claim ends in an answer unless its handler gave none, or something kept its holder from renewing or recording it:
 *   its process, its connection or the broker were down or stopped, the very write got lost, or nobody waited for the
 *   attempt any more (past its `due` a claim is not renewed). Only such a claim is taken over.
 *
 * So the effect is at least once, and more than once only as often as claims of its phase ended without an answer.
 */
import { barrierKey } from '../../reliability/barrier.ts';
import { isOpenPhase, isUndoPhase, UNDO_PHASES, type Phase } from '../../kernel/vocabulary.ts';
import * as seen from './barrier-evidence.ts';
import { claimsOf, isAnswered, isFinish, isPositive, isStarted, type Claim } from './barrier-evidence.ts';
import type { Checker, Evidence } from './evidence.ts';
import { commandsOf, isYes, ofKind, type LogEntry, type Run } from './history.ts';

const everyClaim = ({ barriers }: Evidence): readonly Claim[] =>
  [...barriers.records].flatMap(([key, writes]) => claimsOf(key, writes));

interface Step {
  readonly run: Run;
  readonly step: string;
}

function stepsByKey({ history }: Evidence): ReadonlyMap<string, Step> {
  return new Map(
    history.runs.flatMap((run) => run.steps.map(({ step }) => [barrierKey({ ...run, step }), { run, step }])),
  );
}

/** What stands in a record stays, and who may run is decided by it. */
export const records: Checker = (evidence) => {
  const steps = stepsByKey(evidence);
  const forgotten = [...evidence.barriers.records].flatMap(([key, writes]) =>
    writes.flatMap((write, index) => forgets(key, writes[index - 1], write)),
  );
  return [...forgotten, ...everyClaim(evidence).flatMap((claim) => wrongClaim(claim, steps.get(claim.key)))];
};

function forgets(
  key: string,
  before: seen.RecordWrite | undefined,
  { phases, by }: seen.RecordWrite,
): string[] {
  return [...(before?.phases ?? [])].flatMap(([phase, earlier]) => {
    const now = phases.get(phase);
    const complain = (what: string): string[] => [`${key}: ${phase} ${what}`];
    if (now === undefined) return complain('is not in the record any more');
    if (
      isPositive(seen.answerOf(earlier)) &&
      !isStarted(now) &&
      seen.answerOf(now) !== seen.answerOf(earlier)
    )
      return complain(`was answered ${seen.answerOf(earlier)}, then ${seen.answerOf(now) || 'nothing'}`);
    if (isStarted(earlier) && isAnswered(now) && by !== earlier['by'])
      return complain('was answered by another than who ran');
    const unknown = earlier['status'] === 'idle' || (isStarted(earlier) && earlier['by'] !== now['by']);
    if (unknown && isStarted(now) && now['dirty'] !== true)
      return complain('may have run before, and no one knows');
    return [];
  });
}

function wrongClaim(claim: Claim, step: Step | undefined): string[] {
  const { key, phase, entry, before } = claim;
  const found: string[] = [];
  const complain = (what: string): unknown => found.push(`${key}: ${phase} ran ${what}`);
  const own = before?.phases.get(phase);
  if (isAnswered(own) && own['reopened'] !== true && !isRedo(step, phase, Number(own['attempt']))) {
    const answer = seen.answerOf(own);
    const nothing = answer === 'refused' || answer === 'retry';
    if (!nothing) complain(`although it was answered ${answer}`);
    else if (Number(own['attempt']) >= Number(entry['attempt']))
      complain(`again in an attempt that was answered ${answer}`);
  }
  const held = [...(before?.phases.keys() ?? [])];
  const undo = held.find((other) => isUndoPhase(other) && other !== phase);
  const finish = held.find(isFinish);
  if (!isUndoPhase(phase) && undo !== undefined) complain(`after ${undo}`);
  if (isUndoPhase(phase) && undo !== undefined) complain(`beside ${undo}`);
  if (finish !== undefined && !isFinish(phase)) complain(`after ${finish}`);
  if (isUndoPhase(phase) && !mayHaveRun(before, phase) && !isSaidToHaveRun(step, phase))
    complain('of what never ran');
  return found;
}

/** How often its act took effect after it was undone, as the coordinator was told: so often it is undone anew. */
const redosOf = (step: Step | undefined, phase: Phase): number => redos(step, phase).size;

const isRedo = (step: Step | undefined, phase: Phase, attempt: number): boolean =>
  [...redos(step, phase)].some((redo) => redo > attempt);

/** Answers of attempts below these do not count any more. */
function redos(step: Step | undefined, phase: Phase): ReadonlySet<number> {
  const commands = step === undefined ? [] : commandsOf(step.run, phase, step.step);
  return new Set(commands.map(({ body }) => Number(body['redo'] ?? 0)).filter((redo) => redo > 0));
}

const mayHaveRun = (before: seen.RecordWrite | undefined, undo: Phase): boolean =>
  [...(before?.phases ?? [])].some(
    ([phase, entry]) => phase === undo || (isOpenPhase(phase) && !seen.leftNothing(entry)),
  );

const isSaidToHaveRun = (step: Step | undefined, phase: Phase): boolean =>
  step !== undefined && commandsOf(step.run, phase, step.step).some(({ body }) => body['ran'] === true);

/** Nobody is taken for dead who could have renewed his claim, nor before it has run out. */
export const takeovers: Checker = (evidence) => {
  const steps = stepsByKey(evidence);
  return everyClaim(evidence).flatMap((claim) => {
    const { key, write, before } = claim;
    return [...(before?.phases ?? [])].flatMap(([phase, earlier]) => {
      if (before === undefined || !isStarted(earlier)) return [];
      const lost = { key, phase, entry: earlier, fromMs: before.atMs, toMs: write.atMs };
      const turned = evidence.barriers.troubles.some(
        ({ where, fromMs, toMs }) => where === 'broker' && fromMs <= write.atMs && toMs >= before.atMs,
      );
      const complain = (what: string): string[] => [`${key}: ${claim.phase} took over from ${phase} ${what}`];
      // The new leader's clock may be ahead or behind: what its timestamps say of a lease means little.
      if (!turned && write.timeMs - before.timeMs <= Number(earlier['leaseMs']))
        return complain('while its claim was alive');
      const holder = holderOf(evidence, claim, earlier);
      const excused =
        inTrouble(evidence, holder, lost) ||
        isOverdue(steps.get(key), { phase, entry: earlier, timeMs: write.timeMs });
      return excused ? [] : complain('which nothing had kept from its end');
    });
  });
};

/** Claims that were taken over. */
export const takeoverCount = (evidence: Evidence): number =>
  everyClaim(evidence).filter(({ before }) => [...(before?.phases.values() ?? [])].some(isStarted)).length;

const holderOf = ({ barriers }: Evidence, { key }: Claim, { by }: seen.PhaseEntry): string =>
  barriers.records.get(key)?.find((write) => write.by === by)?.node ?? '';

function inTrouble(
  { barriers }: Evidence,
  node: string,
  lost: { readonly key: string; readonly fromMs: number; readonly toMs: number },
): boolean {
  return barriers.troubles.some(({ where, fromMs, toMs }) => {
    const concerns = where === 'broker' || where === node || where.endsWith(`.${lost.key}`);
    return concerns && fromMs <= lost.toMs && toMs >= lost.fromMs;
  });
}

/** Its time was up: nobody waited for it, and it was renewed no more. */
function isOverdue(
  step: Step | undefined,
  {
    phase,
    entry,
    timeMs,
  }: { readonly phase: Phase; readonly entry: seen.PhaseEntry; readonly timeMs: number },
): boolean {
  if (step === undefined) return false;
  return commandsOf(step.run, phase, step.step).some(
    ({ body }) =>
      body['attempt'] === entry['attempt'] && typeof body['due'] === 'number' && body['due'] <= timeMs,
  );
}

/** Every execution by the claim that it ran behind. */
function executionsByClaim(evidence: Evidence): {
  readonly claimed: ReadonlyMap<Claim, seen.Execution>;
  readonly unclaimed: readonly seen.Execution[];
} {
  const claims = new Map<string, Claim[]>();
  for (const claim of everyClaim(evidence)) {
    const name = `${claim.key} ${claim.phase} ${claim.write.node}`;
    claims.set(name, [...(claims.get(name) ?? []), claim]);
  }
  const claimed = new Map<Claim, seen.Execution>();
  const unclaimed: seen.Execution[] = [];
  for (const execution of evidence.barriers.executions) {
    const own = claims.get(`${execution.key} ${execution.phase} ${execution.node}`);
    const claim = own?.findLast(({ write }) => write.atMs <= execution.startMs);
    if (claim === undefined || claimed.has(claim)) unclaimed.push(execution);
    else claimed.set(claim, execution);
  }
  return { claimed, unclaimed };
}

/** Handlers run behind claims, and what they answered is what the record keeps. */
export const executions: Checker = (evidence) => {
  const { claimed, unclaimed } = executionsByClaim(evidence);
  return [
    ...unclaimed.map(({ key, phase, node }) => `${key}: ${phase} ran at ${node} without a claim of its own`),
    ...[...claimed].flatMap(([{ key, phase, entry, end }, { answer }]) => {
      if (!isPositive(answer) || end === undefined || end.write.by !== entry['by']) return [];
      return isPositive(seen.answerOf(end.entry))
        ? []
        : [
            `${key}: ${phase} answered ${answer ?? ''}, but its record says ${seen.answerOf(end.entry) || 'nothing'}`,
          ];
    }),
  ];
};

/** A handler that trusts its barrier does a thing twice only where a claim ended without an answer, or its answer was spent. */
export const effectsOnce: Checker = (evidence) => {
  const steps = stepsByKey(evidence);
  const lost = new Map<string, number>();
  for (const { key, phase, end } of everyClaim(evidence)) {
    const reopened =
      isAnswered(end?.entry) && isPositive(seen.answerOf(end.entry)) && wasReopened(evidence, key, phase);
    if (isAnswered(end?.entry) && isPositive(seen.answerOf(end.entry)) && !reopened) continue;
    lost.set(`${key} ${phase}`, (lost.get(`${key} ${phase}`) ?? 0) + 1);
  }
  return trustingOperations(evidence).flatMap(({ id, entries }) => {
    const again = new Map<Phase, number>();
    for (const { phase, change } of entries)
      if (change === 'again') again.set(phase, (again.get(phase) ?? 0) + 1);
    return [...again].flatMap(([phase, count]) => {
      const losses = lost.get(`${id} ${phase}`) ?? 0;
      const redone = redosOf(steps.get(id), phase);
      return count > losses + redone
        ? [`${id}: ${phase} took effect ${count + 1} times, ${losses} answers were lost, ${redone} spent`]
        : [];
    });
  });
};

const wasReopened = ({ barriers }: Evidence, key: string, phase: Phase): boolean =>
  barriers.records.get(key)?.some(({ phases }) => phases.get(phase)?.['reopened'] === true) ?? false;

const trustingOperations = ({ barriers, books }: Evidence) =>
  [...books].flatMap(([participant, book]) =>
    barriers.trusting.has(participant) ? [...book.operations.values()] : [],
  );

/**
 * An act that took effect after its undo is told as late, unless its process died first; and an undo that is commanded
 * after that runs once more.
 */
export const lateEffects: Checker = (evidence) => {
  const steps = stepsByKey(evidence);
  return trustingOperations(evidence).flatMap(({ id, entries }) =>
    entries.flatMap(({ change, phase, attempt, atMs }, index) => {
      if (change !== 'late' || entries.slice(index + 1).some((later) => isUndoPhase(later.phase))) return [];
      const step = steps.get(id);
      const told =
        step === undefined ? undefined : reportOf(step, phase).findLast((report) => isLate(report, attempt));
      if (told === undefined)
        return hasDied(evidence, id, { phase, atMs })
          ? []
          : [`${id}: ${phase} took effect after its undo, and nobody says so`];
      return step !== undefined && wasUndoneInWords(step, told)
        ? [`${id}: ${phase} took effect after its undo, which was answered again without running`]
        : [];
    }),
  );
};

const reportOf = ({ run, step }: Step, phase: unknown): readonly LogEntry[] =>
  ofKind(run, 'report').filter(({ body }) => body['step'] === step && body['phase'] === phase);
const isLate = ({ body }: LogEntry, attempt: number): boolean =>
  body['lateEffect'] === true && body['attempt'] === attempt;

const wasUndoneInWords = (step: Step, told: LogEntry): boolean =>
  UNDO_PHASES.flatMap((undo) => commandsOf(step.run, undo, step.step)).some(
    ({ order, body }) =>
      order > told.order &&
      reportOf(step, body['phase']).some(
        (report) => isYes(report) && report.body['attempt'] === body['attempt'],
      ),
  );

function hasDied(
  { barriers }: Evidence,
  key: string,
  { phase, atMs }: { readonly phase: Phase; readonly atMs: number },
): boolean {
  const late = barriers.executions.filter(
    (call) => call.key === key && call.phase === phase && call.startMs <= atMs,
  );
  return late.some(({ answer }) => answer === undefined);
}
