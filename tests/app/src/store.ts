// The store: LiveStore's adapter with its two workers, and the session's token.
import { makePersistedAdapter } from '@livestore/adapter-web'
import sharedWorkerUrl from '@livestore/adapter-web/shared-worker?sharedworker&url'
import { makeShutdownDeferred } from '@livestore/livestore'
import { StoreRegistry, storeOptions, useStore } from '@livestore/react'
import { Cause, Deferred, Effect } from '@livestore/utils/effect'
import { createContext, use } from 'react'
import { unstable_batchedUpdates as batchUpdates } from 'react-dom'
import { syncPayload } from './admission'
import LiveStoreWorker from './livestore.worker?worker'
import { schema } from './schema'
import type { Session } from './session'

export const registry = new StoreRegistry({ defaultOptions: { batchUpdates, disableDevtools: true } })

export const optionsOf = (session: Session) =>
  storeOptions({
    schema,
    shutdownDeferred: Effect.runSync(makeShutdownDeferred),
    storeId: session.storeId,
    syncPayload: syncPayload(session),
    adapter: makePersistedAdapter({
      storage: { type: 'opfs' },
      // The page reads the database's file itself otherwise, and finds half of
      // one when LiveStore has just wiped it.
      experimental: { disableFastPath: true },
      worker: LiveStoreWorker,
      // A shared worker is known by its URL and name, and refuses a leader
      // with another token than its first one's. A tab that was closed late
      // can have kept the last session's: hence one for each.
      sharedWorker: ({ name }) => new SharedWorker(`${sharedWorkerUrl}?session=${session.id}`, { name, type: 'module' }),
    }),
  })

type Options = ReturnType<typeof optionsOf>

/**
 * Why the store has ended by itself, once it has: `backend-id-mismatch` when
 * the server's store is another one than this browser knew. What is committed
 * to an ended store goes nowhere, and LiveStore does not say so.
 */
export const endOf = ({ shutdownDeferred }: Options): Promise<string> =>
  shutdownDeferred === undefined
    ? new Promise(() => {})
    : Deferred.await(shutdownDeferred).pipe(
        Effect.map(({ reason }) => reason),
        Effect.catchAllCause((cause) => Effect.succeed(Cause.pretty(cause))),
        Effect.runPromise,
      )

const StoreContext = createContext<Options | undefined>(undefined)

export const StoreProvider = StoreContext.Provider

/** The signed-in session's store. Suspends until it is open, connected or not. */
export const useAppStore = () => {
  const options = use(StoreContext)
  if (options === undefined) throw new Error('useAppStore() needs a <StoreProvider>')
  return useStore(options)
}

export type AppStore = ReturnType<typeof useAppStore>
