/**
 * A participant with a durable balance. Each change is one transaction of its store, keyed by the operation id. Two kinds:
 *
 * `self-deduping`: 1. A repeated call changes nothing. 2. An act after its undo is refused, and so is a repeated call
 * after a refusal, whatever has become possible meanwhile. So effects are exactly-once whatever the barrier does, and
 * what a coordinator asks wrongly shows.
 *
 * `trusting`: does whatever it is called for, for its barrier promises not to call it wrongly. What it does once more, or
 * after its undo, is written down as such and answered like the first time. The balance is spared: a repeat that the
 * barrier may allow must not hide from the other checkers what it may not.
 */
import type { Phase } from '../../kernel/vocabulary.ts';
import type { Clock } from '../../ports/clock.ts';
import { done, readOnly, refused, retry, type Answer } from '../../runtime/worker-answers.ts';
import type { Action, Call, Handler } from '../../runtime/worker-call.ts';
import type { Book, Change, Operation } from '../checkers/book.ts';
import type { Store } from '../store.ts';
import { scriptOf, type Script } from './script.ts';
import type { Watched } from './witness.ts';

type Did = readonly [Change, Answer];

const OVER: Did = ['none', refused('over')];

export interface ParticipantOptions {
  readonly book: Store<Book>;
  readonly clock: Clock;
  readonly trusting: boolean;
  /** Virtual time, for the ledger alone. */
  readonly nowMs: () => number;
  /** Told of every call as it begins. */
  readonly watch: (call: Call) => Watched | undefined;
}

export function participantAction({ book, clock, trusting, nowMs, watch }: ParticipantOptions): Action {
  const carry = async (call: Call): Promise<Answer> => {
    const told = scriptOf(call.input);
    const script = told ?? scriptOf(book.value.operations.get(call.operationId)?.input);
    const slow = script?.slow?.phase === call.phase ? script.slow : undefined;
    if (slow !== undefined && !slow.after) await sleep(clock, slow.ms);
    const answer = await book.transact((own) => carryOut(own, call, { trusting, atMs: nowMs() }));
    if (slow?.after === true) await sleep(clock, slow.ms);
    return answer();
  };
  const handle: Handler = async (call) => {
    const watched = watch(call);
    try {
      const answer = await carry(call);
      watched?.answered(answer.answer);
      return answer;
    } catch (error) {
      watched?.answered('thrown');
      throw error;
    }
  };
  return {
    ...{ prepare: handle, precommit: handle, commit: handle, commitOnePhase: handle, abort: handle },
    ...{ reserve: handle, validate: handle, verify: handle, execute: handle, compensate: handle },
    ...{ cancel: handle, release: handle, confirm: handle },
  };
}

const sleep = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => void clock.after(ms, resolve));

/** The answer is made outside the transaction: some are thrown. */
function carryOut(
  book: Book,
  call: Call,
  { trusting, atMs }: { readonly trusting: boolean; readonly atMs: number },
): () => Answer {
  const operation = book.operations.get(call.operationId) ?? open(book, call);
  const { phase, attempt } = call;
  const calls = (operation.calls.get(phase) ?? 0) + 1;
  operation.calls.set(phase, calls);
  const script = scriptOf(operation.input) ?? { amount: operation.amount };
  // A `retry` holds for every copy of its attempt: without a barrier nothing else keeps a late copy from running.
  const times = script.wrong?.how === 'retry' ? attempt : calls;
  const wrong = script.wrong?.phase === phase && times <= script.wrong.times ? script.wrong.how : undefined;
  if (wrong === 'retry') return () => retry('busy', { afterMs: 50 });
  if (wrong === 'throw') return fail;
  if (wrong === 'nonsense') return () => ({ answer: 'maybe' }) as unknown as Answer;
  const [change, answer] = step(book, operation, { call, script, trusting });
  operation.entries.push({ atMs, phase, attempt, change });
  return wrong === 'late' ? fail : () => answer;
}

function fail(): never {
  throw new Error('scripted failure');
}

function open(book: Book, call: Call): Operation {
  const { operationId: id, pattern, tx, run, step: name, input = null } = call;
  const amount = scriptOf(input)?.amount ?? 0;
  const head = { id, pattern, tx, run, step: name, input, amount };
  const operation: Operation = {
    ...head,
    state: 'new',
    expiresAtMs: undefined,
    entries: [],
    calls: new Map(),
  };
  book.operations.set(id, operation);
  return operation;
}

interface Asked {
  readonly call: Call;
  readonly trusting: boolean;
  readonly script: Script;
}

