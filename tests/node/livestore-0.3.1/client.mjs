// A LiveStore 0.3.1 client, driven by JSON lines: see ../driver.mjs.
import { WebSocket } from 'ws'
import { options, prepareNode, run, todoSchema } from '../driver.mjs'

const { transport, url, storeId, clientId, storage, payload } = options()
if (transport !== 'ws') throw new Error('0.3.1 knows the transport ws only')
await prepareNode(WebSocket)

const { makeAdapter } = await import('@livestore/adapter-node')
const livestore = await import('@livestore/livestore')
const { loadSqlite3Wasm } = await import('@livestore/sqlite-wasm/load-wasm')
const { sqliteDbFactory } = await import('@livestore/sqlite-wasm/node')
const { makeCfSync } = await import('@livestore/sync-cf')
const { Cause, Deferred, Effect } = await import('@livestore/utils/effect')
const { NodeFileSystem } = (await import('@livestore/utils/node')).PlatformNode

const { events, todos, schema } = todoSchema(livestore)

const shutdownDeferred = await Effect.runPromise(Deferred.make())
const store = await livestore.createStorePromise({
  adapter: makeAdapter({ storage, clientId, sync: { backend: makeCfSync({ url }) } }),
  schema,
  storeId,
  syncPayload: payload,
  shutdownDeferred,
  disableDevtools: true,
})

const { clientSession, syncProcessor } = store
const { leaderThread } = clientSession

await run({
  store,
  events,
  todos,
  syncStates: () => Effect.runPromise(Effect.all({ session: syncProcessor.syncState, leader: leaderThread.getSyncState })),
  eventlog: async () => {
    const makeDb = await sqliteDbFactory({ sqlite3: await loadSqlite3Wasm() }).pipe(
      Effect.provide(NodeFileSystem.layer),
      Effect.runPromise,
    )
    const db = await Effect.runPromise(makeDb({ _tag: 'in-memory' }))
    return { db, bytes: await Effect.runPromise(leaderThread.getEventlogData) }
  },
  shutdown: () => store.shutdown(),
  ended: Effect.runPromise(
    Deferred.await(shutdownDeferred).pipe(Effect.catchAllCause((cause) => Effect.succeed(Cause.pretty(cause)))),
  ),
})
