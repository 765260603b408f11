/**
 * Guards for the envelopes that pass by the thousand. They only ever say "accepted"; what they do not accept goes to
 * the zod schema, which alone refuses and says why.
 *
 * Invariants, held by a property test:
 *  G1 a guard accepts nothing that its schema refuses;
 *  G2 the guards of command, report, decided and outcome accept everything that their schemas accept (the guard of begin leaves
 *     rare fields to zod).
 *
 * The form: read each known field once, count those present, and compare with the number of own keys. An unknown key
 * (also an own `__proto__`), or one whose value is undefined, makes the numbers differ.
 */
import { ID_PATTERN, isParticipant } from '../kernel/ids.ts';
import { POSITION_PATTERN, RUN_PATTERN } from '../kernel/position.ts';
import {
  ANSWERS,
  DECISIONS,
  isUndoPhase,
  PATTERNS,
  PHASES,
  STATUSES,
  STEP_KINDS,
  VERDICTS,
  type Phase,
} from '../kernel/vocabulary.ts';
import { isFields, isJsonWithin, isStringsWithin, isTextWithin, type Fields } from './json-guards.ts';
import * as limits from './limits.ts';

const phases: ReadonlySet<unknown> = new Set(PHASES);
const answers: ReadonlySet<unknown> = new Set(ANSWERS);
const decisions: ReadonlySet<unknown> = new Set(DECISIONS);
const patterns: ReadonlySet<unknown> = new Set(PATTERNS);
const statuses: ReadonlySet<unknown> = new Set(STATUSES);
const kinds: ReadonlySet<unknown> = new Set(STEP_KINDS);
const verdicts: ReadonlySet<unknown> = new Set(VERDICTS);

const isId = (value: unknown): boolean => typeof value === 'string' && ID_PATTERN.test(value);
const isPos = (value: unknown): boolean => typeof value === 'string' && POSITION_PATTERN.test(value);
const isRun = (value: unknown): boolean => typeof value === 'string' && RUN_PATTERN.test(value);
const isIntFrom = (value: unknown, min: number): boolean =>
  Number.isSafeInteger(value) && (value as number) >= min;
const isMs = (value: unknown): boolean => isIntFrom(value, 0);
const isBoolean = (value: unknown): boolean => typeof value === 'boolean';
const isText = (value: unknown, min: number, max: number): boolean =>
  typeof value === 'string' && value.length >= min && value.length <= max;
const isMeta = (value: unknown): boolean =>
  isStringsWithin(value, limits.MAX_META_ENTRIES, limits.MAX_META_BYTES);
const isCause = (value: unknown): boolean =>
  isFields(value) && isPos(value['at']) && isMs(value['time']) && hasKeys(value, 2);

/** Counts without listing them: this runs for every envelope. What a prototype adds would count too, and zod decides. */
function hasKeys(value: Fields, count: number): boolean {
  let found = 0;
  for (const _ in value) found += 1;
  return found === count;
}

/** How many of one optional field are there: 0 or 1, NaN when it is there and wrong. */
const counted = (value: unknown, right: (value: unknown) => boolean): number =>
  value === undefined ? 0 : right(value) ? 1 : NaN;
const countedJson = (value: unknown, maxBytes: number, bodyBytes: number): number =>
  value === undefined ? 0 : isJsonWithin(value, { maxBytes, bodyBytes }) ? 1 : NaN;

const COMMON_KEYS = 3;
const hasCommon = (value: Fields): boolean =>
  value['v'] === limits.ENVELOPE_VERSION && isId(value['tx']) && isRun(value['run']);

const ACT_KEYS = 4;
const isAttempt = (value: unknown): boolean => isIntFrom(value, 1);
const hasAct = (value: Fields): boolean =>
  isId(value['step']) && phases.has(value['phase']) && isAttempt(value['attempt']) && isCause(value['cause']);

export function isCommand(value: unknown, bodyBytes: number): boolean {
  if (!isFields(value) || !hasCommon(value) || !hasAct(value)) return false;
  if (!isMs(value['shard']) || !isId(value['action']) || !isMs(value['since'])) return false;
  if (value['ran'] === undefined && isUndoPhase(value['phase'] as Phase)) return false;
  const optional =
    counted(value['meta'], isMeta) +
    counted(value['due'], isMs) +
    countedJson(value['input'], limits.MAX_INPUT_BYTES, bodyBytes) +
    countedJson(value['output'], limits.MAX_OUTPUT_BYTES, bodyBytes) +
    counted(value['ran'], isBoolean) +
    counted(value['redo'], isAttempt) +
    counted(value['alone'], isBoolean) +
    counted(value['reply'], isBoolean);
  return hasKeys(value, COMMON_KEYS + ACT_KEYS + 3 + optional);
}

const isResult = (value: unknown): boolean => value === 'committed' || value === 'aborted';
const isCode = (value: unknown): boolean => isText(value, 1, limits.MAX_CODE_CHARS);
const isMessage = (value: unknown): boolean => isText(value, 0, limits.MAX_MESSAGE_CHARS);
const isDuration = (value: unknown): boolean => isMs(value) && (value as number) <= limits.MAX_DURATION_MS;

