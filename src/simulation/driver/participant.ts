/**
 * A participant with a durable balance. Invariants: 1. A repeated call changes nothing. 2. An act after its undo is
 * refused, and so is a repeated call after a refusal, whatever has become possible meanwhile. 3. Each change is one transaction of its store, keyed by the operation id. So effects are exactly-once
 * whatever the barrier does, and what a coordinator asks wrongly shows.
 */
import type { Phase } from '../../kernel/vocabulary.ts';
import type { Clock } from '../../ports/clock.ts';
import { done, readOnly, refused, retry, type Answer } from '../../runtime/worker-answers.ts';
import type { Action, Call, Handler } from '../../runtime/worker-call.ts';
import type { Book, Change, Operation } from '../checkers/book.ts';
import type { Store } from '../store.ts';
import { scriptOf, type Script } from './script.ts';

type Did = readonly [Change, Answer];

const OVER: Did = ['none', refused('over')];

/** @param nowMs virtual time, for the ledger alone. */
export function participantAction(book: Store<Book>, clock: Clock, nowMs: () => number): Action {
  const handle: Handler = async (call) => {
    const told = scriptOf(call.input);
    const script = told ?? scriptOf(book.value.operations.get(call.operationId)?.input);
    const slow = script?.slow?.phase === call.phase ? script.slow : undefined;
    if (slow !== undefined && !slow.after) await sleep(clock, slow.ms);
    const answer = await book.transact((own) => carryOut(own, call, nowMs()));
    if (slow?.after === true) await sleep(clock, slow.ms);
    return answer();
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
function carryOut(book: Book, call: Call, atMs: number): () => Answer {
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
  const [change, answer] = step(book, operation, { call, script });
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
      return operation.state === 'applied' ? ['none', done()] : commit(book, operation, phase);
    case 'commit-one-phase':
    case 'execute':
      return execute(book, operation, asked);
    case 'confirm':
      if (operation.state !== 'applied') return wrongly(book, operation, phase);
      return ['confirm', done()];
    case 'abort':
    case 'cancel':
    case 'release':
    case 'compensate':
      return undo(book, operation, phase);
  }
}

function hold(book: Book, operation: Operation, { call, script }: Asked): Did {
  if (operation.state === 'over') return OVER;
  const expiresAtMs = operation.expiresAtMs;
  const again = done({ hold: operation.id }, expiresAtMs === undefined ? {} : { expiresAtMs });
  if (operation.state !== 'new') return ['none', again];
  if (script.readOnly === true) return ['none', readOnly()];
  if (operation.amount < 0 && book.balance + operation.amount < 0) return refuse(operation);
  operation.state = 'held';
  book.balance += Math.min(operation.amount, 0);
  if (script.livesMs === undefined) return ['hold', again];
  operation.expiresAtMs = Math.floor(call.serverTimeMs + script.livesMs);
  return ['hold', done({ hold: operation.id }, { expiresAtMs: operation.expiresAtMs })];
}

function refuse(operation: Operation): Did {
  operation.state = 'over';
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

function execute(book: Book, operation: Operation, { call, script }: Asked): Did {
  const { state, amount } = operation;
  if (state === 'over') return OVER;
  if (state === 'applied') return ['none', done({ hold: operation.id })];
  const atOnce = call.pattern === 'saga' || call.pattern === 'eventual' || call.phase === 'commit-one-phase';
  if (state === 'new' && !atOnce) return wrongly(book, operation, call.phase);
  if (state === 'new' && script.readOnly === true) return ['none', readOnly()];
  if (state === 'new') {
    if (amount < 0 && book.balance + amount < 0) return refuse(operation);
    book.balance += Math.min(amount, 0);
  }
  return apply(book, operation);
}

function apply(book: Book, operation: Operation): Did {
  operation.state = 'applied';
  book.balance += Math.max(operation.amount, 0);
  return ['apply', done({ hold: operation.id })];
}

function undo(book: Book, operation: Operation, phase: Phase): Did {
  const { state, amount } = operation;
  if (state === 'over') return ['none', done()];
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
