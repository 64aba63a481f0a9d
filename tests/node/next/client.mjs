// A client of LiveStore's main branch, driven by JSON lines: see ../driver.mjs.
// It is run as prepare.mjs bundles it.
import { WebSocket } from 'ws'
import { options, prepareNode, run, todoSchema } from '../driver.mjs'

const { transport, url, storeId, clientId, storage, payload, pollMs } = options()
if (storage.type !== 'in-memory') throw new Error('--dir: main has no adapter that keeps files')
await prepareNode(WebSocket)

const { makeInMemoryAdapter } = await import('@livestore/adapter-web')
const livestore = await import('@livestore/livestore')
const { makeHttpSync, makeWsSync } = await import('@livestore/sync-cf/client')
const { loadSqlite3Wasm } = await import('@livestore/sqlite-wasm/load-wasm')
const { sqliteDbFactory } = await import('@livestore/sqlite-wasm/browser')
const { Cause, Deferred, Effect, Schema } = await import('@livestore/utils/effect')

const { events, todos, schema } = todoSchema(livestore)
const backends = {
  ws: () => makeWsSync({ url }),
  http: () => makeHttpSync({ url, livePull: { pollInterval: pollMs } }),
}
if (!Object.hasOwn(backends, transport)) throw new Error(`no transport is named ${transport}`)

const shutdownDeferred = await Effect.runPromise(Deferred.make())
const store = await livestore.createStorePromise({
  adapter: makeInMemoryAdapter({ clientId, sessionId: 'static', sync: { backend: backends[transport]() } }),
  schema,
  storeId,
  syncPayload: payload,
  syncPayloadSchema: payload === undefined ? undefined : Schema.Json,
  shutdownDeferred,
  disableDevtools: true,
})

// The leader's sync state and the event log are not public.
const { clientSession, syncProcessor } = store[livestore.StoreInternalsSymbol]
const { leaderThread } = clientSession

await run({
  store,
  events,
  todos,
  syncStates: () => Effect.runPromise(Effect.all({ session: syncProcessor.syncState, leader: leaderThread.syncState })),
  eventlog: async () => {
    const makeDb = sqliteDbFactory({ sqlite3: await loadSqlite3Wasm() })
    const db = await Effect.runPromise(makeDb({ _tag: 'in-memory' }))
    return { db, bytes: await Effect.runPromise(leaderThread.getEventlogData) }
  },
  shutdown: async () => {
    await store.shutdownPromise()
    // What it says at the end is not sent yet.
    await new Promise((resolve) => setTimeout(resolve, 100))
  },
  ended: Effect.runPromise(
    Deferred.await(shutdownDeferred).pipe(
      Effect.map((cause) => cause.reason),
      Effect.catchCause((cause) => Effect.succeed(Cause.pretty(cause))),
    ),
  ),
})
