/** The envelopes a coordinator writes, as JSON text. */
import type { CommandEnvelope, DecidedEnvelope, OutcomeEnvelope } from '../protocol/envelopes.ts';
import type { CommandEffect, OutcomeBody } from '../protocol/machine.ts';
import type { RunRecord } from '../protocol/run.ts';
import type { RunId } from '../kernel/position.ts';
import type { Verdict } from '../kernel/vocabulary.ts';
import { digestHex } from '../kernel/hash.ts';
import { invariant } from '../kernel/assert.ts';

const named = (run: RunRecord): { v: 1; tx: string; run: RunId } => ({
  v: 1,
  tx: run.facts.tx,
  run: run.facts.run,
});

export function commandText(run: RunRecord, command: CommandEffect, shard: number): string {
  const { type: _, participant: __, ...fields } = command;
  const envelope: CommandEnvelope = { ...named(run), ...fields, shard };
  if (run.begin.meta !== undefined) envelope.meta = run.begin.meta;
  if (run.begin.reply?.includes('phases') === true) envelope.reply = true;
  return JSON.stringify(envelope);
}

export function decisionNote(run: RunRecord): string {
  const { decision } = run;
  invariant(decision !== undefined, 'a decision note needs a decision');
  const { at, value, digest, code } = decision;
  const note: DecidedEnvelope = { ...named(run), kind: 'decision', at, value, digest };
  if (code !== undefined) note.code = code;
  return JSON.stringify(note);
}

/** `until`: end of the dedup window of an own id. */
export function outcomeNote(run: RunRecord, until: number | undefined): string {
  const { outcome } = run;
  invariant(outcome !== undefined, 'an outcome note needs an outcome');
  const { at, value, digest, code } = outcome;
  const note: DecidedEnvelope = { ...named(run), kind: 'outcome', at, value, digest };
  if (until !== undefined) note.until = until;
  if (code !== undefined) note.code = code;
  return JSON.stringify(note);
}

export function verdictNote(
  run: RunRecord,
  verdict: { readonly value: Verdict; readonly of?: RunId; readonly code?: string | undefined },
): string {
  const note: DecidedEnvelope = { ...named(run), kind: 'verdict', at: run.begun.at, value: verdict.value };
  if (verdict.of !== undefined) note.of = verdict.of;
  if (verdict.code !== undefined) note.code = verdict.code;
  return JSON.stringify(note);
}

/** What this fold derived instead of what the note says. */
export function conflictNote(run: RunRecord, note: DecidedEnvelope): string {
  const mine = note.kind === 'outcome' ? run.outcome : run.decision;
  const conflict: DecidedEnvelope = {
    ...named(run),
    kind: 'conflict',
    at: note.at,
    value: mine?.value ?? 'none',
    digest: digestHex(run.digest),
  };
  return JSON.stringify(conflict);
}

export function outcomeEnvelope(run: RunRecord, outcome: OutcomeBody): OutcomeEnvelope {
  const { at, time } = run.outcome ?? run.decision ?? run.begun;
  const { status, code, message, step, outputs, attention } = outcome;
  const envelope: OutcomeEnvelope = {
    ...named(run),
    pattern: run.facts.pattern,
    status,
    scope: 'all',
    at,
    time: Math.max(time, run.clockMs),
  };
  if (run.begin.meta !== undefined) envelope.meta = run.begin.meta;
  if (code !== undefined) envelope.code = code;
  if (message !== undefined) envelope.message = message;
  if (step !== undefined) envelope.step = step;
  if (outputs !== undefined) envelope.outputs = { ...outputs };
  if (attention === true) envelope.attention = true;
  return envelope;
}
