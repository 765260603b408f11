/**
 * One account and what operations do to it: pure, so that a lost compare-and-set can simply apply them again.
 *
 * The account carries its recent operations, one entry per run and step, so balance and entry change in the same
 * write: an effect happens once, a repeated command finds its entry and answers the same, an undo that comes before
 * its act leaves an entry that stops the act. That is what a barrier does; this participant needs none.
 *
 * | entry      | prepare   | commit    | abort      | execute   | compensate  |
 * |------------|-----------|-----------|------------|-----------|-------------|
 * | none       | prepared¹ | refuses   | aborted²   | executed¹ | compensated²|
 * | refused    | refuses   | refuses   | aborted    | refuses   | compensated |
 * | prepared   | again     | committed | aborted    | refuses   | refuses     |
 * | committed  | again     | again     | refuses    | refuses   | refuses     |
 * | aborted    | refuses   | refuses   | again      | refuses   | refuses     |
 * | executed   | refuses   | refuses   | refuses    | again     | compensated |
 * | compensated| refuses   | refuses   | refuses    | refuses   | again       |
 *
 * ¹ or an entry `refused` when the money is not there. ² only where no entry can have been forgotten, else refuses.
 *
 * Entries are forgotten when they are settled and `KEEP_MS` old by the server's clock: twice the age at which the
 * worker stops beginning acts (see worker.ts), so no act can find its entry gone. An account with `MAX_OPERATIONS`
 * remembered entries takes no new ones until some are old enough; it never forgets a young one to make room.
 */

/** Whole rupees. Money is never a fraction. */
export type Rupees = number;

/** How a step may begin. */
type Act = 'prepared' | 'executed' | 'committed';
type Status = Act | 'refused' | 'aborted' | 'compensated';

/** Negative amounts leave the account. `at`: server time of the write that stored it; absent until read back. */
interface Operation {
  readonly status: Status;
  readonly amount: Rupees;
  readonly at?: number;
}

export interface Account {
  /** Free to spend. */
  readonly balance: Rupees;
  /** Taken out of the balance by prepared operations, still in this account. */
  readonly held: Rupees;
  readonly operations: ReadonlyMap<string, Operation>;
}

export type Verb = 'prepare' | 'commit' | 'commitOnePhase' | 'abort' | 'execute' | 'compensate';

export const isUndo = (verb: Verb): boolean => verb === 'abort' || verb === 'compensate';

export interface Order {
  readonly verb: Verb;
  /** One per run and step. */
  readonly operation: string;
  /** Negative: out of the account. */
  readonly amount: Rupees;
  /** Server time of the run's begin: nothing of the run is older. */
  readonly begunMs: number;
}

export type Verdict =
  | { readonly type: 'done' }
  | { readonly type: 'busy' }
  | { readonly type: 'refused'; readonly code: string; readonly message: string };

export interface Applied {
  /** The same object where nothing changed: no write is needed. */
  readonly account: Account;
  /** In the order of the orders. */
  readonly verdicts: readonly Verdict[];
}

export const KEEP_MS = 60 * 60_000;
export const MAX_OPERATIONS = 5_000;

export const openAccount = (balance: Rupees): Account => ({ balance, held: 0, operations: new Map() });

/** All the money in it. */
export const moneyIn = ({ balance, held }: Account): Rupees => balance + held;

export const encodeAccount = ({ operations, ...money }: Account): Uint8Array =>
  Buffer.from(JSON.stringify({ ...money, operations: [...operations] }));

export function decodeAccount(value: Uint8Array): Account {
  const { balance, held, operations } = JSON.parse(Buffer.from(value).toString()) as {
    readonly balance: Rupees;
    readonly held: Rupees;
    readonly operations: readonly (readonly [string, Operation])[];
  };
  return { balance, held, operations: new Map(operations) };
}

/**
 * Dates what the last write brought and forgets what is old.
 *
 * @param writtenMs server time of that write.
 */
export function afterRead(account: Account, writtenMs: number): Account {
  const operations = new Map<string, Operation>();
  for (const [name, operation] of account.operations) {
    const { status, at = writtenMs } = operation;
    const isOld = status !== 'prepared' && writtenMs - at > KEEP_MS;
    if (!isOld) operations.set(name, { ...operation, at });
  }
  return { ...account, operations };
}

