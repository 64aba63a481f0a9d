// A LiveStore 0.4.0 client, driven by JSON lines: see ../driver.mjs.
import { WebSocket } from 'ws'
import { options, prepareNode, run, todoSchema } from '../driver.mjs'
import { tracing } from './tracing.mjs'

const { transport, url, storeId, clientId, storage, payload, pollMs } = options()
await prepareNode(WebSocket)

const { makeAdapter } = await import('@livestore/adapter-node')
const livestore = await import('@livestore/livestore')
const { loadSqlite3Wasm } = await import('@livestore/sqlite-wasm/load-wasm')
const { sqliteDbFactory } = await import('@livestore/sqlite-wasm/node')
const { makeHttpSync, makeWsSync } = await import('@livestore/sync-cf/client')
const { Cause, Deferred, Effect } = await import('@livestore/utils/effect')
const { NodeFileSystem } = (await import('@livestore/utils/node')).PlatformNode

const { events, todos, schema } = todoSchema(livestore)
const backends = {
  ws: () => makeWsSync({ url }),
  http: () => makeHttpSync({ url, livePull: { pollInterval: pollMs } }),
}
if (!Object.hasOwn(backends, transport)) throw new Error(`no transport is named ${transport}`)

const { otelOptions, end } = tracing()
const shutdownDeferred = await Effect.runPromise(Deferred.make())
const store = await livestore.createStorePromise({
  adapter: makeAdapter({ storage, clientId, sync: { backend: backends[transport]() } }),
  schema,
  storeId,
  syncPayload: payload,
  shutdownDeferred,
  disableDevtools: true,
  ...(otelOptions && { otelOptions }),
})

// The leader's sync state and the event log are not public in 0.4.0.
const { clientSession, syncProcessor } = store[livestore.StoreInternalsSymbol]
const { leaderThread } = clientSession

await run({
  store,
  events,
  todos,
  syncStates: () => Effect.runPromise(Effect.all({ session: syncProcessor.syncState, leader: leaderThread.syncState })),
  eventlog: async () => {
    const makeDb = await sqliteDbFactory({ sqlite3: await loadSqlite3Wasm() }).pipe(
      Effect.provide(NodeFileSystem.layer),
      Effect.runPromise,
    )
    const db = await Effect.runPromise(makeDb({ _tag: 'in-memory' }))
    return { db, bytes: await Effect.runPromise(leaderThread.getEventlogData) }
  },
  shutdown: async () => {
    await store.shutdownPromise()
    await end()
  },
  ended: Effect.runPromise(
    Deferred.await(shutdownDeferred).pipe(
      Effect.map((cause) => cause.reason),
      Effect.catchAllCause((cause) => Effect.succeed(Cause.pretty(cause))),
    ),
  ),
})
