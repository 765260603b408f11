import { from, saga, type BuiltPlan } from '../../src/index.ts';

export const SHOP = ['inventory', 'payment', 'shipping'] as const;
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
