/** What a step's input tells its participant to do: the whole behaviour of a workload is in its plans. */
import type { Json } from '../../kernel/json.ts';
import { PHASES, type Phase } from '../../kernel/vocabulary.ts';

export interface Script {
  readonly amount: number;
  /** The phase that is refused. */
  readonly refuse?: Phase;
  /** Takes no part: nothing is held. */
  readonly readOnly?: true;
  readonly slow?: { readonly phase: Phase; readonly ms: number; readonly after: boolean };
  /** The first `times` executions of that phase go wrong so; `late`: the effect is there, the answer is not. */
  readonly wrong?: {
    readonly phase: Phase;
    readonly times: number;
    readonly how: 'retry' | 'throw' | 'late' | 'nonsense';
  };
  /** Life of a reservation. */
  readonly livesMs?: number;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Of an input that `jsonOf` made. */
export function scriptOf(input: Json | undefined): Script | undefined {
  if (!isRecord(input) || !isRecord(input['script'])) return undefined;
  return input['script'] as unknown as Script;
}

export const inputOf = (script: Script): { readonly script: Json } => ({ script: script as unknown as Json });

export const isPhase = (value: unknown): value is Phase => (PHASES as readonly unknown[]).includes(value);
