/** Thrown where the code's own invariant is broken: a bug in Phasor, never a user's mistake. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Stays on in production: a process that refuses to continue beats one that writes a second decision. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition) throw new InvariantError(what);
}
