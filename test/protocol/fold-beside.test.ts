// Goal: an own begin whose id names an open fresh run is judged where it stands in the log, by every fold alike (Rule 7).
import { beforeEach, expect, it } from 'vitest';
import { FoldRig, twoSteps } from '../kit/fold-rig.ts';

let rig: FoldRig;
beforeEach(() => {
  rig = new FoldRig();
});

const run = () => {
  const last = rig.runs.at(-1);
  if (last === undefined) throw new Error('no run');
  return last;
};
const verdict = (value: string) => ({ ...rig.named(), kind: 'verdict', at: run().begun.at, value });

function commit(): void {
  rig.begin();
  for (const phase of ['prepare', 'commit']) for (const step of ['debit', 'credit']) rig.report(step, phase);
}

it.each([
  ['the same plan', twoSteps, 'duplicate', 1],
  ['another plan', { ...twoSteps, name: 'other' }, 'mismatch', 0],
])('an own begin with the id of an open fresh run and %s begins nothing', (_, plan, value, duplicates) => {
  rig.begin();
  const fresh = run();
  rig.begin({ id: 'own', plan }, { headers: 'none' });
  expect(run().beside).toEqual({ value, of: fresh.facts.run });
  expect(rig.feed('coordinator.decided', { ...verdict(value), of: fresh.facts.run })).toEqual([
    'accepted decided',
    `judged ${value}`,
    'left',
  ]);
  expect([...rig.fold.runs.values()]).toEqual([fresh]);
  expect(fresh.duplicates).toBe(duplicates);
});

it('an own begin with the id of a fresh run that has ended is judged by its key', () => {
  commit();
  rig.begin({ id: 'own' }, { headers: 'none' });
  expect(run().beside).toBeUndefined();
});