function step(book: Book, operation: Operation, asked: Asked): Did {
  const { phase } = asked.call;
  if (asked.script.refuse === phase && operation.state !== 'over') {
    // A refusal leaves nothing of this phase behind; what earlier phases hold waits for its undo.
    return ['none', refused('scripted')];
  }
  switch (phase) {
    case 'prepare':
    case 'reserve':
      return hold(book, operation, asked);
    case 'precommit':
    case 'verify':
    case 'validate':
      return standing(book, operation, asked);
    case 'commit':
      return operation.state === 'applied' ? [repeated(asked), done()] : commit(book, operation, phase);
    case 'commit-one-phase':
    case 'execute':
      return execute(book, operation, asked);
    case 'confirm':
      if (operation.state !== 'applied') return wrongly(book, operation, phase);
      return [hasConfirmed(operation) ? repeated(asked) : 'confirm', done()];
    case 'abort':
    case 'cancel':
    case 'release':
    case 'compensate':
      return undo(book, operation, asked);
  }
}

const repeated = ({ trusting }: Asked): Change => (trusting ? 'again' : 'none');

const hasConfirmed = ({ entries }: Operation): boolean => entries.some(({ change }) => change === 'confirm');

function hold(book: Book, operation: Operation, asked: Asked): Did {
  const { call, script, trusting } = asked;
  if (operation.state === 'over' && !trusting) return OVER;
  const expiresAtMs = operation.expiresAtMs;
  const again = done({ hold: operation.id }, expiresAtMs === undefined ? {} : { expiresAtMs });
  if (script.readOnly === true) return ['none', readOnly()];
  if (operation.state === 'over') return ['late', again];
  if (operation.state !== 'new') return [repeated(asked), again];
  if (operation.amount < 0 && book.balance + operation.amount < 0) return refuse(operation, asked);
  operation.state = 'held';
  book.balance += Math.min(operation.amount, 0);
  if (script.livesMs === undefined) return ['hold', again];
  operation.expiresAtMs = Math.floor(call.serverTimeMs + script.livesMs);
  return ['hold', done({ hold: operation.id }, { expiresAtMs: operation.expiresAtMs })];
}

/** Who trusts his barrier keeps no refusal: another attempt asks anew. */
function refuse(operation: Operation, { trusting }: Asked): Did {
  if (!trusting) operation.state = 'over';
  return ['none', refused('poor')];
}

function standing(book: Book, operation: Operation, { call }: Asked): Did {
  const { state, expiresAtMs } = operation;
  if (state === 'over') return OVER;
  if (state === 'applied' && call.phase !== 'precommit') return ['none', done()];
  if (state === 'applied') return ['none', done()];
  if (state === 'new') return wrongly(book, operation, call.phase);
  if (call.phase === 'validate' && expiresAtMs !== undefined && call.serverTimeMs > expiresAtMs)
    return ['none', refused('expired')];
  return ['none', done()];
}

function commit(book: Book, operation: Operation, phase: Phase): Did {
  if (operation.state !== 'held') return wrongly(book, operation, phase);
  return apply(book, operation);
}

function execute(book: Book, operation: Operation, asked: Asked): Did {
  const { call, script, trusting } = asked;
  const { state, amount } = operation;
  if (state === 'over' && !trusting) return OVER;
  if (state === 'over') return ['late', done({ hold: operation.id })];
  if (state === 'applied') return [repeated(asked), done({ hold: operation.id })];
  const atOnce = call.pattern === 'saga' || call.pattern === 'eventual' || call.phase === 'commit-one-phase';
  if (state === 'new' && !atOnce) return wrongly(book, operation, call.phase);
  if (state === 'new' && script.readOnly === true) return ['none', readOnly()];
  if (state === 'new') {
    if (amount < 0 && book.balance + amount < 0) return refuse(operation, asked);
    book.balance += Math.min(amount, 0);
  }
  return apply(book, operation);
}

function apply(book: Book, operation: Operation): Did {
  operation.state = 'applied';
  book.balance += Math.max(operation.amount, 0);
  return ['apply', done({ hold: operation.id })];
}

function undo(book: Book, operation: Operation, asked: Asked): Did {
  const { state, amount } = operation;
  const { phase } = asked.call;
  if (state === 'over') return [repeated(asked), done()];
  if (state === 'applied' && phase !== 'compensate') return wrongly(book, operation, phase);
  operation.state = 'over';
  if (state === 'new') return ['tombstone', done()];
  book.balance -= state === 'held' ? Math.min(amount, 0) : amount;
  return [state === 'held' ? 'drop' : 'revert', done()];
}

/** Refused, and remembered: the checkers judge whether it was anybody's fault. */
function wrongly(book: Book, operation: Operation, phase: Phase): Did {
  book.anomalies.push(`${operation.id}: ${phase} of what is ${operation.state}`);
  return ['none', refused('out-of-turn')];
}
