/**
 * A participant's store, kept by the test: what is available, and every operation on it. Phases may come again, late, or
 * for nothing (an undo before its act leaves a tombstone), and each operation takes effect once.
 */
import { done, refused, type Answer } from '../../src/runtime/worker-answers.ts';
import type { Action, Call } from '../../src/runtime/worker-call.ts';

type State = 'held' | 'taken' | 'given_back';

export class Shelf {
  available: number;
  /** What operations have taken for good. */
  taken = 0;
  readonly #operations = new Map<string, { readonly count: number; state: State }>();

  constructor(initially: number) {
    this.available = initially;
  }

  /** What is held for operations that have not ended. */
  get held(): number {
    return [...this.#operations.values()].reduce(
      (sum, { state, count }) => sum + (state === 'held' ? count : 0),
      0,
    );
  }

  /** Every pattern's phases on this store; `input` is how many. */
  readonly action: Action = {
    prepare: (call) => this.#hold(call),
    reserve: (call) => this.#hold(call),
    validate: (call) => this.#check(call),
    verify: (call) => this.#check(call),
    precommit: () => undefined,
    commit: (call) => this.#take(call),
    commitOnePhase: (call) => this.#take(call),
    execute: (call) => this.#take(call),
    abort: (call) => this.#giveBack(call),
    cancel: (call) => this.#giveBack(call),
    release: (call) => this.#giveBack(call),
    compensate: (call) => this.#giveBack(call),
  };

  /** A hold that ran out: what it held is available again. */
  expire(): void {
    for (const operation of this.#operations.values()) {
      if (operation.state !== 'held') continue;
      operation.state = 'given_back';
      this.available += operation.count;
    }
  }

  #hold({ operationId, input }: Call): Answer {
    const known = this.#operations.get(operationId);
    if (known !== undefined) return known.state === 'given_back' ? refused('given-back') : done();
    const count = Number(input);
    if (count > this.available) return refused('sold-out');
    this.available -= count;
    this.#operations.set(operationId, { count, state: 'held' });
    return done();
  }

  #check({ operationId }: Call): Answer {
    return this.#operations.get(operationId)?.state === 'held' ? done() : refused('stale');
  }

  #take(call: Call): Answer {
    const held = this.#hold(call);
    const operation = this.#operations.get(call.operationId);
    if (held.answer !== 'done' || operation === undefined) return held;
    if (operation.state === 'held') this.taken += operation.count;
    operation.state = 'taken';
    return done();
  }

  #giveBack({ operationId }: Call): Answer {
    const operation = this.#operations.get(operationId);
    if (operation === undefined) this.#operations.set(operationId, { count: 0, state: 'given_back' });
    else if (operation.state !== 'given_back') {
      if (operation.state === 'taken') this.taken -= operation.count;
      this.available += operation.count;
      operation.state = 'given_back';
    }
    return done();
  }
}
