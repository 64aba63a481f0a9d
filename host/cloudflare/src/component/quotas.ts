// The `quotas` import: a Durable Object a user (services/quotas.ts).

import type * as Quotas from '../../generated/plain/interfaces/syncline-backend-quotas.js'
import type { Exhausted, Quotas as User } from '../services/quotas.js'
import type { Waiting } from './instance.js'

/** Counters in these objects; without them nothing is granted. */
export function quotas(binding: DurableObjectNamespace | undefined): Waiting<typeof Quotas> {
  const namespace = binding as DurableObjectNamespace<User> | undefined
  const ask = async <T>(user: string, question: (of: DurableObjectStub<User>) => Promise<T>): Promise<T> => {
    if (!namespace) throw unavailable('the Durable Object binding QUOTAS is missing')
    try {
      return await question(namespace.get(namespace.idFromName(user)))
    } catch (error) {
      throw unavailable(`QUOTAS cannot be asked: ${String(error)}`)
    }
  }
  const take = async (user: string, counter: string, amount: bigint, max: bigint, windowMs: bigint) => {
    const args = [counter, number(amount), number(max), number(windowMs)] as const
    const exhausted = await ask(user, async (of) => of.take(...args))
    if (exhausted) throw denied(exhausted)
  }
  return {
    take,
    add: (user, counter, amount, windowMs) => take(user, counter, amount, UNLIMITED, windowMs),
    async hold(user, counter, max, leaseMs) {
      const held = await ask(user, async (of) => of.hold(counter, max, number(leaseMs)))
      if (typeof held !== 'number') throw denied(held)
      return BigInt(held)
    },
    letGo: (user, counter, place) => ask(user, async (of) => of.letGo(counter, number(place))),
  }
}

/** Rooms count nothing. */
export const noQuotas: typeof Quotas = { take: forRelaysOnly, add: forRelaysOnly, hold: forRelaysOnly, letGo: forRelaysOnly }

function forRelaysOnly(): never {
  throw unavailable('quotas are for relays only')
}

/** More than anybody uses. */
const UNLIMITED = 2n ** 64n - 1n

/** A u64, as far as it is exact. */
function number(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value)
}

// Errors in the form that the glue takes for the import's own.

function denied({ retryAfterMs }: Exhausted): Error & { payload: Quotas.Denied } {
  return Object.assign(new Error('exhausted'), { payload: { tag: 'exhausted' as const, val: BigInt(retryAfterMs) } })
}

function unavailable(words: string): Error & { payload: Quotas.Denied } {
  return Object.assign(new Error(words), { payload: { tag: 'unavailable' as const, val: words } })
}
