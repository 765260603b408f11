/** The envelopes a coordinator writes, as JSON text. */
import type { DecidedEnvelope, OutcomeEnvelope } from '../protocol/envelopes.ts';
import type { CommandEffect, OutcomeBody } from '../protocol/machine.ts';
import type { Derived, RunRecord } from '../protocol/run.ts';
import type { RunId } from '../kernel/position.ts';
import type { Verdict } from '../kernel/vocabulary.ts';
import { digestHex } from '../kernel/hash.ts';
import { invariant } from '../kernel/assert.ts';

/**
 * The hot envelopes are put together as text: rest and spread of objects per command cost more than everything else a
 * coordinator does for it. Only values whose grammar needs no escaping (ids, positions, enums, numbers) go in raw; a
 * test holds the text equal to what `JSON.stringify` would say of the envelope.
 */
const opening = (run: RunRecord): string => `{"v":1,"tx":"${run.facts.tx}","run":"${run.facts.run}"`;

const named = (run: RunRecord): { v: 1; tx: string; run: RunId } => ({
  v: 1,
  tx: run.facts.tx,
  run: run.facts.run,
});

export function commandText(run: RunRecord, command: CommandEffect, shard: number): string {
  const { step, phase, attempt, action, cause, since, due, input, output, ran, redo, alone } = command;
  const { meta, reply } = run.begin;
  let text =
    `${opening(run)},"step":"${step}","phase":"${phase}","attempt":${attempt},"shard":${shard},"action":"${action}"` +
    `,"cause":{"at":"${cause.at}","time":${cause.time}},"since":${since}`;
  if (due !== undefined) text += `,"due":${due}`;
  if (input !== undefined) text += `,"input":${JSON.stringify(input)}`;
  if (output !== undefined) text += `,"output":${JSON.stringify(output)}`;
  if (ran !== undefined) text += `,"ran":${ran}`;
  if (redo !== undefined) text += `,"redo":${redo}`;
  if (alone !== undefined) text += `,"alone":${alone}`;
  if (meta !== undefined) text += `,"meta":${JSON.stringify(meta)}`;
  if (reply?.includes('phases') === true) text += ',"reply":true';
  return `${text}}`;
}

export function decisionNote(run: RunRecord): string {
  const { decision } = run;
  invariant(decision !== undefined, 'a decision note needs a decision');
  return derivedNote(run, 'decision', decision);
}

/** `until`: end of the dedup window of an own id. */
export function outcomeNote(run: RunRecord, until: number | undefined): string {
  const { outcome } = run;
  invariant(outcome !== undefined, 'an outcome note needs an outcome');
  return derivedNote(run, 'outcome', outcome, until);
}

function derivedNote(
  run: RunRecord,
  kind: 'decision' | 'outcome',
  derived: Derived<string>,
  until?: number,
): string {
  const { at, value, digest, code } = derived;
  let text = `${opening(run)},"kind":"${kind}","at":"${at}","value":"${value}","digest":"${digest}"`;
  if (until !== undefined) text += `,"until":${until}`;
  if (code !== undefined) text += `,"code":${JSON.stringify(code)}`;
  return `${text}}`;
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

/** Of a begin that a pure rule refused. */
export const refusalNote = (run: RunRecord): string =>
  verdictNote(run, { value: 'refused', code: run.refusal?.code });

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

export const outcomeEnvelope = (run: RunRecord, outcome: OutcomeBody): OutcomeEnvelope =>
  JSON.parse(outcomeText(run, outcome)) as OutcomeEnvelope;

/** An outcome as its caller is told it. */
export function outcomeText(run: RunRecord, outcome: OutcomeBody, duplicate = false): string {
  const { at, time } = run.outcome ?? run.decision ?? run.begun;
  const { status, scope, code, message, step, outputs, attention } = outcome;
  const { meta } = run.begin;
  let text =
    `${opening(run)},"pattern":"${run.facts.pattern}","status":"${status}","scope":"${scope ?? 'all'}"` +
    `,"at":"${at}","time":${Math.max(time, run.clockMs)}`;
  if (meta !== undefined) text += `,"meta":${JSON.stringify(meta)}`;
  if (code !== undefined) text += `,"code":${JSON.stringify(code)}`;
  if (message !== undefined) text += `,"message":${JSON.stringify(message)}`;
  if (step !== undefined) text += `,"step":"${step}"`;
  if (outputs !== undefined) text += `,"outputs":${JSON.stringify(outputs)}`;
  if (attention === true) text += ',"attention":true';
  if (duplicate) text += ',"duplicate":true';
  return `${text}}`;
}
