// Goal: an attempt may last until the upper bound of its act's deadline, which the machine counts from the lower one.
import { describe, expect, it } from 'vitest';
import { endedBy } from '../../src/protocol/command-due.ts';
import { eventual } from '../../src/protocol/eventual.ts';
import type { CommandEffect } from '../../src/protocol/machine.ts';
import { saga } from '../../src/protocol/saga.ts';
import { threePhaseSaga } from '../../src/protocol/three-phase-saga.ts';
import { compiled } from '../kit/compiled.ts';
import { armIn, BEGUN, command, report, specOf } from '../kit/machine-spec.ts';

const wide = { lowerMs: 700, upperMs: 900 };
const dueIn = (ms: number) => ({ due: BEGUN.time + ms });

describe('the due time of a command', () => {
  it('is that of its attempt, or the upper bound of its deadline if that is sooner', () => {
    const sent = { type: 'command', due: 5_000 } as CommandEffect;
    expect(endedBy(sent, undefined, wide)).toBe(sent);
    expect(endedBy(sent, { dueMs: 4_800 }, wide)).toBe(sent);
    expect(endedBy(sent, { dueMs: 4_799 }, wide)).toEqual({ ...sent, due: 4_999 });
    expect(endedBy(sent, { dueMs: 4_000 }, undefined)).toEqual({ ...sent, due: 4_000 });
    const { due: _, ...endless } = sent;
    expect(endedBy(endless, { dueMs: 4_000 }, wide)).toEqual({ ...sent, due: 4_200 });
  });

  it('of a 3PS: each stage', () => {
    const plan = compiled('3ps', ['a'], { deadlines: { reserve: wide, validate: wide, execute: wide } });
    const given = specOf(threePhaseSaga);
    given(plan)
      .whenBegun()
      .thenEmits(command('a', 'reserve', dueIn(900)), armIn(700));
    given(plan)
      .when(report('a', 'reserve', 'done'))
      .thenEmits(command('a', 'validate', dueIn(901)), armIn(700));
  });

  it('of a saga: compensations, too', () => {
    const steps = ['a', { step: 'b', after: ['a'] }];
    specOf(saga)(compiled('saga', steps, { deadlines: { compensate: wide } }))
      .after(report('a', 'execute', 'done'))
      .when(report('b', 'execute', 'refused', { code: 'no' }))
      .thenEmits(
        { type: 'decide', value: 'undo', code: 'no' },
        command('a', 'compensate', { ran: true, ...dueIn(902) }),
        armIn(700),
      );
  });

  it('of a 0.5PS: execute and confirm', () => {
    const plan = compiled('eventual', ['mail'], { deadlines: { execute: wide, confirm: wide } });
    const given = specOf(eventual);
    given(plan)
      .whenBegun()
      .thenEmits(command('mail', 'execute', dueIn(900)), armIn(700));
    given(plan)
      .when(report('mail', 'execute', 'done'))
      .thenEmits(command('mail', 'confirm', dueIn(901)), armIn(700));
  });
});
