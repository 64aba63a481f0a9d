// The `claims` import: workspace claims versions, in KV.

import { points } from '../telemetry/telemetry.js'
import type { Waiting } from './instance.js'
import type * as Claims from '../../generated/plain/interfaces/syncline-backend-claims.js'

/** How long a version is believed, in milliseconds (wit/claims.wit). */
const CACHE_MS = 60_000

/** Users whose versions are remembered: a bound on memory, not on users. */
const CACHE_USERS_MAX = 10_000

interface Cached {
  version: bigint | undefined
  read: number
}

/** Shared by the gateway's instances of this isolate. */
const cache = new Map<string, Cached>()

/** Versions from KV; without a namespace nobody has one. */
export function claims(namespace: KVNamespace | undefined): Waiting<typeof Claims> {
  return {
    async currentVersion(userId) {
      if (!namespace) return undefined
      const cached = cache.get(userId)
      if (cached && Date.now() - cached.read < CACHE_MS) return cached.version
      const version = await read(namespace, userId).catch((error: unknown) => {
        points()?.add('syncline.claims.lookups', 1, { 'error.type': 'unavailable' })
        throw error
      })
      points()?.add('syncline.claims.lookups')
      if (cache.size >= CACHE_USERS_MAX) cache.clear()
      cache.set(userId, { version, read: Date.now() })
      return version
    },
  }
}

/** The room has no use for claims: admission was the gateway's. */
export const noClaims: typeof Claims = {
  currentVersion() {
    throw failure('claims are read at the gateway only')
  },
}

async function read(namespace: KVNamespace, userId: string): Promise<bigint | undefined> {
  let text: string | null
  try {
    text = await namespace.get(`workspace-claims-version:${userId}`)
  } catch (error) {
    throw failure(`WORKSPACE_CLAIMS_VERSION cannot be read: ${String(error)}`)
  }
  if (text === null) return undefined
  if (!/^\d{1,19}$/.test(text.trim())) {
    throw failure('WORKSPACE_CLAIMS_VERSION holds an entry that is no whole number')
  }
  return BigInt(text.trim())
}

/** An error in the form that the glue takes for the import's own. */
function failure(words: string): Error & { payload: string } {
  return Object.assign(new Error(words), { payload: words })
}
