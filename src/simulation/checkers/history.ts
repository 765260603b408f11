/**
 * What a seed left behind, as the checkers read it: the raw messages of the streams, parsed here and nowhere else. No
 * machine and no fold takes part, so that what those get wrong cannot hide itself.
 */
import { parseCommandSubject, parseInputSubject, streamOf } from '../../kernel/subjects.ts';
import { PATTERNS, type Pattern, type Phase } from '../../kernel/vocabulary.ts';

export interface RawMessage {
  readonly seq: number;
  readonly timeMs: number;
  readonly subject: string;
  readonly data: Uint8Array;
}

/** Envelopes as JSON gave them; nobody promises their fields. */
export type Body = Readonly<Record<string, unknown>>;

export interface LogEntry {
  readonly pattern: Pattern;
  /** `"seq.index"` in the pattern's stream. */
  readonly at: string;
  /** Orders entries of one stream. */
  readonly order: number;
  readonly timeMs: number;
  /** `command`, or the kind of an input. */
  readonly kind: string;
  /** Who published; of a command: whom it is for. */
  readonly party: string;
  readonly body: Body;
}

export interface PlannedStep {
  readonly step: string;
  readonly participant: string;
  readonly kind: string;
  /** Steps that must be done before. */
  readonly after: readonly string[];
  readonly child: Body | undefined;
}

/** One run by its begin, with everything in its stream that names it. */
export interface Run {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: string;
  readonly begin: LogEntry;
  readonly steps: readonly PlannedStep[];
  readonly plan: Body;
  readonly entries: readonly LogEntry[];
}

export interface Letter {
  readonly pattern: string;
  readonly participant: string;
  readonly body: Body;
}

export interface History {
  readonly runs: readonly Run[];
  readonly letters: readonly Letter[];
}

export const text = (value: unknown): string => (typeof value === 'string' ? value : '');
export const isBody = (value: unknown): value is Body =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** More envelopes than a message may hold. */
const PER_MESSAGE = 1_000;

/** @param read the messages of a stream, oldest first. */
export function historyOf(read: (stream: string) => Iterable<RawMessage>): History {
  const runs = PATTERNS.flatMap((pattern) => runsOf(pattern, entriesOf(pattern, read(streamOf(pattern)))));
  const letters = [...read('DTX_DEAD_LETTER_STREAM')].map(({ subject, data }) => {
    const [, pattern = '', participant = ''] = subject.split('.');
    const body: unknown = parse(data);
    return { pattern, participant, body: isBody(body) ? body : {} };
  });
  return { runs, letters };
}

export function entriesOf(pattern: Pattern, messages: Iterable<RawMessage>): LogEntry[] {
  const entries: LogEntry[] = [];
  for (const { seq, timeMs, subject, data } of messages) {
    const command = parseCommandSubject(subject);
    const input = command === undefined ? parseInputSubject(subject) : undefined;
    const kind = command === undefined ? input?.kind : 'command';
    const party = command?.participant ?? input?.sender;
    if (kind === undefined || party === undefined) continue;
    list(parse(data)).forEach((body, index) => {
      if (!isBody(body)) return;
      entries.push({
        ...{ pattern, timeMs, kind, party, body },
        at: `${seq}.${index}`,
        order: seq * PER_MESSAGE + index,
      });
    });
  }
  return entries;
}

function parse(data: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch {
    return undefined;
  }
}

export function runsOf(pattern: Pattern, entries: readonly LogEntry[]): Run[] {
  const byRun = new Map<string, LogEntry[]>();
  for (const entry of entries) {
    const key = `${text(entry.body['tx'])}/${text(entry.body['run'])}`;
    const known = byRun.get(key);
    if (known === undefined) byRun.set(key, [entry]);
    else known.push(entry);
  }
  return entries
    .filter(({ kind }) => kind === 'begin')
    .map((begin) => {
      const { body, at, timeMs } = begin;
      const tx = text(body['tx']);
      const run = `${at}.${timeMs}`;
      const plan = isBody(body['plan']) ? body['plan'] : {};
      const own = byRun.get(`${tx}/${run}`) ?? [];
      return { pattern, tx, run, begin, plan, steps: stepsOf(plan), entries: own };
    });
}

function stepsOf(plan: Body): PlannedStep[] {
  const names = list(plan['steps'])
    .filter(isBody)
    .map((step) => text(step['step']) || text(step['participant']));
  return list(plan['steps'])
    .filter(isBody)
    .map((step, index) => {
      const before = index === 0 ? undefined : names[index - 1];
      const after = Array.isArray(step['after'])
        ? step['after'].map(text)
        : before === undefined
          ? []
          : [before];
      return {
        ...{ step: names[index] ?? '', participant: text(step['participant']), after },
        kind: text(step['kind']) || 'compensatable',
        child: isBody(step['child']) ? step['child'] : undefined,
      };
    });
}

/** Entries of one kind. */
export const ofKind = (run: Run, kind: string): readonly LogEntry[] =>
  run.entries.filter((entry) => entry.kind === kind);

export const commandsOf = (run: Run, phase: Phase, step?: string): readonly LogEntry[] =>
  ofKind(run, 'command').filter(
    ({ body }) => body['phase'] === phase && (step === undefined || body['step'] === step),
  );

/** Reports that count: of the step's own participant (a child's come from coordinators). */
export function reportsOf(run: Run, step: PlannedStep, phase: Phase): readonly LogEntry[] {
  return ofKind(run, 'report').filter(
    ({ body, party }) =>
      body['step'] === step.step &&
      body['phase'] === phase &&
      (party === step.participant || party === 'coordinator'),
  );
}

const YES: ReadonlySet<unknown> = new Set(['done', 'read-only']);
export const isYes = ({ body }: LogEntry): boolean => YES.has(body['answer']);

export const notesOf = (
  run: Run,
  kind: 'decision' | 'outcome' | 'verdict' | 'conflict',
): readonly LogEntry[] =>
  ofKind(run, 'decided').filter(({ body, party }) => body['kind'] === kind && party === 'coordinator');

/** How the run ended by its notes; undefined: it has not. */
export const outcomeOf = (run: Run): string | undefined => {
  const value = notesOf(run, 'outcome').at(0)?.body['value'];
  return typeof value === 'string' ? value : undefined;
};

export const decisionOf = (run: Run): string | undefined => {
  const value = notesOf(run, 'decision').at(0)?.body['value'];
  return typeof value === 'string' ? value : undefined;
};

/** Whether it began for good: begins that only repeat another get neither commands nor answers nor an admission. */
export const hasRun = (run: Run): boolean =>
  outcomeOf(run) !== undefined ||
  run.entries.some(({ kind }) => kind === 'command' || kind === 'report') ||
  notesOf(run, 'verdict').some(({ body }) => body['value'] === 'admit');

/** A person has decided something about it. */
export const byPerson = (run: Run, ...actions: readonly string[]): boolean =>
  run.entries.some(({ kind, party }) => party === 'operator' && actions.includes(kind));

export const nameOf = ({ pattern, tx, run }: Run): string => `${pattern} ${tx} (${run})`;
