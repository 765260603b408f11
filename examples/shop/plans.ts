import { eventual, from, saga, threePhaseSaga, twoPhaseSaga, type BuiltPlan } from '../../src/index.ts';

export const SHOP = ['inventory', 'payment', 'shipping', 'mailer', 'analytics'] as const;
export type ShopService = (typeof SHOP)[number];

export interface Order {
  readonly item: string;
  readonly quantity: number;
  /** Whole rupees. */
  readonly price: number;
  readonly address: string;
}

/**
 * Reserve, charge, ship; shipping is the point of no return. When it refuses, the charge is refunded and then the
 * goods are put back.
 */
export function order({ item, quantity, price, address }: Order): BuiltPlan<'saga'> {
  return saga('order')
    .step('reserve', { participant: 'inventory', action: 'reserve', input: { item, quantity } })
    .step('charge', {
      participant: 'payment',
      action: 'charge',
      input: { amount: quantity * price },
      retry: { maxAttempts: 5, initial: 50 },
    })
    .pivot('ship', {
      participant: 'shipping',
      action: 'ship',
      input: { reservation: from('reserve', '/reservation'), address },
    })
    .build();
}

export type Purchase = Pick<Order, 'item' | 'quantity' | 'price'>;

const goods = ({ item, quantity }: Purchase) =>
  ({ participant: 'inventory', action: 'sell', input: { item, quantity } }) as const;
const money = ({ quantity, price }: Purchase) =>
  ({ participant: 'payment', action: 'pay', input: { amount: quantity * price } }) as const;

/** 2PS with verification: goods aside and money authorised, until a person approves; then looked at once more. */
export function orderForApproval(purchase: Purchase): BuiltPlan<'2ps'> {
  return twoPhaseSaga('order-for-approval')
    .step('goods', goods(purchase))
    .step('money', money(purchase))
    .gate({ signal: 'approval' })
    .build();
}

/** 1.5PS: confirmed once goods and money are settled; the mail and the figures follow by themselves. */
export function promptOrder(purchase: Purchase): BuiltPlan<'2ps'> {
  const about = `${purchase.quantity} of ${purchase.item}`;
  return twoPhaseSaga('prompt-order')
    .step('goods', goods(purchase))
    .step('money', money(purchase))
    .eventually('mail', { participant: 'mailer', action: 'tell', input: { about } })
    .eventually('figures', { participant: 'analytics', action: 'tell', input: { about } })
    .build();
}

/** 3PS: each side reserves and validates at its own pace; nothing is handed over before both have. */
export function flashSale(purchase: Purchase): BuiltPlan<'3ps'> {
  return threePhaseSaga('flash-sale').step('goods', goods(purchase)).step('money', money(purchase)).build();
}

/** 0.5PS: told until it is taken. */
export function news(about: string): BuiltPlan<'eventual'> {
  return eventual('news')
    .step('mail', { participant: 'mailer', action: 'tell', input: { about } })
    .step('figures', { participant: 'analytics', action: 'tell', input: { about } })
    .build();
}
