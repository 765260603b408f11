/** One planted bug: what it replaces in one file of the product, and the specs that must notice. */
export interface Mutant {
  /** kebab-case, unique; says what the product does wrong. */
  readonly name: string;
  /** Below `src/`. */
  readonly file: string;
  /** Stands in the file exactly once, or the run fails: a stale mutant proves nothing. */
  readonly find: string;
  readonly replace: string;
  /** Below `test/`, without `.test.ts`; run one after the other until one fails, so the fastest comes first. */
  readonly specs: readonly string[];
}
