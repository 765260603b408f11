/** What a seed can be about: the six patterns, 1.5PS and nested transactions. */
import type { Pattern } from '../../kernel/vocabulary.ts';

export const KINDS = ['2pc', '3pc', 'saga', '2ps', '3ps', 'eventual', '1.5ps', 'child'] as const;
export type Kind = (typeof KINDS)[number];

/** Patterns whose streams a kind uses. */
export const PATTERNS_OF: Readonly<Record<Kind, readonly Pattern[]>> = {
  '2pc': ['2pc'],
  '3pc': ['3pc'],
  saga: ['saga'],
  '2ps': ['2ps'],
  '3ps': ['3ps'],
  eventual: ['eventual'],
  '1.5ps': ['2ps', 'eventual'],
  child: ['saga', '2pc', '2ps'],
};

export const isKind = (text: string): text is Kind => (KINDS as readonly string[]).includes(text);