/** One copy of the account for all orders of a write. */
interface Draft {
  balance: Rupees;
  held: Rupees;
  readonly operations: Map<string, Operation>;
  isChanged: boolean;
}

/** @param writtenMs server time of the last write, up to which entries may have been forgotten. */
export function apply(account: Account, orders: readonly Order[], writtenMs: number): Applied {
  const draft: Draft = { ...account, operations: new Map(account.operations), isChanged: false };
  const verdicts = orders.map((order) => carryOut(draft, order, writtenMs));
  const { isChanged, ...changed } = draft;
  return { account: isChanged ? changed : account, verdicts };
}

export const DONE: Verdict = { type: 'done' };
const refuse = (code: string, message: string): Verdict => ({ type: 'refused', code, message });

function carryOut(draft: Draft, order: Order, writtenMs: number): Verdict {
  switch (order.verb) {
    case 'prepare':
      return begin(draft, order, 'prepared');
    case 'execute':
      return begin(draft, order, 'executed');
    case 'commitOnePhase':
      return begin(draft, order, 'committed');
    case 'commit':
      return commit(draft, order);
    case 'abort':
    case 'compensate':
      return undo(draft, order, writtenMs);
  }
}

function begin(draft: Draft, order: Order, to: Act): Verdict {
  const found = draft.operations.get(order.operation);
  if (found !== undefined) {
    const isSame = found.status === to || (to === 'prepared' && found.status === 'committed');
    return isSame ? DONE : REFUSALS[found.status];
  }
  if (draft.operations.size >= MAX_OPERATIONS) return { type: 'busy' };
  const { amount } = order;
  const left = draft.balance + amount;
  const isCovered = left >= 0 && Number.isSafeInteger(left);
  note(draft, order, isCovered ? to : 'refused');
  if (!isCovered) return REFUSALS.refused;
  if (to !== 'prepared') draft.balance += amount;
  else if (amount < 0) hold(draft, -amount);
  return DONE;
}

const REFUSALS: Readonly<Record<Status, Verdict>> = {
  refused: refuse('insufficient-funds', 'the balance does not cover it'),
  prepared: refuse('prepared', 'this step is prepared, it is no saga step'),
  committed: refuse('committed', 'this step has been committed'),
  aborted: refuse('aborted', 'this step has been aborted'),
  executed: refuse('executed', 'this step has been executed, it was never prepared'),
  compensated: refuse('compensated', 'this step has been compensated'),
};

function commit(draft: Draft, order: Order): Verdict {
  const found = draft.operations.get(order.operation);
  if (found === undefined) return refuse('not-prepared', 'nothing is known of this step');
  if (found.status === 'committed') return DONE;
  if (found.status !== 'prepared') return REFUSALS[found.status];
  const { amount } = found;
  note(draft, { ...order, amount }, 'committed');
  if (amount < 0) draft.held += amount;
  else draft.balance += amount;
  return DONE;
}

function undo(draft: Draft, order: Order, writtenMs: number): Verdict {
  const found = draft.operations.get(order.operation);
  const [from, to] =
    order.verb === 'abort' ? (['prepared', 'aborted'] as const) : (['executed', 'compensated'] as const);
  // The act may have been carried out and its entry forgotten: only a person can tell.
  if (found === undefined && writtenMs - order.begunMs > KEEP_MS) {
    return refuse('forgotten', 'too old to know whether this step was carried out');
  }
  if (found?.status === to) return DONE;
  if (found === undefined || found.status === 'refused') {
    note(draft, order, to);
    return DONE;
  }
  if (found.status !== from) return REFUSALS[found.status];
  const { amount } = found;
  note(draft, { ...order, amount }, to);
  // A credit that was spent meanwhile is claimed back all the same: an undo must not fail.
  if (from === 'executed') draft.balance -= amount;
  else if (amount < 0) hold(draft, amount);
  return DONE;
}

function hold(draft: Draft, amount: Rupees): void {
  draft.balance -= amount;
  draft.held += amount;
}

/** The entry is new: dated when it is read back. */
function note(draft: Draft, { operation, amount }: Order, status: Status): void {
  draft.operations.set(operation, { status, amount });
  draft.isChanged = true;
}
