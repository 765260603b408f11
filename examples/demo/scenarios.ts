/** The scenarios with one transaction each. What they claim is read from the stored accounts and the log. */
import { moneyIn, type Rupees } from '../bank/account.ts';
import { BANKS } from '../bank/ledger.ts';
import { consolidation, highValueConsolidation, type Consolidation } from '../bank/plans.ts';
import { order } from '../shop/plans.ts';
import { count, rupees, type Narrator } from './narrator.ts';
import { books, ITEM, nameOf, type Stage } from './stage.ts';
import { commands, Findings, OUTCOME_MS, run, stockOf, storyOf, type Scenario } from './stagecraft.ts';

type Balances = ReadonlyMap<string, Rupees>;

async function balances(stage: Stage): Promise<Balances> {
  const accounts = await books(stage);
  return new Map([...accounts].map(([name, { balance, held }]) => [name, held === 0 ? balance : NaN]));
}

function changes(before: Balances, after: Balances): ReadonlyMap<string, Rupees> {
  const moved = [...after].map(([name, balance]) => [name, balance - (before.get(name) ?? 0)] as const);
  return new Map(moved.filter(([, amount]) => amount !== 0));
}

function gather({ customer, tax }: Stage, amounts: readonly [Rupees, Rupees, Rupees]): Consolidation {
  const sum = amounts[0] + amounts[1] + amounts[2];
  return {
    sources: [
      { from: customer.hdfc, amount: amounts[0] },
      { from: customer.icici, amount: amounts[1] },
      { from: customer.axis, amount: amounts[2] },
    ],
    into: customer.sbi,
    // Two per cent, in whole rupees.
    tax: { to: tax, amount: Math.round(sum / 50) },
  };
}

/** The changes that a committed consolidation makes, and no others. */
function expectedChanges({ sources, into, tax }: Consolidation): ReadonlyMap<string, Rupees> {
  const sum = sources.reduce((total, { amount }) => total + amount, 0);
  return new Map([
    ...sources.map(({ from, amount }) => [nameOf(from), -amount] as const),
    [nameOf(into), sum - tax.amount],
    [nameOf(tax.to), tax.amount],
  ]);
}

const isSame = (a: ReadonlyMap<string, Rupees>, b: ReadonlyMap<string, Rupees>): boolean =>
  a.size === b.size && [...a].every(([name, amount]) => b.get(name) === amount);

function tell(narrator: Narrator, { sources, into, tax }: Consolidation): void {
  for (const { from, amount } of sources)
    narrator.note(`debit  ${nameOf(from).padEnd(16)} ${rupees(amount)}`);
  const sum = sources.reduce((total, { amount }) => total + amount, 0);
  narrator.note(`credit ${nameOf(into).padEnd(16)} ${rupees(sum - tax.amount)}`);
  narrator.note(`credit ${nameOf(tax.to).padEnd(16)} ${rupees(tax.amount)} (tax)`);
}

export async function commits(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('1. Three banks into one account: a 2PC that commits');
  const plan = gather(stage, [10_00_000, 5_00_000, 3_00_000]);
  tell(narrator, plan);
  const before = await balances(stage);
  const ended = await run(stage, consolidation(plan));
  const findings = new Findings(narrator);
  findings.check(ended.status === 'committed', `${ended.tx} ${ended.status}`);
  const moved = changes(before, await balances(stage));
  findings.check(
    isSame(moved, expectedChanges(plan)),
    'exactly these five accounts have changed, by these amounts',
  );
  return { name: 'consolidation-commits', ...ended, ok: findings.ok };
}

export async function aborts(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('2. The same with too little money at one bank: aborts and changes nothing');
  const plan = gather(stage, [1_00_000, 9_00_000, 1_00_000]);
  tell(narrator, plan);
  const before = await balances(stage);
  const ended = await run(stage, consolidation(plan));
  const findings = new Findings(narrator);
  findings.check(
    ended.status === 'aborted',
    `${ended.tx} ${ended.status}: icici refuses, insufficient funds`,
  );
  const moved = changes(before, await balances(stage));
  findings.check(moved.size === 0, 'no account has changed, nothing is on hold');
  return { name: 'insufficient-funds-aborts', ...ended, ok: findings.ok };
}

