// Goal: what the bank's account promises in its table: every effect once, no act after its undo, no money from nothing.
// Method: the pure functions alone; the last test tries every short sequence of commands.
import { describe, expect, it } from 'vitest';
import {
  afterRead,
  apply,
  KEEP_MS,
  MAX_OPERATIONS,
  moneyIn,
  openAccount,
  type Account,
  type Order,
  type Verb,
  type Verdict,
} from '../../examples/bank/account.ts';

const BEGUN_MS = 1_000_000;
const VERBS: readonly Verb[] = ['prepare', 'commit', 'commitOnePhase', 'abort', 'execute', 'compensate'];

const order = (verb: Verb, amount: number, operation = 'op'): Order => ({
  verb,
  operation,
  amount,
  begunMs: BEGUN_MS,
});

function one(account: Account, each: Order, writtenMs = BEGUN_MS): { account: Account; verdict: Verdict } {
  const { account: after, verdicts } = apply(account, [each], writtenMs);
  return { account: after, verdict: verdicts[0]! };
}

/** Verdicts as `done` or the code of the refusal, and the account after them. */
function play(account: Account, ...orders: readonly Order[]): { account: Account; said: string[] } {
  const said: string[] = [];
  for (const each of orders) {
    const applied = one(account, each);
    account = applied.account;
    said.push(applied.verdict.type === 'refused' ? applied.verdict.code : applied.verdict.type);
  }
  return { account, said };
}
const amounts = ({ balance, held }: Account): readonly number[] => [balance, held];

describe('a debit', () => {
  it('is held by prepare, leaves by commit, comes back by abort', () => {
    const prepared = play(openAccount(100), order('prepare', -30));
    expect([amounts(prepared.account), prepared.said]).toEqual([[70, 30], ['done']]);
    expect(amounts(play(prepared.account, order('commit', -30)).account)).toEqual([70, 0]);
    expect(amounts(play(prepared.account, order('abort', -30)).account)).toEqual([100, 0]);
  });

  it('is refused when the money is not there, and again when it has come since', () => {
    const poor = play(openAccount(10), order('prepare', -30));
    expect(poor.said).toEqual(['insufficient-funds']);
    const rich = play(poor.account, order('execute', 100, 'salary'), order('prepare', -30));
    expect([amounts(rich.account), rich.said]).toEqual([
      [110, 0],
      ['done', 'insufficient-funds'],
    ]);
  });

  it('cannot spend what another one holds', () => {
    const { said } = play(openAccount(50), order('prepare', -30, 'a'), order('prepare', -30, 'b'));
    expect(said).toEqual(['done', 'insufficient-funds']);
  });
});

describe('a credit', () => {
  it('arrives at commit, not before', () => {
    const prepared = play(openAccount(0), order('prepare', 30));
    expect(amounts(prepared.account)).toEqual([0, 0]);
    expect(amounts(play(prepared.account, order('commit', 30)).account)).toEqual([30, 0]);
  });

  it('is claimed back by its undo also when it was spent', () => {
    const spent = play(openAccount(0), order('execute', 30), order('execute', -20, 'shopping'));
    expect(amounts(play(spent.account, order('compensate', 30)).account)).toEqual([-20, 0]);
  });
});

describe('an undo before its act', () => {
  it.each([
    ['abort', 'prepare', 'aborted'],
    ['compensate', 'execute', 'compensated'],
  ] as const)('%s: %s is refused afterwards', (undo, act, code) => {
    const { account, said } = play(openAccount(100), order(undo, -30), order(act, -30));
    expect([amounts(account), said]).toEqual([
      [100, 0],
      ['done', code],
    ]);
  });

  it('is refused where the act may have been forgotten', () => {
    const later = BEGUN_MS + KEEP_MS + 1;
    const { verdict } = one(openAccount(100), order('compensate', -30), later);
    expect(verdict).toMatchObject({ type: 'refused', code: 'forgotten' });
    expect(one(openAccount(100), order('compensate', -30), later - 1).verdict).toEqual({ type: 'done' });
  });
});

describe('what is remembered', () => {
  const settled = play(openAccount(100), order('execute', -30)).account;
  const open = play(openAccount(100), order('prepare', -30)).account;

  it('is dated by the write that brought it, and forgotten when it is old and settled', () => {
    const dated = afterRead(settled, 500);
    expect([...dated.operations.values()]).toEqual([{ status: 'executed', amount: -30, at: 500 }]);
    expect([...afterRead(dated, 500 + KEEP_MS).operations.keys()]).toEqual(['op']);
    expect([...afterRead(dated, 501 + KEEP_MS).operations.keys()]).toEqual([]);
  });

  it('is never forgotten while it holds money', () => {
    const old = afterRead(afterRead(open, 500), 500 + 100 * KEEP_MS);
    expect(amounts(play(old, order('commit', -30)).account)).toEqual([70, 0]);
  });

  it('is never forgotten to make room: new acts wait, undos and commits do not', () => {
    const names = Array.from({ length: MAX_OPERATIONS - 1 }, (_, index) => `old-${index}`);
    const old = names.map((name) => [name, { status: 'executed', amount: 0 }] as const);
    const crowded = { ...open, operations: new Map([...old, ...open.operations]) };
    const full = play(crowded, order('execute', 5, 'new'));
    expect(full.said).toEqual(['busy']);
    expect(play(full.account, order('commit', -30)).said).toEqual(['done']);
    expect(play(full.account, order('compensate', 5, 'other')).said).toEqual(['done']);
  });
});

describe('every sequence of up to five commands of one step', () => {
  const sequences = (length: number): readonly (readonly Verb[])[] =>
    length === 0 ? [[]] : sequences(length - 1).flatMap((head) => VERBS.map((verb) => [...head, verb]));
  const all = sequences(5);

  it.each([-30, 30])(
    'amount %d: moves its money at most once, and a repeated command changes nothing',
    (amount) => {
      for (const verbs of all) {
        let account = openAccount(100);
        const settledAs = new Set<string>();
        for (const verb of verbs) {
          const once = one(account, order(verb, amount));
          const twice = one(once.account, order(verb, amount));
          if (twice.account !== once.account || twice.verdict.type !== once.verdict.type)
            throw new Error(`${verbs.join()}: a second ${verb} is another one`);
          account = once.account;
          const moved = moneyIn(account) - 100;
          if (moved !== 0 && moved !== amount) throw new Error(`${verbs.join()}: moved ${moved}`);
          if (account.held < 0) throw new Error(`${verbs.join()}: holds ${account.held}`);
          if (once.verdict.type === 'done' && verb !== 'prepare' && verb !== 'execute') settledAs.add(verb);
        }
        const isBoth = settledAs.has('abort') && (settledAs.has('commit') || settledAs.has('commitOnePhase'));
        if (isBoth) throw new Error(`${verbs.join()}: committed and aborted`);
      }
      expect(all).toHaveLength(6 ** 5);
    },
  );
});
