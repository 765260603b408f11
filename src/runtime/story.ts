import type { Json } from '../kernel/json.ts';
import { position, type Position } from '../kernel/position.ts';
import type { InputKind, Phase } from '../kernel/vocabulary.ts';
import type { FoldInput } from '../protocol/fold-sink.ts';

/** One line of a run's story: an input that counted, or what it implied. */
export interface StoryEvent {
  readonly at: Position;
  readonly timeMs: number;
  readonly what: InputKind | 'command' | 'decision' | 'outcome' | 'attention';
  /** The service that the subject names. */
  readonly who: string;
  readonly step?: string;
  readonly participant?: string;
  readonly phase?: Phase;
  readonly attempt?: number;
  /** Of a signal. */
  readonly name?: string;
  /** An answer, a verdict, a decision. */
  readonly value?: string;
  /** Reason, code or message. */
  readonly detail?: string;
  readonly output?: Json;
}

/** Fields that envelopes of different kinds share by name and meaning. */
interface Common {
  readonly step?: string;
  readonly phase?: Phase;
  readonly attempt?: number;
  readonly answer?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly verdict?: string;
  readonly value?: string;
  readonly decision?: string;
  readonly code?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly by?: string;
  readonly output?: Json;
}

export function storyEvent(input: FoldInput): StoryEvent {
  const { kind, sender } = input.address;
  const envelope = input.envelope as Common;
  const value =
    envelope.answer ??
    envelope.verdict ??
    envelope.value ??
    envelope.decision ??
    envelope.kind ??
    envelope.name;
  const detail = [
    envelope.code,
    envelope.message,
    envelope.reason,
    envelope.by === undefined ? undefined : `by ${envelope.by}`,
  ]
    .filter((part) => part !== undefined)
    .join(': ');
  return {
    at: position(input.seq, input.index),
    timeMs: input.timeMs,
    what: kind,
    who: sender,
    ...(envelope.step === undefined ? {} : { step: envelope.step }),
    ...(envelope.phase === undefined ? {} : { phase: envelope.phase }),
    ...(envelope.attempt === undefined ? {} : { attempt: envelope.attempt }),
    ...(kind === 'signal' && envelope.name !== undefined ? { name: envelope.name } : {}),
    ...(value === undefined ? {} : { value }),
    ...(detail === '' ? {} : { detail }),
    ...(envelope.output === undefined ? {} : { output: envelope.output }),
  };
}
