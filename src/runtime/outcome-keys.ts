/**
 * One key per own id (Rule 7): which run it names, and how that ended. Verdicts on repeated begins are formed by
 * compare-and-set on it, never by a read.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../kernel/json.ts';
import type { RunId } from '../kernel/position.ts';
import type { Pattern } from '../kernel/vocabulary.ts';
import type { KeyValue, Written } from '../ports/key-value.ts';
import type { OutcomeEnvelope, Plan } from '../protocol/envelopes.ts';

export const OUTCOME_BUCKET = 'DTX_OUTCOMES';
/** The key outlives `until` by a day, so that a verdict never meets a key that is just vanishing. */
const GRACE_MS = 86_400_000;

interface OutcomeRecord {
  readonly v: 1;
  readonly run: RunId;
  /** SHA-256 of the plan's canonical JSON. */
  readonly digest: string;
  readonly outcome?: OutcomeEnvelope;
  /** End of the dedup window; from then on the id may begin a new run. */
  readonly until?: number;
}

export type Judged =
  | { readonly value: 'admit' }
  | { readonly value: 'duplicate' | 'mismatch'; readonly of: RunId; readonly outcome?: OutcomeEnvelope };

/** What stands behind an id that nobody may begin any more: no begin has this position, and no plan this digest. */
const TOMBSTONE = { v: 1, run: '0.0.0', digest: '' } as const satisfies OutcomeRecord;

export type Fate =
  /** It has not begun, and cannot begin any more. */
  | { readonly type: 'never' }
  | { readonly type: 'open'; readonly run: RunId }
  | { readonly type: 'ended'; readonly outcome: OutcomeEnvelope }
  /** Nothing is known: it may have ended so long ago that its key is gone. */
  | { readonly type: 'forgotten' };

export const planDigest = (plan: Plan): string =>
  createHash('sha256').update(canonicalJson(plan)).digest('hex');

const keyOf = (pattern: Pattern, tx: string): string => `${pattern}.${tx}`;
const encode = (record: OutcomeRecord): Uint8Array => Buffer.from(JSON.stringify(record));
const decode = (value: Uint8Array): OutcomeRecord =>
  JSON.parse(Buffer.from(value).toString('utf8')) as OutcomeRecord;

interface Begin {
  readonly pattern: Pattern;
  readonly tx: string;
  readonly run: RunId;
  readonly beginMs: number;
  readonly plan: Plan;
}

export class OutcomeKeys {
  constructor(private readonly bucket: KeyValue) {}

  /** Judges a begin. Losing a write means another coordinator or begin was first: judge what it wrote. */
  async judge(begin: Begin): Promise<Judged> {
    const key = keyOf(begin.pattern, begin.tx);
    const digest = planDigest(begin.plan);
    const mine = encode({ v: 1, run: begin.run, digest });
    // Conditional: the first begin of an id that has no key owns it.
    let written = await this.bucket.create(key, mine);
    for (;;) {
      if (written.won) return { value: 'admit' };
      if (written.current === undefined) {
        written = await this.bucket.create(key, mine);
        continue;
      }
      const record = decode(written.current.value);
      if (record.run === begin.run) return { value: 'admit' };
      if (record.until === undefined || begin.beginMs < record.until) return judgedBy(record, digest);
      // Conditional: the earlier run is over and its window has passed; exactly one later begin takes the id over.
      written = await this.bucket.update(key, mine, { revision: written.current.revision });
    }
  }

  /** Stores how a run ended; resolves once the key says so, whoever wrote it. */
  async end(options: {
    pattern: Pattern;
    outcome: OutcomeEnvelope;
    plan: Plan;
    until: number;
  }): Promise<void> {
    const { pattern, outcome, plan, until } = options;
    const key = keyOf(pattern, outcome.tx);
    const value = encode({ v: 1, run: outcome.run, digest: planDigest(plan), outcome, until });
    const ttlMs = Math.max(1_000, until - outcome.time + GRACE_MS);
    let entry = await this.bucket.get(key);
    for (;;) {
      // A twin wrote the same end, or the id has gone to a later run: nothing is left to write.
      if (entry !== undefined && !awaitsEnd(decode(entry.value), outcome.run)) return;
      // Conditional: whoever loses looks again at what won.
      const written: Written =
        entry === undefined
          ? await this.bucket.create(key, value, { ttlMs })
          : await this.bucket.update(key, value, { ttlMs, revision: entry.revision });
      if (written.won) return;
      entry = written.current;
    }
  }

  /**
   * What became of a transaction that must not begin any more. Conditional: whoever creates the key first decides; a
   * begin judged after a tombstone is a mismatch, and where a begin was first, this one learns of it.
   *
   * @param options.buryForMs how long the tombstone must live. Left out: none is made.
   */
  async foreclose(options: { pattern: Pattern; tx: string; buryForMs: number | undefined }): Promise<Fate> {
    const key = keyOf(options.pattern, options.tx);
    const { buryForMs } = options;
    let entry = await this.bucket.get(key);
    while (entry === undefined) {
      if (buryForMs === undefined) return { type: 'forgotten' };
      const written = await this.bucket.create(key, encode(TOMBSTONE), { ttlMs: buryForMs + GRACE_MS });
      if (written.won) return { type: 'never' };
      entry = written.current;
    }
    const record = decode(entry.value);
    if (record.run === TOMBSTONE.run) return { type: 'never' };
    if (record.outcome === undefined) return { type: 'open', run: record.run };
    return { type: 'ended', outcome: record.outcome };
  }

  async find(pattern: Pattern, tx: string): Promise<OutcomeRecord | undefined> {
    const entry = await this.bucket.get(keyOf(pattern, tx));
    return entry === undefined ? undefined : decode(entry.value);
  }
}

const awaitsEnd = (record: OutcomeRecord, run: RunId): boolean =>
  record.run === run && record.outcome === undefined;

const judgedBy = (record: OutcomeRecord, digest: string): Judged => ({
  value: record.digest === digest ? 'duplicate' : 'mismatch',
  of: record.run,
  ...(record.outcome === undefined ? {} : { outcome: record.outcome }),
});
