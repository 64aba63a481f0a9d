// The store: LiveStore's adapter with its two workers, and the session's token.
import { makePersistedAdapter } from '@livestore/adapter-web'
import sharedWorkerUrl from '@livestore/adapter-web/shared-worker?sharedworker&url'
import { StoreRegistry, storeOptions, useStore } from '@livestore/react'
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
    storeId: session.storeId,
    syncPayload: syncPayload(session),
    adapter: makePersistedAdapter({
      storage: { type: 'opfs' },
      worker: LiveStoreWorker,
      // A shared worker is known by its URL and name, and refuses a leader
      // with another token than its first one's. A tab that was closed late
      // can have kept the last session's: hence one for each.
      sharedWorker: ({ name }) => new SharedWorker(`${sharedWorkerUrl}?session=${session.id}`, { name, type: 'module' }),
    }),
  })

type Options = ReturnType<typeof optionsOf>

const StoreContext = createContext<Options | undefined>(undefined)

export const StoreProvider = StoreContext.Provider

/** The signed-in session's store. Suspends until it is open, connected or not. */
export const useAppStore = () => {
  const options = use(StoreContext)
  if (options === undefined) throw new Error('useAppStore() needs a <StoreProvider>')
  return useStore(options)
}

export type AppStore = ReturnType<typeof useAppStore>