export async function orderCompletes(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('3. An order: a saga over inventory, payment and shipping');
  narrator.note('reserve 2 bicycles, charge (the gateway is flaky), ship to Pune');
  const stock = await stockOf(stage);
  const ended = await run(
    stage,
    order({ item: ITEM, quantity: 2, price: 15_000, address: '12 MG Road, Pune' }),
  );
  const story = await storyOf(stage, ended);
  const tries = commands(story, 'execute').filter((step) => step === 'charge').length;
  const findings = new Findings(narrator);
  findings.check(ended.status === 'completed', `${ended.tx} ${ended.status}`);
  findings.check(tries === 3, `the charge went through at attempt ${tries}`);
  findings.check(stock - (await stockOf(stage)) === 2, 'two bicycles have left the shelf');
  return { name: 'order-completes', ...ended, ok: findings.ok };
}

export async function orderCompensated(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('4. An order to the moon: shipping refuses, everything is undone in reverse');
  const stock = await stockOf(stage);
  const ended = await run(
    stage,
    order({ item: ITEM, quantity: 1, price: 15_000, address: 'Mare Tranquillitatis, Moon' }),
  );
  const story = await storyOf(stage, ended);
  const undone = commands(story, 'compensate');
  const findings = new Findings(narrator);
  findings.check(
    ended.status === 'compensated',
    `${ended.tx} ${ended.status}: shipping refuses, no carrier goes there`,
  );
  findings.check(undone.join() === 'charge,reserve', `undone in this order: ${undone.join(', ')}`);
  findings.check((await stockOf(stage)) === stock, 'the bicycle is back on the shelf');
  return { name: 'order-compensated', ...ended, ok: findings.ok };
}

export async function coordinatorKilled(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('5. The coordinator is killed after the last vote, before it could send a commit');
  const plan = gather(stage, [1_00_000, 1_00_000, 1_00_000]);
  tell(narrator, plan);
  const findings = new Findings(narrator);
  const before = await balances(stage);
  await stage.coordinator.stop();
  const doomed = await stage.children.start('coordinator', [], { PHASOR_CRASH: 'c5' });
  const death = doomed.stoppedByItself(OUTCOME_MS);
  death.catch(() => undefined);
  const { pattern, plan: built } = consolidation(plan);
  const handle = await stage.client.begin({ pattern, plan: built });
  const { signal } = await death;
  findings.check(
    signal === 'SIGKILL',
    `coordinator ${doomed.pid ?? ''} is dead: ${signal ?? 'but not killed'}`,
  );
  const held = [...(await books(stage)).values()].reduce((sum, each) => sum + each.held, 0);
  findings.check(
    held === 3_00_000,
    `all banks have voted yes and wait: ${rupees(held)} on hold, nobody committed`,
  );
  stage.coordinator = await stage.children.start('coordinator');
  narrator.note(
    `a new coordinator (${stage.coordinator.pid ?? ''}) reads the log; the votes in it imply the commit`,
  );
  const { status } = await handle.outcome({ timeoutMs: OUTCOME_MS });
  findings.check(status === 'committed', `${handle.tx} ${status}`);
  const moved = changes(before, await balances(stage));
  findings.check(isSame(moved, expectedChanges(plan)), 'every account has changed once, by these amounts');
  return { name: 'coordinator-killed', tx: handle.tx, pattern, status, ok: findings.ok };
}

export async function highValue(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('6. Large sums by 3PC: nobody is left waiting, even if every coordinator were lost');
  const plan = gather(stage, [75_000, 1_50_000, 60_000]);
  tell(narrator, plan);
  const before = await balances(stage);
  const ended = await run(stage, highValueConsolidation(plan));
  const story = await storyOf(stage, ended);
  const findings = new Findings(narrator);
  findings.check(ended.status === 'committed', `${ended.tx} ${ended.status}`);
  const told = commands(story, 'precommit').length;
  findings.check(told === plan.sources.length + 2, `all ${told} steps knew of the commit before any made it`);
  const moved = changes(before, await balances(stage));
  findings.check(
    isSame(moved, expectedChanges(plan)),
    'the same five accounts have changed, by these amounts',
  );
  return { name: 'high-value-transfer', ...ended, ok: findings.ok };
}

/** Whether all money is there and none is on hold, at the end of everything. */
export async function balance(stage: Stage): Promise<{ readonly money: Rupees; readonly held: Rupees }> {
  const accounts = [...(await books(stage)).values()];
  return {
    money: accounts.reduce((sum, each) => sum + moneyIn(each), 0),
    held: accounts.reduce((sum, each) => sum + each.held, 0),
  };
}

export const cast = (stage: Stage): string =>
  `${BANKS.join(', ')} with ${count(stage.crowd.length)} customers; inventory, payment, shipping, mailer, analytics`;
