/** The scenarios of the saga family: an approval, an order that is confirmed at once, a flash sale, news. */
import { flashSale, news, orderForApproval, promptOrder, type Purchase } from '../shop/plans.ts';
import type { Narrator } from './narrator.ts';
import { ITEM, OFFER, OFFERED, type Stage } from './stage.ts';
import { commands, Findings, OUTCOME_MS, run, stockOf, storyOf, type Scenario } from './stagecraft.ts';

const ONE: Purchase = { item: ITEM, quantity: 1, price: 15_000 };
const BUYERS = 8;

export async function approval(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('7. An order held for approval: a 2PS that waits for a person, then verifies');
  const before = await stockOf(stage);
  const { pattern, plan } = orderForApproval(ONE);
  const handle = await stage.client.begin({ pattern, plan });
  const findings = new Findings(narrator);
  const waitsFor = await within(async () => {
    const run = await stage.client.describe(pattern, handle.tx);
    return run.waitsFor.includes('approval') ? run.waitsFor : undefined;
  });
  findings.check(
    waitsFor !== false,
    `${handle.tx} waits for ${waitsFor === false ? 'something else' : waitsFor}`,
  );
  await stage.client.signal(pattern, handle.tx, { name: 'approval', verdict: 'approve', by: 'asha' });
  const { status } = await handle.outcome({ timeoutMs: OUTCOME_MS });
  findings.check(status === 'completed', `asha approves: ${status}`);
  findings.check(before - (await stockOf(stage)) === 1, 'one bicycle has left the shelf');
  const refused = await stage.client.begin({ pattern, plan });
  await stage.client.signal(pattern, refused.tx, { name: 'approval', verdict: 'reject', by: 'asha' });
  const second = await refused.outcome({ timeoutMs: OUTCOME_MS });
  findings.check(
    second.status === 'compensated',
    `she rejects another: ${second.status} (${second.code ?? ''})`,
  );
  const story = await storyOf(stage, { tx: refused.tx, pattern });
  findings.check(commands(story, 'execute').length === 0, 'of that one nothing was executed');
  findings.check(before - (await stockOf(stage)) === 1, 'and its bicycle is back on the shelf');
  return { name: 'order-approved', tx: handle.tx, pattern, status, ok: findings.ok };
}

export async function promptly(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('8. An order confirmed at once, its mail and figures later: 1.5PS');
  const { pattern, plan } = promptOrder(ONE);
  const handle = await stage.client.begin({ pattern, plan });
  const outcome = await handle.outcome({ timeoutMs: OUTCOME_MS });
  const findings = new Findings(narrator);
  findings.check(
    outcome.status === 'completed' && outcome.scope === 'critical',
    `${handle.tx} ${outcome.status}, the ${outcome.scope} part: the customer knows`,
  );
  const ended = await endOf(stage, { tx: handle.tx, pattern });
  findings.check(ended, 'mail and figures have followed');
  return { name: 'order-confirmed-at-once', tx: handle.tx, pattern, status: outcome.status, ok: findings.ok };
}

/** Polls the log: nobody is told of the part that follows. */
const endOf = (stage: Stage, named: Pick<Scenario, 'tx' | 'pattern'>): Promise<boolean> =>
  within(async () => {
    const story = await storyOf(stage, named);
    return story?.open === false ? story.outcome?.status === 'completed' : undefined;
  });

/** Asks again until there is an answer; false when there is none in time. */
async function within<T>(ask: () => Promise<T | undefined>): Promise<T | false> {
  const giveUpAt = performance.now() + OUTCOME_MS;
  while (performance.now() < giveUpAt) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

export async function sale(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title(`9. A flash sale: ${BUYERS} buyers for ${OFFERED} helmets, by 3PS`);
  const purchase = { item: OFFER, quantity: 1, price: 900 };
  const ends = await Promise.all(Array.from({ length: BUYERS }, () => run(stage, flashSale(purchase))));
  const winners = ends.filter(({ status }) => status === 'completed');
  const findings = new Findings(narrator);
  findings.check(winners.length === OFFERED, `${winners.length} have one`);
  const losers = ends.filter(({ status }) => status === 'compensated');
  findings.check(losers.length === BUYERS - winners.length, `${losers.length} do not, and were not charged`);
  findings.check((await stockOf(stage, OFFER)) === 0, 'the shelf is empty');
  const [first] = winners;
  const told = first ?? { tx: '', pattern: '3ps' as const, status: 'unknown' as const };
  return { name: 'flash-sale', ...told, ok: findings.ok };
}

export async function newsletter(stage: Stage, narrator: Narrator): Promise<Scenario> {
  narrator.title('10. News for mailer and analytics, told until they are taken: 0.5PS');
  const ended = await run(stage, news('the flash sale is over'));
  const findings = new Findings(narrator);
  findings.check(ended.status === 'completed', `${ended.tx} ${ended.status}`);
  return { name: 'news-taken', ...ended, ok: findings.ok };
}
