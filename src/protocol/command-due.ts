/** When the deadline of a whole act ends an attempt of it. */
import type { Bounds } from './compiled-plan.ts';
import type { CommandEffect } from './machine.ts';

/**
 * The command, ended by its act's deadline if that is sooner: by the upper bound. The machine counts from the lower one
 * (`dueMs`), but an expiry strategy may let the deadline pass later, and until then an answer is waited for.
 */
export function endedBy(
  command: CommandEffect,
  deadline: { readonly dueMs: number } | undefined,
  bounds: Bounds | undefined,
): CommandEffect {
  if (deadline === undefined) return command;
  const dueMs = bounds === undefined ? deadline.dueMs : deadline.dueMs + bounds.upperMs - bounds.lowerMs;
  return dueMs >= (command.due ?? Infinity) ? command : { ...command, due: dueMs };
}
