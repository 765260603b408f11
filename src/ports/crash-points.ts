/** Named crash points (the durable boundaries of every role): markers that tests and demos turn into a kill. */
export const CRASH_POINTS = {
  k1: 'client: begin stored, acknowledgement lost',
  k2: 'client: begin acknowledged, outcome missed',
  k3: 'client: retry of the same begin',
  c1: 'coordinator: begin delivered, not folded',
  c2: 'coordinator: begin folded, no command sent',
  c3: 'coordinator: some commands of a phase sent',
  c4: 'coordinator: a report folded',
  c5: 'coordinator: the decision is implied, nothing of it sent',
  c6: 'coordinator: some commands of the decision sent',
  c7: 'coordinator: last report folded, no outcome note',
  c8: 'coordinator: outcome note stored, caller not told',
  c9: 'coordinator: timer fired, deadline input not stored',
  c10: 'coordinator: deadline input stored, acknowledgement lost',
  c11: 'coordinator: during replay',
  c12: 'coordinator: at the head, outstanding commands not yet sent again',
  c16: 'coordinator: some compensations sent',
  c17: 'coordinator: operator input stored, not carried out',
  c18: 'coordinator: a child has ended, its parent is not told',
  p1: 'participant: command received, not applied',
  p2: 'participant: applied, not recorded',
  p3: 'participant: recorded, not reported',
  p4: 'participant: reported, not acknowledged',
  p5: 'participant: prepared and in doubt',
  p6: 'participant: during commit',
  p7: 'participant: during an undo',
  p8: 'participant: after the tombstone of an undo that came first',
} as const;
export type CrashPoint = keyof typeof CRASH_POINTS;

/** Called as a point is passed; in production it does nothing. */
export type Passing = (point: CrashPoint) => void;
export const passOn: Passing = () => undefined;
