/** Subjects and who listens on them: core NATS as a data structure. */

/** Whether a literal subject matches a filter with `*` (one token) and a last `>` (one or more). */
export function subjectMatches(filter: string, subject: string): boolean {
  if (filter === subject) return true;
  if (!filter.includes('*')) {
    // Only the last token can be a wildcard, and `>` stands for at least one.
    return filter.endsWith('>') && subject.length >= filter.length && subject.startsWith(filter.slice(0, -1));
  }
  const wanted = filter.split('.');
  const tokens = subject.split('.');
  for (const [index, want] of wanted.entries()) {
    if (want === '>') return index < tokens.length;
    if (index >= tokens.length || (want !== '*' && want !== tokens[index])) return false;
  }
  return wanted.length === tokens.length;
}

/** Several filters, with the answers remembered: hot streams have few distinct subjects. */
export class SubjectFilter {
  readonly filters: readonly string[];
  readonly #known = new Map<string, boolean>();

  constructor(filters: readonly string[]) {
    this.filters = filters;
  }

  matches(subject: string): boolean {
    if (this.filters.length === 0) return true;
    const known = this.#known.get(subject);
    if (known !== undefined) return known;
    const matches = this.filters.some((filter) => subjectMatches(filter, subject));
    if (this.#known.size < MAX_KNOWN) this.#known.set(subject, matches);
    return matches;
  }
}
const MAX_KNOWN = 4_096;

export interface Interest<T> {
  readonly filter: string;
  readonly queue: string | undefined;
  readonly owner: T;
  readonly sid: number;
}

/** Subscriptions by the literal part of their filter: one for each open transaction costs nothing to the others. */
export class Interests<T> {
  readonly #byHead = new Map<string, Set<Interest<T>>>();

  add(interest: Interest<T>): void {
    const head = headOf(interest.filter);
    const there = this.#byHead.get(head);
    if (there === undefined) this.#byHead.set(head, new Set([interest]));
    else there.add(interest);
  }

  remove(interest: Interest<T>): void {
    const head = headOf(interest.filter);
    const there = this.#byHead.get(head);
    there?.delete(interest);
    if (there?.size === 0) this.#byHead.delete(head);
  }

  /** Everyone who hears it: all without a queue, and `choose` names one of each queue. */
  hearers(subject: string, choose: (count: number) => number): readonly Interest<T>[] {
    const found: Interest<T>[] = [];
    let queues: Map<string, Interest<T>[]> | undefined;
    for (const interest of this.#matching(subject)) {
      const { queue } = interest;
      if (queue === undefined) {
        found.push(interest);
        continue;
      }
      queues ??= new Map();
      queues.set(queue, [...(queues.get(queue) ?? []), interest]);
    }
    for (const members of queues?.values() ?? []) {
      const chosen = members[choose(members.length)];
      if (chosen !== undefined) found.push(chosen);
    }
    return found;
  }

  /** Anyone who hears it. */
  first(subject: string): T | undefined {
    return this.#matching(subject)[0]?.owner;
  }

  #matching(subject: string): readonly Interest<T>[] {
    const found: Interest<T>[] = [];
    this.#collect('', subject, found);
    for (let dot = subject.indexOf('.'); dot !== -1; dot = subject.indexOf('.', dot + 1))
      this.#collect(subject.slice(0, dot), subject, found);
    this.#collect(subject, subject, found);
    return found;
  }

  #collect(head: string, subject: string, found: Interest<T>[]): void {
    const there = this.#byHead.get(head);
    if (there === undefined) return;
    for (const interest of there) if (subjectMatches(interest.filter, subject)) found.push(interest);
  }
}

/** `a.b.>` is found under `a.b`; a literal under itself. */
function headOf(filter: string): string {
  const tokens = filter.split('.');
  const first = tokens.findIndex((token) => token === '*' || token === '>');
  return first === -1 ? filter : tokens.slice(0, first).join('.');
}
