/** A run's story for people and for programs: the same facts, with durations. */
import { formatDurationMs } from '../kernel/duration.ts';
import type { Story } from '../runtime/audit.ts';
import type { StoryEvent } from '../runtime/story.ts';
import { printable, tableLines } from './output.ts';

export interface TimedEvent extends StoryEvent {
  readonly sinceBeginMs: number;
  /** Of a report: since its command was implied. */
  readonly tookMs?: number;
}

const itemOf = ({ step, phase, attempt }: StoryEvent): string =>
  `${step ?? ''}/${phase ?? ''}/${attempt ?? ''}`;

export function timeline(story: Story): readonly TimedEvent[] {
  const commanded = new Map<string, number>();
  return story.events.map((event) => {
    const timed = { ...event, sinceBeginMs: event.timeMs - story.begunMs };
    if (event.what === 'command' && !commanded.has(itemOf(event))) commanded.set(itemOf(event), event.timeMs);
    const since = event.what === 'report' ? commanded.get(itemOf(event)) : undefined;
    return since === undefined ? timed : { ...timed, tookMs: event.timeMs - since };
  });
}

/** `committed`, or where an open run stands. */
export const stateOf = (story: Story): string => story.outcome?.status ?? story.view.phase;

/** From begin to end; undefined while it is open. */
export const tookMs = (story: Story): number | undefined =>
  story.open ? undefined : (story.outcome?.time ?? story.lastMs) - story.begunMs;

/** Participants that have not answered a command, in the order of first asking. */
export function silentParticipants(story: Story): readonly string[] {
  const answered = new Set(story.events.filter(({ what }) => what === 'report').map(({ who }) => who));
  const asked = story.events.flatMap(({ participant }) => participant ?? []);
  return [...new Set(asked)].filter((participant) => !answered.has(participant));
}

export function storyJson(story: Story): object {
  const took = tookMs(story);
  return {
    ...story,
    state: stateOf(story),
    ...(took === undefined ? {} : { tookMs: took }),
    silent: silentParticipants(story),
    events: timeline(story),
  };
}

export function storyLines(story: Story): readonly string[] {
  const { tx, pattern, name, sender, labels, begunMs, view, contradictions, outcome } = story;
  const took = tookMs(story);
  const lines = [
    `${tx}  ${pattern}  ${stateOf(story)}${story.open ? '' : ` after ${formatDurationMs(took ?? 0)}`}`,
    `  plan       ${printable(name)}, begun by ${sender} at ${new Date(begunMs).toISOString()}`,
    `  run        ${story.run}`,
  ];
  const labelText = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  if (labelText.length > 0) lines.push(`  labels     ${printable(labelText.join(' '))}`);
  if (story.decision !== undefined) {
    lines.push(`  decision   ${story.decision.value}, by the input at ${story.decision.at}`);
  }
  if (outcome?.code !== undefined) {
    const where = outcome.step === undefined ? '' : ` (step ${outcome.step})`;
    const message = outcome.message === undefined ? '' : `: ${outcome.message}`;
    lines.push(`  reason     ${printable(outcome.code + message + where)}`);
  }
  if (story.open) lines.push(`  waits for  ${printable(view.waitsFor)}`);
  for (const { step, phase, code, message, raised } of view.attention) {
    lines.push(
      `  attention  ${printable(`${step} ${phase}: ${code} ${message ?? ''}`)} (raised at ${raised})`,
    );
  }
  for (const participant of silentParticipants(story)) {
    lines.push(`  no answer  from ${participant}: is one of its workers running?`);
  }
  for (const text of contradictions) lines.push(`  CONTRADICTION  ${printable(text)}`);
  const rows = timeline(story).map(eventRow);
  const header = ['AT', 'TOOK', 'WHAT', 'WHO', 'STEP', 'PHASE', 'TRY', 'RESULT', 'WHY'];
  return [...lines, ...tableLines(header, rows).map((line) => `  ${line}`)];
}

function resultOf({ name, value = '' }: StoryEvent): string {
  return name === undefined || name === value ? value : `${name}: ${value}`;
}

function eventRow(event: TimedEvent): readonly string[] {
  const { sinceBeginMs, tookMs: took, what, who, participant, step, phase, attempt, detail } = event;
  return [
    `+${formatDurationMs(sinceBeginMs)}`,
    took === undefined ? '' : formatDurationMs(took),
    what,
    participant === undefined ? who : `${who} to ${participant}`,
    step ?? '',
    phase ?? '',
    attempt === undefined ? '' : String(attempt),
    printable(resultOf(event)),
    printable(detail ?? ''),
  ];
}
