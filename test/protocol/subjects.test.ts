// Goal: no id ever widens, shifts or empties a subject, and what is built is read back as it was meant.
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../src/kernel/assert.ts';
import { parseCommandSubject, parseInputSubject, streamOf, subjects } from '../../src/kernel/subjects.ts';
import {
  COORDINATOR_KINDS,
  OPERATOR_ACTIONS,
  PATTERNS,
  PHASES,
  SENDER_KINDS,
} from '../../src/kernel/vocabulary.ts';

const HOSTILE = ['', '*', '>', 'a.b', '.', 'a b', 'a\t', 'a\r\n', 'é', 'a>', '$JS', 'x'.repeat(65)];

describe('building subjects', () => {
  it.each(HOSTILE)('refuses the token %j everywhere', (token) => {
    for (const build of [
      () => subjects.command('2pc', token, 'prepare'),
      () => subjects.input('2pc', token, 'begin', 0),
      () => subjects.response(token, 'payment', 'prepare'),
      () => subjects.response('tx', token, 'outcome'),
      () => subjects.responsesOf(token),
      () => subjects.dead('saga', token),
      () => subjects.timer('saga', 0, 'at', token),
    ]) {
      expect(build).toThrow(InvariantError);
    }
  });

  it('follows the table of the wire', () => {
    expect([
      subjects.command('2pc', 'payment', 'commit-one-phase'),
      subjects.input('saga', 'operator', 'retry', 7),
      subjects.shardInputs('2pc', 3),
      subjects.allInputs('2pc'),
      subjects.allCommands('2pc'),
      subjects.response('tx_1', 'coordinator', 'outcome'),
      subjects.responsesOf('tx_1'),
      subjects.dead('eventual', 'mail'),
      subjects.timer('3ps', 1, 'due', 'x'),
      subjects.query('saga', 0),
    ]).toEqual([
      '2pc.payment.commit-one-phase',
      'saga.operator.retry.7',
      '2pc.*.*.3',
      '2pc.*.*.*',
      '2pc.*.*',
      'response.tx_1.coordinator.outcome',
      'response.tx_1.>',
      'dead.eventual.mail',
      'timer.3ps.1.due.x',
      'query.saga.0',
    ]);
  });

  it('gives every pattern a stream of its own', () => {
    expect(new Set(PATTERNS.map(streamOf)).size).toBe(PATTERNS.length);
    expect(streamOf('eventual')).toBe('DTX_05PS_STREAM');
  });
});

describe('reading input subjects', () => {
  it('gives each sender its own kinds, and no others', () => {
    const kinds = [...new Set([...SENDER_KINDS, ...COORDINATOR_KINDS, ...OPERATOR_ACTIONS])];
    const allowed = (sender: string): string[] =>
      kinds.filter((kind) => parseInputSubject(`2pc.${sender}.${kind}.0`) !== undefined).sort();
    expect(allowed('payment')).toEqual([...SENDER_KINDS].sort());
    expect(allowed('coordinator')).toEqual([...COORDINATOR_KINDS].sort());
    expect(allowed('operator')).toEqual([...OPERATOR_ACTIONS].sort());
  });

  it('reads back what was built', () => {
    expect(parseInputSubject(subjects.input('3ps', 'bank-2', 'report', 1_023))).toEqual({
      pattern: '3ps',
      sender: 'bank-2',
      kind: 'report',
      shard: 1_023,
    });
  });

  it.each([
    ...['', '2pc', '2pc.payment.begin', '2pc.payment.begin.0.0', '2pc..begin.0', '2pc.payment.begin.'],
    ...['4pc.payment.begin.0', '2pc.*.begin.0', '2pc.Payment.begin.0', '2pc.payment.begin.*'],
    ...['2pc.payment.begin.00', '2pc.payment.begin.-1', '2pc.payment.begin.1e2', '2pc.payment.begin.100000'],
    ...['2pc.payment.prepare.0', '2pc.payment.decided.0', '2pc.payment.toString.0', '2pc.>.begin.0'],
  ])('refuses %j', (subject) => {
    expect(parseInputSubject(subject)).toBeUndefined();
  });
});

describe('reading command subjects', () => {
  it('reads back what was built', () => {
    for (const phase of PHASES) {
      const subject = subjects.command('saga', 'stock', phase);
      expect(parseCommandSubject(subject)).toEqual({ pattern: 'saga', participant: 'stock', phase });
    }
  });

  it.each([
    '2pc..prepare',
    '2pc.*.prepare',
    '2pc.coordinator.prepare',
    '2pc.a.begin',
    '2pc.a.prepare.0',
    '9pc.a.prepare',
  ])('refuses %j', (subject) => {
    expect(parseCommandSubject(subject)).toBeUndefined();
  });
});
