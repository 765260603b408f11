import { done, refused, type Action, type Answer, type Call } from '../../src/index.ts';
import { isUndo, type Order, type Rupees, type Verb, type Verdict } from './account.ts';
import type { Ledger } from './ledger.ts';

interface Input {
  readonly account: string;
  readonly amount: Rupees;
}

const ACCOUNT = /^[a-z0-9][a-z0-9-]{0,63}$/;

/** The two things this bank does, in 2PC and 3PC (prepare, commit, abort) and in sagas (execute, compensate). */
export function bankActions(ledger: Ledger): Readonly<Record<'credit' | 'debit', Action>> {
  return { credit: action(ledger, 1), debit: action(ledger, -1) };
}

/** @param sign what becomes of the account's money: 1 adds, -1 takes. */
function action(ledger: Ledger, sign: 1 | -1): Action {
  // A commit carries no input; the account it concerns was told to prepare, and is answered as its output.
  const handler =
    (verb: Verb) =>
    async (call: Call): Promise<Answer> => {
      const input = readInput(call.input ?? call.output);
      // What could not be begun needs no undo, and an undo must not fail.
      if (input === undefined && isUndo(verb)) return done();
      if (input === undefined)
        return refused('bad-input', 'give account and amount, in whole rupees above 0');
      const verdict = await ledger.carryOut(input.account, orderOf(call, verb, sign * input.amount));
      return answerOf(verdict, input);
    };
  return {
    prepare: handler('prepare'),
    // 3PC: the money is held already; Phasor's barrier remembers that there is no way back.
    precommit: () => undefined,
    commit: handler('commit'),
    commitOnePhase: handler('commitOnePhase'),
    abort: handler('abort'),
    execute: handler('execute'),
    compensate: handler('compensate'),
  };
}

function readInput(value: unknown): Input | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { account, amount } = value as Readonly<Record<string, unknown>>;
  const isMoney = typeof amount === 'number' && Number.isSafeInteger(amount) && amount > 0;
  if (typeof account !== 'string' || !ACCOUNT.test(account) || !isMoney) return undefined;
  return { account, amount };
}

function orderOf({ pattern, run, step }: Call, verb: Verb, amount: Rupees): Order {
  // A run is named by the place and the stream time of its begin: `sequence.index.milliseconds`.
  const begunMs = Number(run.split('.')[2]);
  return { verb, operation: `${pattern}.${run}.${step}`, amount, begunMs };
}

function answerOf(verdict: Verdict, { account, amount }: Input): Answer {
  switch (verdict.type) {
    case 'done':
      return done({ account, amount });
    case 'busy':
      // Nothing is remembered of it: another copy of this call may yet go through, so it is no `retry`.
      throw new Error('the account remembers too many operations, try again later');
    case 'refused':
      return refused(verdict.code, verdict.message);
  }
}