export function isReport(value: unknown, bodyBytes: number): boolean {
  if (!isFields(value) || !hasCommon(value) || !hasAct(value)) return false;
  const answer = value['answer'];
  if (!answers.has(answer)) return false;
  if ((value['result'] !== undefined) !== (answer === 'heuristic' || answer === 'terminated')) return false;
  if (value['output'] !== undefined && answer !== 'done') return false;
  const optional =
    counted(value['meta'], isMeta) +
    counted(value['result'], isResult) +
    countedJson(value['output'], limits.MAX_OUTPUT_BYTES, bodyBytes) +
    counted(value['code'], isCode) +
    counted(value['message'], isMessage) +
    counted(value['mayHaveRun'], isBoolean) +
    counted(value['lateEffect'], isBoolean) +
    counted(value['retryAfter'], isDuration) +
    counted(value['expiresAt'], isMs);
  return hasKeys(value, COMMON_KEYS + ACT_KEYS + 1 + optional);
}

const DIGEST_PATTERN = /^[0-9a-f]{16}$/;
const isDigest = (value: unknown): boolean => typeof value === 'string' && DIGEST_PATTERN.test(value);

export function isDecided(value: unknown): boolean {
  if (!isFields(value) || !hasCommon(value) || !isPos(value['at'])) return false;
  const shared = COMMON_KEYS + 3 + counted(value['meta'], isMeta) + counted(value['code'], isCode);
  switch (value['kind']) {
    case 'verdict': {
      const earlier = value['value'] === 'duplicate' || value['value'] === 'mismatch';
      if (!verdicts.has(value['value']) || (value['of'] !== undefined) !== earlier) return false;
      return hasKeys(value, shared + counted(value['of'], isRun));
    }
    case 'decision':
      return decisions.has(value['value']) && isDigest(value['digest']) && hasKeys(value, shared + 1);
    case 'outcome':
      if (!statuses.has(value['value']) || !isDigest(value['digest'])) return false;
      return hasKeys(value, shared + 1 + counted(value['until'], isMs));
    case 'conflict':
      return isText(value['value'], 0, 64) && isDigest(value['digest']) && hasKeys(value, shared + 1);
    default:
      return false;
  }
}

/** Ids can be no `__proto__` that zod's records would skip: it is refused here as there. */
function areOutputs(value: unknown, bodyBytes: number): boolean {
  if (!isFields(value)) return false;
  const room = { maxBytes: limits.MAX_OUTPUT_BYTES, bodyBytes };
  for (const key of Object.keys(value))
    if (key === '__proto__' || !isId(key) || !isJsonWithin(value[key], room)) return false;
  return isTextWithin(value, { maxBytes: limits.MAX_OUTPUTS_BYTES, bodyBytes });
}

const OUTCOME_KEYS = 5;
const isScope = (value: unknown): boolean => value === 'all' || value === 'critical';

export function isOutcome(value: unknown, bodyBytes: number): boolean {
  if (!isFields(value) || !hasCommon(value)) return false;
  if (!patterns.has(value['pattern']) || !statuses.has(value['status']) || !isScope(value['scope']))
    return false;
  if (!isPos(value['at']) || !isMs(value['time'])) return false;
  const optional =
    counted(value['meta'], isMeta) +
    counted(value['code'], isCode) +
    counted(value['message'], isMessage) +
    counted(value['step'], isId) +
    counted(value['outputs'], (outputs) => areOutputs(outputs, bodyBytes)) +
    counted(value['attention'], isBoolean) +
    counted(value['duplicate'], isBoolean);
  return hasKeys(value, COMMON_KEYS + OUTCOME_KEYS + optional);
}

const isReply = (value: unknown): boolean =>
  Array.isArray(value) && value.length <= 2 && value.every((item) => item === 'outcome' || item === 'phases');
const isLabels = (value: unknown): boolean =>
  isStringsWithin(value, limits.MAX_LABELS, limits.MAX_LABELS * limits.MAX_LABEL_BYTES);
const isAfter = (value: unknown): boolean =>
  Array.isArray(value) && value.length <= limits.MAX_STEPS && value.every(isId);
const isKind = (value: unknown): boolean => kinds.has(value);

function isStep(value: unknown, bodyBytes: number): boolean {
  if (!isFields(value)) return false;
  const participant = value['participant'];
  if (typeof participant !== 'string' || !isParticipant(participant) || !isId(value['action'])) return false;
  const optional =
    counted(value['step'], isId) +
    countedJson(value['input'], limits.MAX_INPUT_BYTES, bodyBytes) +
    counted(value['kind'], isKind) +
    counted(value['after'], isAfter);
  return hasKeys(value, 2 + optional);
}

/** A plan of name and steps without retries, deadlines, gates or children: the others are left to zod. */
function isPlainPlan(value: unknown, bodyBytes: number): boolean {
  if (!isFields(value) || !isText(value['name'], 1, limits.MAX_NAME_CHARS) || !hasKeys(value, 2))
    return false;
  const steps = value['steps'];
  if (!Array.isArray(steps) || steps.length === 0 || steps.length > limits.MAX_STEPS) return false;
  return steps.every((step) => isStep(step, bodyBytes));
}

/** True for the common begin; false means "ask zod". */
export function isPlainBegin(value: unknown, bodyBytes: number): boolean {
  if (!isFields(value) || value['v'] !== limits.ENVELOPE_VERSION || !isId(value['tx'])) return false;
  if (value['id'] !== 'fresh' && value['id'] !== 'own') return false;
  if (!isIntFrom(value['shards'], 1) || (value['shards'] as number) > limits.MAX_SHARDS) return false;
  const optional =
    counted(value['meta'], isMeta) +
    counted(value['labels'], isLabels) +
    counted(value['startAt'], isMs) +
    counted(value['reply'], isReply);
  return hasKeys(value, 5 + optional) && isPlainPlan(value['plan'], bodyBytes);
}
